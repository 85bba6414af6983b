/**
 * The file system that a slot sees: workerd, its libraries, and an empty folder for the socket.
 *
 * Built once per workerd binary and shared read-only by all slots. Files are hard links where the file
 * system allows, else copies.
 */
import { createHash } from 'node:crypto';
import { chmod, copyFile, link, lstat, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { PlatformError } from '#shared/errors.ts';
import { librariesOf } from './binaries.ts';

/**
 * Creates a folder of this user that others may pass through but not list: the unprivileged user of the
 * slots must reach its own folders below it. Refuses one that somebody else prepared.
 */
export async function ensureTraversableFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o711 });
  const info = await lstat(path);
  const uid = process.getuid?.();
  if (!info.isDirectory() || (uid !== undefined && info.uid !== uid) || (info.mode & 0o022) !== 0)
    throw new PlatformError('internal', `${path} must be a folder of this user that nobody else can write`);
  await chmod(path, 0o711);
}

async function place(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o755 });
  // Symbolic links are followed by copyFile but not by link.
  if ((await lstat(from)).isFile()) {
    try {
      await link(from, to);
      return;
    } catch {
      // Another file system, or hard links to files of others are forbidden.
    }
  }
  await copyFile(from, to);
  await chmod(to, 0o755);
}

/** @returns the folder to bind as `/`. Older ones beside it are removed. */
export async function buildRootfs(parent: string, workerd: string): Promise<string> {
  const info = await stat(workerd);
  const key = createHash('sha256')
    .update(`${workerd} ${info.size} ${info.mtimeMs} ${info.ino}`)
    .digest('hex')
    .slice(0, 16);
  const rootfs = join(parent, `root-${key}`);
  for (const name of await readdir(parent))
    if (name.startsWith('root-') && name !== basename(rootfs))
      await rm(join(parent, name), { recursive: true, force: true });
  if ((await stat(rootfs).catch(() => undefined)) !== undefined) return rootfs;
  const building = `${rootfs}.new`;
  await rm(building, { recursive: true, force: true });
  await mkdir(join(building, 'run', 'in'), { recursive: true, mode: 0o755 });
  await place(workerd, join(building, 'bin', 'workerd'));
  for (const library of await librariesOf(workerd)) await place(library, join(building, library));
  await chmod(building, 0o755);
  await rename(building, rootfs);
  return rootfs;
}
