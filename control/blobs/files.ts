/**
 * Blobs as files: `ab/cdef…` under a folder, named by sha-256.
 *
 * A blob appears whole or not at all: temporary file, fsync, rename, fsync of the folder.
 */
import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PlatformError } from '#shared/errors.ts';
import { digestSchema, type Digest } from '#shared/ids.ts';
import type { BlobMedium } from './medium.ts';

/** What the store needs of a file system; tests make the Nth write fail. */
export interface Disk {
  read(path: string): Promise<Uint8Array>;
  /** In bytes. */
  size(path: string): Promise<number>;
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
  size: async (path) => (await stat(path)).size,
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

function errorCode(thrown: unknown): unknown {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown ? thrown.code : undefined;
}

const FULL = new Set<unknown>(['ENOSPC', 'EDQUOT']);

export class FileMedium implements BlobMedium {
  readonly #folder: string;
  readonly #disk: Disk;
  #serial = 0;

  constructor(folder: string, disk: Disk) {
    this.#folder = folder;
    this.#disk = disk;
  }

  #path(digest: Digest): string {
    return join(this.#folder, digest.slice(0, 2), digest.slice(2));
  }

  async read(digest: Digest): Promise<Uint8Array | undefined> {
    try {
      return await this.#disk.read(this.#path(digest));
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return undefined;
      throw new PlatformError('internal', `cannot read blob ${digest}`, { cause: thrown });
    }
  }

  async size(digest: Digest): Promise<number | undefined> {
    try {
      return await this.#disk.size(this.#path(digest));
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return undefined;
      throw new PlatformError('internal', `cannot look at blob ${digest}`, { cause: thrown });
    }
  }

  async list(): Promise<readonly Digest[]> {
    const found: Digest[] = [];
    for (const folder of await this.#disk.list(this.#folder)) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue;
      for (const rest of await this.#disk.list(join(this.#folder, folder))) {
        const digest = digestSchema.safeParse(folder + rest);
        if (digest.success) found.push(digest.data);
      }
    }
    return found;
  }

  async remove(digest: Digest): Promise<void> {
    try {
      await this.#disk.remove(this.#path(digest));
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT')
        throw new PlatformError('internal', `cannot remove blob ${digest}`, { cause: thrown });
    }
  }

  /** @throws {PlatformError} `storage_full`; nothing is left behind then. */
  async write(digest: Digest, bytes: Uint8Array): Promise<void> {
    const path = this.#path(digest);
    this.#serial += 1;
    const temporary = join(this.#folder, 'tmp', `${this.#serial}-${digest.slice(0, 16)}`);
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
