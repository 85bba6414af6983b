/** A file system of a few megabytes, to be filled. Only root can mount one. */
import { execFile } from 'node:child_process';
import { appendFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';

const run = promisify(execFile);
const CHUNK_BYTES = 1_048_576;
const BLOCK_BYTES = 4_096;

export class SmallDisk implements AsyncDisposable {
  readonly #folder: TempFolder;

  private constructor(folder: TempFolder) {
    this.#folder = folder;
  }

  /** undefined, with the reason, where nothing can be mounted. */
  static async mount(bytes: number): Promise<SmallDisk | { readonly impossible: string }> {
    const folder = await tempFolder();
    try {
      await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'tmpfs', folder.path]);
      return new SmallDisk(folder);
    } catch (thrown) {
      await folder[Symbol.asyncDispose]();
      return { impossible: String(thrown) };
    }
  }

  get path(): string {
    return this.#folder.path;
  }

  get #filler(): string {
    return join(this.path, 'filler');
  }

  /** Until not one more block is free. */
  async fill(): Promise<void> {
    for (const size of [CHUNK_BYTES, BLOCK_BYTES])
      for (;;) {
        try {
          await appendFile(this.#filler, new Uint8Array(size));
        } catch (thrown) {
          if ((thrown as NodeJS.ErrnoException).code !== 'ENOSPC') throw thrown;
          break;
        }
      }
  }

  async free(): Promise<void> {
    await rm(this.#filler, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('umount', ['--lazy', this.path]);
    await this.#folder[Symbol.asyncDispose]();
  }
}
