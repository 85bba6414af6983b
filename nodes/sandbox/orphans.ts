/**
 * Processes of an agent that is gone. All die with it, but one: an agent that was killed while bwrap was
 * between making its child and telling it to die with its parent leaves that child behind, waiting for ever.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import process from 'node:process';

const WRAPPERS = ['setpriv', 'prlimit', 'bwrap'];

/**
 * Kills what runs in slots below `slotsDir`, which belongs to one agent at a time.
 *
 * @returns how many there were.
 */
export async function killOrphans(slotsDir: string): Promise<number> {
  let killed = 0;
  // Elsewhere than on Linux there is neither /proc nor a sandbox.
  const names = await readdir('/proc').catch(() => []);
  for (const name of names.filter((text) => /^[0-9]+$/.test(text))) {
    const [program = '', ...args] = await readFile(`/proc/${name}/cmdline`, 'utf8').then(
      (text) => text.split('\0'),
      () => [],
    );
    if (!WRAPPERS.includes(basename(program)) || !args.some((arg) => arg.startsWith(`${slotsDir}/`)))
      continue;
    try {
      process.kill(Number(name), 'SIGKILL');
      killed += 1;
    } catch {
      // It has ended meanwhile.
    }
  }
  return killed;
}
