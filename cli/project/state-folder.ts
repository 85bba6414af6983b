/** `.isoplane` of a project or of a folder of projects: state of the commands, and the platform that `up` runs there. */
import { resolve, sep } from 'node:path';
import { keepOutOfGit, makeFolders, STATE_FOLDER } from '#shared/runtime/layout.node.ts';

/**
 * Makes a folder in an `.isoplane`, and that, which git does not see. Both are for this user alone: a platform that
 * is started in the same folder takes no other one.
 */
export async function makeStateFolder(path: string): Promise<void> {
  const parts = resolve(path).split(sep);
  const state = parts.slice(0, parts.lastIndexOf(STATE_FOLDER) + 1).join(sep);
  if (state !== '') {
    await makeFolders(state, 0o700);
    await keepOutOfGit(state);
  }
  await makeFolders(path, 0o700);
}
