/** The data folder as the supervisor finds, makes and takes back it. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PlatformError } from '#shared/errors.ts';
import { ensurePrivateFolder, ensureStateFolder, type Layout } from '#shared/runtime/layout.node.ts';
import { CliError } from '../failure.ts';

export type FolderState = 'missing' | 'empty' | 'used';

/** What cannot be read is somebody's: making it says why it cannot be the data folder. */
export async function stateOf(path: string): Promise<FolderState> {
  try {
    return (await readdir(path)).length === 0 ? 'empty' : 'used';
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : 'used';
  }
}

/** Takes away what a start has made that did not come to anything. */
export async function forget(path: string, before: Exclude<FolderState, 'used'>): Promise<void> {
  const made = before === 'missing' ? [path] : (await readdir(path)).map((name) => join(path, name));
  for (const each of made) await rm(each, { recursive: true, force: true });
}

/** @throws {CliError} `folder_unreadable` when there is and can be no such folder. */
export async function makeDataFolder(path: string): Promise<void> {
  try {
    const isFile = await stat(path).then(
      (info) => !info.isDirectory(),
      () => false,
    );
    if (isFile) throw Object.assign(new Error('it is not a folder'), { code: 'ENOTDIR' });
    await ensureStateFolder(path);
    await ensurePrivateFolder(join(path, 'logs'));
  } catch (thrown) {
    if (thrown instanceof PlatformError) throw thrown;
    throw new CliError(
      'folder_unreadable',
      `${path} cannot be the data folder: ${(thrown as Error).message}.`,
      {
        advice: 'Name a folder that can be written with --data DIR.',
        cause: thrown,
      },
    );
  }
}

/** What the platform keeps as files and as folders; whatever else lies there is not its own. */
function entriesOf({ dataDir, ...layout }: Layout): readonly (readonly [string, 'file' | 'folder'])[] {
  const { database } = layout;
  const databases = [database, layout.lock, join(dataDir, 'kv', 'kv.db')];
  const files = [
    ...databases.flatMap((path) => [path, `${path}-wal`, `${path}-shm`]),
    `${database}.mark`,
    layout.cluster,
    layout.credentials,
    layout.platformFile,
    layout.ballast,
    layout.keyEncryptionKey,
    layout.nodeKey,
  ];
  const folders = [
    layout.blobs,
    layout.assets,
    ...['keys', 'kv', 'gateways', 'scheduler', 'nodes', 'logs'].map((name) => join(dataDir, name)),
  ];
  return [
    ...folders.map((path) => [path, 'folder'] as const),
    ...files.map((path) => [path, 'file'] as const),
  ];
}

/**
 * A folder in the place of a file (what a container runtime makes of a bind mount whose source is not there), or the
 * other way round, would end a plane without a word that helps.
 *
 * @throws {CliError} `file_invalid` naming all of them.
 */
export async function refuseMisplaced(layout: Layout): Promise<void> {
  const looked = await Promise.all(
    entriesOf(layout).map(async ([path, kind]) => {
      const info = await stat(path).catch(() => undefined);
      if (info === undefined || (kind === 'folder' ? info.isDirectory() : info.isFile())) return [];
      return [{ at: path, message: `has to be a ${kind}` }];
    }),
  );
  const problems = looked.flat();
  if (problems.length === 0) return;
  throw new CliError('file_invalid', `The data folder holds what the platform did not put there.`, {
    problems,
    advice: 'Move it away; what the platform misses it makes anew, and a backup goes into the same place.',
  });
}
