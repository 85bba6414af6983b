/**
 * Blobs on this machine's disk by sha-256, fetched from control, verified on every read.
 *
 * What a disk returns is not believed: a blob that does not match is deleted and fetched once more. The bound
 * is on bytes; of the owner who holds most, the blob that was used longest ago goes first. Each owner has a
 * folder: what one of them put here says nothing to another, not even by the time that an answer takes.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PlatformError } from '../errors.ts';
import { digestSchema, type Digest } from '../ids.ts';
import type { Log } from '../runtime/log.ts';
import { FairCache } from '../fair-cache.ts';

export interface BlobCacheOptions {
  readonly folder: string;
  readonly bytesMax: number;
  readonly log: Log;
  /** Throws `blob_not_found` or a failure to reach control. */
  readonly fetchBlob: (digest: Digest, owner: string) => Promise<Uint8Array>;
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Of a cache that has only one; its blobs lie in the folder itself. */
const NOBODY = '';

export class BlobCache {
  readonly #options: BlobCacheOptions;
  readonly #present: FairCache<undefined>;
  readonly #fetches = new Map<string, Promise<Uint8Array>>();
  /** Of blobs that were pushed out: they are gone before a new one counts as stored. */
  readonly #removals = new Set<Promise<void>>();

  private constructor(options: BlobCacheOptions) {
    this.#options = options;
    this.#present = new FairCache({
      bytesMax: options.bytesMax,
      onEvicted: (owner, digest) => this.#removeFile(owner, digest),
    });
  }

  static async open(options: BlobCacheOptions): Promise<BlobCache> {
    const cache = new BlobCache(options);
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    const found: { owner: string; digest: Digest; bytes: number; usedMs: number }[] = [];
    for (const entry of await readdir(options.folder, { withFileTypes: true })) {
      const owner = entry.isDirectory() ? entry.name : NOBODY;
      const folder = join(options.folder, owner);
      for (const name of owner === NOBODY ? [entry.name] : await readdir(folder)) {
        const path = join(folder, name);
        const digest = digestSchema.safeParse(name);
        // Half-written files of a crash have another name.
        if (!digest.success) await rm(path, { recursive: true, force: true });
        else {
          const info = await stat(path);
          found.push({ owner, digest: digest.data, bytes: info.size, usedMs: info.mtimeMs });
        }
      }
    }
    found.sort((a, b) => a.usedMs - b.usedMs);
    for (const { owner, digest, bytes } of found)
      if (!cache.#present.set(owner, digest, undefined, bytes)) cache.#removeFile(owner, digest);
    await cache.#removed();
    return cache;
  }

  get bytes(): number {
    return this.#present.bytes;
  }

  bytesOf(owner: string): number {
    return this.#present.bytesOf(owner);
  }

  /** @throws {PlatformError} `blob_corrupt` when control's copy does not match either. */
  async get(digest: Digest, owner = NOBODY): Promise<Uint8Array> {
    return (await this.#read(digest, owner)) ?? (await this.#fetch(digest, owner));
  }

  async prefetch(digests: readonly Digest[], owner = NOBODY): Promise<void> {
    for (const digest of new Set(digests))
      if (!this.#present.has(owner, digest)) await this.#fetch(digest, owner);
  }

  /** For readers of large blobs, who must expect that it is gone when they open it. */
  path(digest: Digest, owner = NOBODY): string {
    return join(this.#options.folder, owner, digest);
  }

  async #read(digest: Digest, owner: string): Promise<Uint8Array | undefined> {
    if (!this.#present.has(owner, digest)) return undefined;
    let bytes: Uint8Array | undefined;
    try {
      bytes = await readFile(this.path(digest, owner));
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT')
        this.#options.log.warn('blob_unreadable', { digest, error: thrown });
    }
    if (bytes !== undefined && digestOf(bytes) === digest) {
      this.#present.get(owner, digest);
      return bytes;
    }
    if (bytes !== undefined) this.#options.log.error('blob_corrupt', { digest, bytes: bytes.byteLength });
    this.#present.delete(owner, digest);
    await rm(this.path(digest, owner), { force: true });
    return undefined;
  }

  #fetch(digest: Digest, owner: string): Promise<Uint8Array> {
    const key = `${owner}/${digest}`;
    const running = this.#fetches.get(key);
    if (running !== undefined) return running;
    const fetching = this.#fetchAndStore(digest, owner).finally(() => this.#fetches.delete(key));
    this.#fetches.set(key, fetching);
    return fetching;
  }

  async #fetchAndStore(digest: Digest, owner: string): Promise<Uint8Array> {
    const bytes = await this.#options.fetchBlob(digest, owner);
    if (digestOf(bytes) !== digest)
      throw new PlatformError('blob_corrupt', `control sent other bytes for blob ${digest}`);
    try {
      await mkdir(join(this.#options.folder, owner), { recursive: true, mode: 0o700 });
      const temporary = join(this.#options.folder, owner, `new-${randomUUID()}`);
      await writeFile(temporary, bytes, { mode: 0o600, flag: 'wx' });
      await rename(temporary, this.path(digest, owner));
      if (!this.#present.set(owner, digest, undefined, bytes.byteLength)) this.#removeFile(owner, digest);
      await this.#removed();
    } catch (thrown) {
      // A full disk costs the next start a fetch; this one has its bytes.
      this.#options.log.error('blob_not_cached', { digest, error: thrown });
    }
    return bytes;
  }

  #removeFile(owner: string, digest: string): void {
    const removal = rm(join(this.#options.folder, owner, digest), { force: true })
      .catch((error: unknown) => this.#options.log.warn('blob_not_removed', { digest, error }))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  async #removed(): Promise<void> {
    await Promise.all(this.#removals);
  }
}
