/**
 * Content-addressed store on disk: `ab/cdef…` under the blob folder, named by sha-256.
 *
 * A blob appears whole or not at all: temporary file, fsync, rename, fsync of the folder. Reading verifies
 * the digest, so a damaged disk is noticed here and not inside a function.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PlatformError } from '#shared/errors.ts';
import { digestSchema, type Digest } from '#shared/ids.ts';

/** What the store needs of a file system; tests make the Nth write fail. */
export interface Disk {
  read(path: string): Promise<Uint8Array>;
  /** Writes and syncs a new file with mode 0600. */
  write(path: string, bytes: Uint8Array): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Creates the folder (0700) with its parents. */
  makeFolder(path: string): Promise<void>;
  syncFolder(path: string): Promise<void>;
  list(path: string): Promise<readonly string[]>;
}

export const realDisk: Disk = {
  read: (path) => readFile(path),
  async write(path, bytes) {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  },
  rename,
  remove: unlink,
  makeFolder: async (path) => void (await mkdir(path, { recursive: true, mode: 0o700 })),
  async syncFolder(path) {
    const folder = await open(path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
  list: (path) => readdir(path),
};

export function sha256(bytes: Uint8Array): Digest {
  return digestSchema.parse(createHash('sha256').update(bytes).digest('hex'));
}

function errorCode(thrown: unknown): unknown {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown ? thrown.code : undefined;
}

const FULL = new Set<unknown>(['ENOSPC', 'EDQUOT']);

export class BlobStore {
  readonly #folder: string;
  readonly #disk: Disk;
  #serial = 0;

  private constructor(folder: string, disk: Disk) {
    this.#folder = folder;
    this.#disk = disk;
  }

  /** Also removes what an interrupted write left behind; there must be one store per folder. */
  static async open(folder: string, disk: Disk = realDisk): Promise<BlobStore> {
    const store = new BlobStore(folder, disk);
    const temporary = store.#temporaryFolder();
    await disk.makeFolder(temporary);
    for (const name of await disk.list(temporary)) await disk.remove(join(temporary, name));
    return store;
  }

  #temporaryFolder(): string {
    return join(this.#folder, 'tmp');
  }

  #path(digest: Digest): string {
    return join(this.#folder, digest.slice(0, 2), digest.slice(2));
  }

  /** @throws {PlatformError} `blob_not_found`, or `blob_corrupt` when the bytes are not the digest's. */
  async get(digest: Digest): Promise<Uint8Array> {
    let bytes: Uint8Array;
    try {
      bytes = await this.#disk.read(this.#path(digest));
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT')
        throw new PlatformError('blob_not_found', `no blob ${digest}`, { cause: thrown });
      throw new PlatformError('internal', `cannot read blob ${digest}`, { cause: thrown });
    }
    if (sha256(bytes) !== digest)
      throw new PlatformError('blob_corrupt', `blob ${digest} does not match its digest`);
    return bytes;
  }

  async #isIntact(digest: Digest): Promise<boolean> {
    try {
      await this.get(digest);
      return true;
    } catch (thrown) {
      if (
        thrown instanceof PlatformError &&
        (thrown.code === 'blob_not_found' || thrown.code === 'blob_corrupt')
      )
        return false;
      throw thrown;
    }
  }

  /**
   * Stores the bytes durably under their digest; a damaged blob is replaced.
   *
   * @throws {PlatformError} `storage_full`; nothing is left behind then.
   */
  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    if (await this.#isIntact(digest)) return;
    const path = this.#path(digest);
    this.#serial += 1;
    const temporary = join(this.#temporaryFolder(), `${this.#serial}-${digest.slice(0, 16)}`);
    try {
      await this.#disk.makeFolder(dirname(path));
      await this.#disk.write(temporary, bytes);
      await this.#disk.rename(temporary, path);
      await this.#disk.syncFolder(dirname(path));
      await this.#disk.syncFolder(this.#folder);
    } catch (thrown) {
      await this.#disk.remove(temporary).catch(() => undefined);
      if (FULL.has(errorCode(thrown)))
        throw new PlatformError('storage_full', `no space for blob ${digest}`, {
          cause: thrown,
          retryAfterMs: 60_000,
        });
      throw new PlatformError('internal', `cannot write blob ${digest}`, { cause: thrown });
    }
  }
}
