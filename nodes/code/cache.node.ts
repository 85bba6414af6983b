/**
 * Blobs on this node's disk by sha-256, fetched from control, verified on every read.
 *
 * What a disk returns is not believed: a blob that does not match is deleted and fetched once more. The
 * bound is on bytes; the blob that was used longest ago goes first.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PlatformError } from '#shared/errors.ts';
import { digestSchema, type Digest } from '#shared/ids.ts';
import type { Log } from '#shared/runtime/log.ts';

export interface CodeCacheOptions {
  readonly folder: string;
  readonly bytesMax: number;
  readonly log: Log;
  /** Throws `blob_not_found` or a failure to reach control. */
  readonly fetchBlob: (digest: Digest) => Promise<Uint8Array>;
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export class CodeCache {
  readonly #options: CodeCacheOptions;
  /** Sizes in order of use, oldest first. */
  readonly #sizes = new Map<Digest, number>();
  readonly #fetches = new Map<Digest, Promise<Uint8Array>>();
  #bytes = 0;

  private constructor(options: CodeCacheOptions) {
    this.#options = options;
  }

  static async open(options: CodeCacheOptions): Promise<CodeCache> {
    const cache = new CodeCache(options);
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    const found: { digest: Digest; bytes: number; usedMs: number }[] = [];
    for (const name of await readdir(options.folder)) {
      const path = join(options.folder, name);
      const digest = digestSchema.safeParse(name);
      // Half-written files of a crash have another name.
      if (!digest.success) await rm(path, { recursive: true, force: true });
      else {
        const info = await stat(path);
        found.push({ digest: digest.data, bytes: info.size, usedMs: info.mtimeMs });
      }
    }
    found.sort((a, b) => a.usedMs - b.usedMs);
    for (const { digest, bytes } of found) cache.#note(digest, bytes);
    await cache.#evict();
    return cache;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @throws {PlatformError} `blob_corrupt` when control's copy does not match either. */
  async get(digest: Digest): Promise<Uint8Array> {
    return (await this.#read(digest)) ?? (await this.#fetch(digest));
  }

  async prefetch(digests: readonly Digest[]): Promise<void> {
    for (const digest of new Set(digests)) if (!this.#sizes.has(digest)) await this.#fetch(digest);
  }

  async #read(digest: Digest): Promise<Uint8Array | undefined> {
    if (!this.#sizes.has(digest)) return undefined;
    let bytes: Uint8Array | undefined;
    try {
      bytes = await readFile(this.#path(digest));
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT')
        this.#options.log.warn('blob_unreadable', { digest, error: thrown });
    }
    if (bytes !== undefined && digestOf(bytes) === digest) {
      this.#note(digest, bytes.byteLength);
      return bytes;
    }
    if (bytes !== undefined) this.#options.log.error('blob_corrupt', { digest, bytes: bytes.byteLength });
    await this.#forget(digest);
    return undefined;
  }

  #fetch(digest: Digest): Promise<Uint8Array> {
    const running = this.#fetches.get(digest);
    if (running !== undefined) return running;
    const fetching = this.#fetchAndStore(digest).finally(() => this.#fetches.delete(digest));
    this.#fetches.set(digest, fetching);
    return fetching;
  }

  async #fetchAndStore(digest: Digest): Promise<Uint8Array> {
    const bytes = await this.#options.fetchBlob(digest);
    if (digestOf(bytes) !== digest)
      throw new PlatformError('blob_corrupt', `control sent other bytes for blob ${digest}`);
    try {
      const temporary = join(this.#options.folder, `new-${randomUUID()}`);
      await writeFile(temporary, bytes, { mode: 0o600, flag: 'wx' });
      await rename(temporary, this.#path(digest));
      this.#note(digest, bytes.byteLength);
      await this.#evict();
    } catch (thrown) {
      // A full disk costs the next start a fetch; this one has its bytes.
      this.#options.log.error('blob_not_cached', { digest, error: thrown });
    }
    return bytes;
  }

  #note(digest: Digest, bytes: number): void {
    this.#bytes += bytes - (this.#sizes.get(digest) ?? 0);
    this.#sizes.delete(digest);
    this.#sizes.set(digest, bytes);
  }

  async #forget(digest: Digest): Promise<void> {
    this.#bytes -= this.#sizes.get(digest) ?? 0;
    this.#sizes.delete(digest);
    await rm(this.#path(digest), { force: true });
  }

  async #evict(): Promise<void> {
    for (const digest of this.#sizes.keys()) {
      if (this.#bytes <= this.#options.bytesMax) return;
      await this.#forget(digest);
    }
  }

  #path(digest: Digest): string {
    return join(this.#options.folder, digest);
  }
}
