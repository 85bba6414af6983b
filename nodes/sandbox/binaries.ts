/** Finding the programs that a slot is made of. */
import { execFile } from 'node:child_process';
import { access, constants, realpath } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { PlatformError } from '#shared/errors.ts';

const run = promisify(execFile);
const SYSTEM_FOLDERS = ['/usr/bin', '/bin', '/usr/local/bin', '/usr/sbin', '/sbin'];

export async function findProgram(name: string): Promise<string | undefined> {
  for (const folder of [...SYSTEM_FOLDERS, ...(process.env['PATH'] ?? '').split(delimiter)]) {
    if (folder === '') continue;
    const path = join(folder, name);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return undefined;
}

/** The native binary of the pinned npm package, not its JavaScript launcher. */
export async function findWorkerd(): Promise<string> {
  const require = createRequire(import.meta.url);
  const platform = `${process.platform === 'darwin' ? 'darwin' : 'linux'}-${process.arch === 'x64' ? '64' : process.arch}`;
  try {
    const fromWorkerd = createRequire(require.resolve('workerd/package.json'));
    return await realpath(fromWorkerd.resolve(`@cloudflare/workerd-${platform}/bin/workerd`));
  } catch (thrown) {
    throw new PlatformError('internal', `the workerd package has no binary for ${platform}`, {
      cause: thrown,
    });
  }
}

/** Libraries that the loader would load for a binary, the loader included. */
export async function librariesOf(binary: string): Promise<string[]> {
  const { stdout } = await run('ldd', [binary]);
  // `NAME => PATH (0xADDRESS)`, or `PATH (0xADDRESS)`.
  return stdout.split('\n').flatMap((line) => {
    const [address, path = ''] = line.trim().split(/\s+/).toReversed();
    return address?.startsWith('(0x') === true && path.startsWith('/') ? [path] : [];
  });
}
