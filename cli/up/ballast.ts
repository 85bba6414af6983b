/**
 * A file that only takes room. On a full disk the platform gives it up, and has then what it needs to start:
 * SQLite's index of a write-ahead log, the addresses for the commands. It is made again when there is room.
 * (CockroachDB keeps one for the same reason.)
 */
import { randomFillSync } from 'node:crypto';
import { rm, stat, writeFile } from 'node:fs/promises';
import { diskRoom, FULL_BELOW_BYTES, isDiskFull } from '#shared/runtime/disk.node.ts';

/** Given up, it leaves the disk still full by name. */
const BALLAST_BYTES = FULL_BELOW_BYTES / 2;
/** It must not itself be what fills the disk. */
const ROOM_BYTES_MIN = 32 * BALLAST_BYTES;

/** @returns whether the disk was full, so that the ballast, if there was one, was given up. */
export async function releaseBallast(path: string, folder: string): Promise<boolean> {
  if (!(await isDiskFull(folder))) return false;
  await rm(path, { force: true });
  return true;
}

export async function takeBallast(path: string, folder: string): Promise<void> {
  const size = await stat(path).then(
    (info) => info.size,
    () => 0,
  );
  if (size >= BALLAST_BYTES) return;
  const room = await diskRoom(folder);
  if (room === undefined || room.freeBytes < ROOM_BYTES_MIN) return;
  // Random: a file system may keep nothing for zeros.
  await writeFile(path, randomFillSync(new Uint8Array(BALLAST_BYTES)), { mode: 0o600 }).catch(() =>
    rm(path, { force: true }),
  );
}
