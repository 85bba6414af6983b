/** What git would add of a folder, asked of git itself. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Paths below the folder, each file by itself. */
export async function seenByGit(folder: string): Promise<string[]> {
  await run('git', ['init', '--quiet'], { cwd: folder });
  const { stdout } = await run('git', ['status', '--porcelain', '-z', '--untracked-files=all'], {
    cwd: folder,
  });
  return stdout
    .split('\0')
    .filter((line) => line !== '')
    .map((line) => line.slice('?? '.length))
    .toSorted();
}
