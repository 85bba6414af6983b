/** Whether a disk has room: the same question for everybody who keeps files. */
import { statfs } from 'node:fs/promises';

export interface DiskRoom {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** With less than this a disk counts as full: SQLite's own files and a journal may fail to grow. */
export const FULL_BELOW_BYTES = 4_194_304;
const FULL_CODES: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT']);

/** undefined: nobody can say. */
export async function diskRoom(path: string): Promise<DiskRoom | undefined> {
  try {
    const { bavail, blocks, bsize } = await statfs(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  } catch {
    return undefined;
  }
}

/** Whether a write of `bytes` can have failed for want of room. */
export async function isDiskFull(path: string, bytes = 0): Promise<boolean> {
  const room = await diskRoom(path);
  return room !== undefined && room.freeBytes < FULL_BELOW_BYTES + bytes;
}

/** A failure of the file system that means the same, anywhere in its chain of causes. */
export function meansDiskFull(thrown: unknown): boolean {
  let current: unknown = thrown;
  for (let depth = 0; depth < 8 && current instanceof Error; depth += 1) {
    if (FULL_CODES.has((current as NodeJS.ErrnoException).code)) return true;
    current = current.cause;
  }
  return false;
}
