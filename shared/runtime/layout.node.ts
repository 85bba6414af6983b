/**
 * Where things lie on disk. Durable data is under the data folder (0700, files 0600); sockets are under
 * a short run folder, because a Unix socket path holds at most 107 bytes.
 */
import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve, sep } from 'node:path';
import process from 'node:process';
import { addressAt, type Address } from '../contracts/address.ts';
import { PlatformError } from '../errors.ts';

export interface Layout {
  readonly dataDir: string;
  readonly runDir: string;
  /** libSQL database of the control plane. */
  readonly database: string;
  /** Identity of the platform: what it keeps on servers is marked with it. */
  readonly cluster: string;
  /** Content-addressed store of the control plane: `blobs/ab/cdef…`. */
  readonly blobs: string;
  /** Static assets, a content-addressed store for each account: `assets/ACCOUNT/ab/cdef…`. */
  readonly assets: string;
  /** 32 random bytes, base64url: wraps secrets at rest. */
  readonly keyEncryptionKey: string;
  /** As long: wraps secrets that nodes open. Nodes have no use for the key above. */
  readonly nodeKey: string;
  /** Owner key of account `default` for the CLI. */
  readonly credentials: string;
  /** The URLs of the running platform. */
  readonly platformFile: string;
  /** Room that is given up when the disk is full. */
  readonly ballast: string;
  /** Held (libSQL write lock) by the one platform that runs on this folder. */
  readonly lock: string;
  gatewaySnapshot(gatewayId: string): string;
  /** Journal of the scheduler's feed. */
  readonly schedulerSnapshot: string;
  nodeDir(nodeId: string): string;
  readonly sockets: {
    readonly control: Address;
    readonly scheduler: Address;
    /** Its metrics. */
    gateway(gatewayId: string): Address;
    node(nodeId: string): Address;
  };
}

export function layoutOf(dataDir: string): Layout {
  const root = resolve(dataDir);
  const uid = process.getuid?.() ?? 0;
  const runDir = join(
    process.env['ISOPLANE_RUN_ROOT'] ?? tmpdir(),
    `isoplane-${uid}-${createHash('sha256').update(root).digest('hex').slice(0, 12)}`,
  );
  return {
    dataDir: root,
    runDir,
    database: join(root, 'control.db'),
    cluster: join(root, 'cluster'),
    blobs: join(root, 'blobs'),
    assets: join(root, 'assets'),
    keyEncryptionKey: join(root, 'keys', 'kek'),
    nodeKey: join(root, 'keys', 'node'),
    credentials: join(root, 'credentials.json'),
    platformFile: join(root, 'platform.json'),
    ballast: join(root, 'ballast'),
    lock: join(root, 'lock.db'),
    gatewaySnapshot: (gatewayId) => join(root, 'gateways', `${gatewayId}.json`),
    schedulerSnapshot: join(root, 'scheduler', 'feed.json'),
    nodeDir: (nodeId) => join(root, 'nodes', nodeId),
    sockets: {
      control: addressAt(join(runDir, 'control.sock')),
      scheduler: addressAt(join(runDir, 'scheduler.sock')),
      gateway: (gatewayId) => addressAt(join(runDir, `gateway-${gatewayId}.sock`)),
      node: (nodeId) => addressAt(join(runDir, `${nodeId}.sock`)),
    },
  };
}

/**
 * The folder and those above it, each made once: Node's own recursive `mkdir` never returns where the kernel
 * answers ENOENT for a parent that exists, as in /proc.
 *
 * @param mode - of the last one.
 */
export async function makeFolders(path: string, mode = 0o777): Promise<void> {
  const missing: string[] = [];
  for (let each = resolve(path); !(await exists(each)); each = dirname(each)) missing.push(each);
  for (const each of missing.reverse())
    await mkdir(each, { mode: each === resolve(path) ? mode : 0o777 }).catch((thrown: unknown) => {
      // Somebody else may have made it meanwhile.
      if (codeOf(thrown) !== 'EEXIST') throw thrown;
    });
}

const codeOf = (thrown: unknown): unknown => (thrown as NodeJS.ErrnoException).code;

/** The root always does. */
async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return false;
    throw thrown;
  }
}

/** What the commands keep beside the sources of people, wherever a name of their own was not given. */
export const STATE_FOLDER = '.isoplane';

/**
 * A folder for state of ours that git does not see. It lies among sources more often than not, and whoever
 * commits all that is new there must not commit keys. A folder of another name that already holds something is not
 * only ours: nothing is hidden there.
 *
 * @throws {PlatformError} `folder_not_private`.
 */
export async function ensureStateFolder(path: string): Promise<void> {
  const isOurs =
    resolve(path).split(sep).includes(STATE_FOLDER) || (await readdir(path).catch(() => [])).length === 0;
  await ensurePrivateFolder(path);
  if (isOurs) await keepOutOfGit(path);
}

/** A full disk leaves the file empty: then it is written again. What cannot be written here, others say better. */
export async function keepOutOfGit(folder: string): Promise<void> {
  const file = join(folder, '.gitignore');
  const { size } = await stat(file).catch(() => ({ size: 0 }));
  if (size === 0) await writeFile(file, '*\n', { mode: 0o600 }).catch(() => undefined);
}

/**
 * Creates a folder that only this user can enter, or refuses one that somebody else prepared. An empty one of
 * this user is closed: nobody can have left anything in it.
 *
 * @throws {PlatformError} `folder_not_private`.
 */
export async function ensurePrivateFolder(path: string): Promise<void> {
  await makeFolders(path, 0o700);
  const info = await lstat(path);
  const uid = process.getuid?.();
  const refuse = (why: string): never => {
    throw new PlatformError('folder_not_private', `${path} ${why}`);
  };
  if (info.isSymbolicLink()) refuse('is a link: name the folder that it leads to');
  if (!info.isDirectory()) refuse('is not a folder');
  if (uid !== undefined && info.uid !== uid) refuse(`belongs to user ${info.uid}, not to this one (${uid})`);
  if ((info.mode & 0o077) === 0) return;
  if ((await readdir(path)).length > 0)
    refuse(`may be entered by other users (mode ${(info.mode & 0o777).toString(8)}); it must have mode 700`);
  await chmod(path, 0o700);
}
