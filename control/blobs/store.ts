/**
 * Content-addressed store on disk: `ab/cdef…` under the blob folder, named by sha-256.
 *
 * A blob appears whole or not at all: temporary file, fsync, rename, fsync of the folder. Reading verifies
 * the digest, so a damaged disk is noticed here and not inside a function.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PlatformError } from '#shared/errors.ts';
import { digestSchema, type Digest } from '#shared/ids.ts';

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

export function sha256(bytes: Uint8Array): Digest {
  return digestSchema.parse(createHash('sha256').update(bytes).digest('hex'));
}

function errorCode(thrown: unknown): unknown {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown ? thrown.code : undefined;
}

const FULL = new Set<unknown>(['ENOSPC', 'EDQUOT']);

/** By publishes under way. */
interface Use {
  leases: number;
  /** It was not there before them. */
  isNew: boolean;
  kept: boolean;
}

interface LeasedStore {
  put(digest: Digest, bytes: Uint8Array): Promise<void>;
  use(digest: Digest): Promise<void>;
  settle(digest: Digest, kept: boolean): Promise<void>;
}

/** What one publish stores. Disposed of without {@link keep}, it leaves nothing that was not there before. */
export class BlobLease implements AsyncDisposable {
  readonly #store: LeasedStore;
  readonly #digests = new Set<Digest>();
  #kept = false;

  constructor(store: LeasedStore) {
    this.#store = store;
  }

  /** @throws {PlatformError} `storage_full`; nothing is left behind then. */
  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    await this.hold(digest);
    await this.#store.put(digest, bytes);
  }

  /** No sweep removes it meanwhile. */
  async hold(digest: Digest): Promise<void> {
    if (this.#digests.has(digest)) return;
    this.#digests.add(digest);
    await this.#store.use(digest);
  }

  /** The database refers to all of it now. */
  keep(): void {
    this.#kept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const digest of this.#digests) await this.#store.settle(digest, this.#kept);
  }
}

export class BlobStore {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #uses = new Map<Digest, Use>();
  readonly #removing = new Map<Digest, Promise<void>>();
  #usedInSweep: Set<Digest> | undefined;
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

  /** Undefined: there is no such blob. */
  async sizeOf(digest: Digest): Promise<number | undefined> {
    try {
      return await this.#disk.size(this.#path(digest));
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return undefined;
      throw new PlatformError('internal', `cannot look at blob ${digest}`, { cause: thrown });
    }
  }

  async #standing(digest: Digest): Promise<'intact' | 'absent' | 'damaged'> {
    try {
      await this.get(digest);
      return 'intact';
    } catch (thrown) {
      if (thrown instanceof PlatformError && thrown.code === 'blob_not_found') return 'absent';
      if (thrown instanceof PlatformError && thrown.code === 'blob_corrupt') return 'damaged';
      throw thrown;
    }
  }

  /** For one publish: what it stores stays only if it keeps it. */
  lease(): BlobLease {
    return new BlobLease({
      put: (digest, bytes) => this.#put(digest, bytes),
      use: (digest) => this.#use(digest),
      settle: (digest, kept) => this.#settle(digest, kept),
    });
  }

  /** Where uploads may lie until they are stored; emptied at each start. */
  get temporaryFolder(): string {
    return this.#temporaryFolder();
  }

  /**
   * Removes what nothing refers to and no publish is storing or has stored since the sweep began.
   *
   * @param referenced - every digest that the database names; read after the sweep began.
   * @returns how many were removed.
   */
  async sweep(referenced: () => Promise<ReadonlySet<string>>): Promise<number> {
    this.#usedInSweep = new Set(this.#uses.keys());
    try {
      const stored = await this.#list();
      const known = await referenced();
      // An empty or lost database must not take the code with it.
      if (known.size === 0) return 0;
      let removed = 0;
      for (const digest of stored) {
        if (known.has(digest) || this.#usedInSweep.has(digest)) continue;
        await this.#remove(digest);
        removed += 1;
      }
      return removed;
    } finally {
      this.#usedInSweep = undefined;
    }
  }

  async #list(): Promise<readonly Digest[]> {
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

  /** Whoever stores it meanwhile waits for the removal. */
  async #remove(digest: Digest): Promise<void> {
    const removing = this.#disk.remove(this.#path(digest)).catch((thrown: unknown) => {
      if (errorCode(thrown) !== 'ENOENT')
        throw new PlatformError('internal', `cannot remove blob ${digest}`, { cause: thrown });
    });
    this.#removing.set(digest, removing);
    try {
      await removing;
    } finally {
      this.#removing.delete(digest);
    }
  }

  async #use(digest: Digest): Promise<void> {
    this.#usedInSweep?.add(digest);
    const use = this.#uses.get(digest);
    if (use === undefined) this.#uses.set(digest, { leases: 1, isNew: false, kept: false });
    else use.leases += 1;
    await this.#removing.get(digest)?.catch(() => undefined);
  }

  async #settle(digest: Digest, kept: boolean): Promise<void> {
    const use = this.#uses.get(digest);
    if (use === undefined) return;
    use.kept ||= kept;
    use.leases -= 1;
    if (use.leases > 0) return;
    this.#uses.delete(digest);
    if (use.isNew && !use.kept) await this.#remove(digest);
  }

  /**
   * Stores the bytes durably under their digest; a damaged blob is replaced.
   *
   * @throws {PlatformError} `storage_full`; nothing is left behind then.
   */
  async #put(digest: Digest, bytes: Uint8Array): Promise<void> {
    const standing = await this.#standing(digest);
    if (standing === 'intact') return;
    const use = this.#uses.get(digest);
    // A damaged one was stored by somebody before.
    if (use !== undefined && standing === 'absent') use.isNew = true;
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

  /** Unless somebody is storing it, or just has; what is not there is removed. */
  async removeUnused(digest: Digest): Promise<void> {
    if (!this.#uses.has(digest)) await this.#remove(digest);
  }
}
