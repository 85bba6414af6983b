/**
 * Content-addressed store, on files or in a bucket. Reading verifies the digest, so what was damaged is noticed here
 * and not inside a function.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { PlatformError } from '#shared/errors.ts';
import { digestSchema, type Digest } from '#shared/ids.ts';
import { FileMedium, realDisk, type Disk } from './files.ts';
import type { BlobMedium } from './medium.ts';

export function sha256(bytes: Uint8Array): Digest {
  return digestSchema.parse(createHash('sha256').update(bytes).digest('hex'));
}

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

/** What one publish stores. Disposed of without {@link keepWhen}, it leaves nothing that was not there before. */
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

  /**
   * Keeps it once the database refers to it, and also when nobody knows whether it does: a sweep removes what nothing
   * refers to, but nothing brings back what was removed.
   */
  async keepWhen<T>(committed: Promise<T>): Promise<T> {
    try {
      const result = await committed;
      this.#kept = true;
      return result;
    } catch (thrown) {
      if (thrown instanceof PlatformError && thrown.code === 'change_unknown') this.#kept = true;
      throw thrown;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const digest of this.#digests) await this.#store.settle(digest, this.#kept);
  }
}

export interface BlobStoreOptions {
  readonly disk?: Disk;
  readonly medium?: BlobMedium;
}

export class BlobStore {
  readonly #folder: string;
  readonly #medium: BlobMedium;
  readonly #uses = new Map<Digest, Use>();
  readonly #removing = new Map<Digest, Promise<void>>();
  #usedInSweep: Set<Digest> | undefined;

  private constructor(folder: string, medium: BlobMedium) {
    this.#folder = folder;
    this.#medium = medium;
  }

  /**
   * Also removes what an interrupted write left behind; there must be one store per folder.
   *
   * @param medium - instead of the folder, which then holds no more than what is being uploaded.
   */
  static async open(
    folder: string,
    { disk = realDisk, medium = new FileMedium(folder, disk) }: BlobStoreOptions = {},
  ): Promise<BlobStore> {
    const store = new BlobStore(folder, medium);
    const temporary = store.temporaryFolder;
    await disk.makeFolder(temporary);
    for (const name of await disk.list(temporary)) await disk.remove(join(temporary, name));
    return store;
  }

  /** @throws {PlatformError} `blob_not_found`, or `blob_corrupt` when the bytes are not the digest's. */
  async get(digest: Digest): Promise<Uint8Array> {
    const bytes = await this.#medium.read(digest);
    if (bytes === undefined) throw new PlatformError('blob_not_found', `no blob ${digest}`);
    if (sha256(bytes) !== digest)
      throw new PlatformError('blob_corrupt', `blob ${digest} does not match its digest`);
    return bytes;
  }

  /** Undefined: there is no such blob. */
  sizeOf(digest: Digest): Promise<number | undefined> {
    return this.#medium.size(digest);
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
    return join(this.#folder, 'tmp');
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
      const stored = await this.#medium.list();
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

  /** Whoever stores it meanwhile waits for the removal. */
  async #remove(digest: Digest): Promise<void> {
    const removing = this.#medium.remove(digest);
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
    await this.#medium.write(digest, bytes);
  }

  /** Unless somebody is storing it, or just has; what is not there is removed. */
  async removeUnused(digest: Digest): Promise<void> {
    if (!this.#uses.has(digest)) await this.#remove(digest);
  }
}
