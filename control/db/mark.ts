/**
 * A witness beside the database: the newest revision that was ever answered. The database itself cannot tell that
 * its end is missing: SQLite takes a write-ahead log that was cut, damaged or removed for a shorter one.
 *
 * Written after each commit, in place and without a sync: whatever it says was true once, so a database that has
 * less has lost something, and a mark that lost its own last writes raises no false alarm.
 */
import { open, readFile, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { z } from 'zod';

const markSchema = z.object({
  revision: z.number().int().min(0),
  /** An operator has said that what is missing may be missing. */
  accepted: z.boolean().default(false),
});
export type Mark = z.infer<typeof markSchema>;

const NONE: Mark = { revision: 0, accepted: false };
/** One write covers all of an older one. */
const LENGTH = 64;

export const markPath = (database: string): string => `${database}.mark`;

/** What was answered once; nothing where the file is not there or not readable. */
export async function readMark(path: string): Promise<Mark> {
  try {
    return markSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return NONE;
  }
}

/** Says that the loss may stand. @returns what it was said of. */
export async function acceptLoss(database: string): Promise<Mark> {
  const path = markPath(database);
  const mark = { ...(await readMark(path)), accepted: true };
  await replace(path, mark);
  return mark;
}

/** All of it or the file as it was, whoever else does the same. */
async function replace(path: string, mark: Mark): Promise<void> {
  const fresh = `${path}.${crypto.randomUUID()}`;
  try {
    await writeFile(fresh, textOf(mark), { mode: 0o600 });
    await rename(fresh, path);
  } catch (thrown) {
    await rm(fresh, { force: true });
    throw thrown;
  }
}

const textOf = (mark: Mark): string => `${JSON.stringify(mark).padEnd(LENGTH - 1)}\n`;

export class RevisionMark {
  readonly #file: FileHandle;
  #wanted: number;
  #written: number;
  #writing: Promise<void> | undefined;

  private constructor(file: FileHandle, revision: number) {
    this.#file = file;
    this.#wanted = revision;
    this.#written = revision;
  }

  /**
   * From now on the mark says `revision`, whatever it said before.
   *
   * @returns undefined where the disk has no room for it: the database is served all the same.
   */
  static async create(path: string, revision: number): Promise<RevisionMark | undefined> {
    try {
      await replace(path, { revision, accepted: false });
    } catch {
      // Also a full disk takes a write in place.
      return RevisionMark.#over(path, revision);
    }
    return new RevisionMark(await open(path, 'r+'), revision);
  }

  static async #over(path: string, revision: number): Promise<RevisionMark | undefined> {
    try {
      const file = await open(path, 'r+');
      await file.write(textOf({ revision, accepted: false }), 0, 'utf8');
      return new RevisionMark(file, revision);
    } catch {
      return undefined;
    }
  }

  /** Nobody waits for it; a disk that takes no more keeps an older mark. */
  note(revision: number): void {
    this.#wanted = Math.max(this.#wanted, revision);
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  async #write(): Promise<void> {
    while (this.#written < this.#wanted) {
      const revision = this.#wanted;
      try {
        await this.#file.write(textOf({ revision, accepted: false }), 0, 'utf8');
      } catch {
        return;
      }
      this.#written = revision;
    }
  }
}
