/**
 * The assets that a gateway or node serves: manifests and small files in memory, everything on its disk, all
 * by digest, fetched from control once. What was served here once is served when control is gone.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { LRUCache } from 'lru-cache';
import { BlobCache } from '../blobs/cache.node.ts';
import type { AssetFile, ServedAssets } from '../contracts/assets.ts';
import { PlatformError } from '../errors.ts';
import { FairCache } from '../fair-cache.ts';
import type { Digest } from '../ids.ts';
import type { Log } from '../runtime/log.ts';
import { Shares } from '../shares.ts';
import type { Coding } from './representation.ts';
import { Site } from './site.ts';

export interface LibraryOptions {
  readonly folder: string;
  readonly diskBytesMax: number;
  readonly memoryBytesMax: number;
  readonly log: Log;
  /** From control's store of that account. */
  readonly fetchBlob: (digest: Digest, account: string) => Promise<Uint8Array>;
}

export interface Body {
  readonly bytes: Buffer;
  /** The same, one character a byte: Node joins a head and a text into one write. */
  readonly text: string | undefined;
}

export const ASSET_DISK_BYTES_MAX = 2 * 1024 * 1024 * 1024;
export const ASSET_MEMORY_BYTES_MAX = 128 * 1024 * 1024;
/** Larger files are read from disk each time, piece by piece, and are not compressed. */
export const MEMORY_FILE_BYTES_MAX = 4 * 1024 * 1024;
const ONE_WRITE_BYTES_MAX = 16 * 1024;
/** What a site holds beside its manifest: rules, and answers that it remembers. */
const SITE_EXTRA_BYTES = 256 * 1024;
const COMPRESSIONS_AT_ONCE_MAX = 2;
const VERIFIED_MAX = 20_000;
const RETRY_MS = 1_000;

const brotli = promisify(brotliCompress);
const gunzippable = promisify(gzip);

export class AssetLibrary {
  readonly #options: LibraryOptions;
  readonly #disk: BlobCache;
  readonly #sites: FairCache<Site>;
  /** Of a coding that saves nothing: undefined. */
  readonly #bodies: FairCache<Body | undefined>;
  readonly #running = new Map<string, Promise<unknown>>();
  /** Large files whose digest was checked since this process started. */
  readonly #verified = new LRUCache<string, true>({ max: VERIFIED_MAX });
  readonly #loading = new Shares('assets.loading');
  readonly sending = new Shares('assets.sending');
  #compressing = 0;

  private constructor(options: LibraryOptions, disk: BlobCache) {
    this.#options = options;
    this.#disk = disk;
    this.#sites = new FairCache({ bytesMax: options.memoryBytesMax / 2 });
    this.#bodies = new FairCache({ bytesMax: options.memoryBytesMax / 2 });
  }

  static async open(options: LibraryOptions): Promise<AssetLibrary> {
    const { folder, diskBytesMax: bytesMax, log, fetchBlob } = options;
    return new AssetLibrary(options, await BlobCache.open({ folder, bytesMax, log, fetchBlob }));
  }

  /**
   * @param key - names the manifest with its configuration.
   * @throws {PlatformError} `asset_unavailable`
   */
  site(account: string, key: string, served: ServedAssets): Site | Promise<Site> {
    return (
      this.#sites.get(account, key) ??
      this.#once(`site ${account} ${key}`, async () => {
        const bytes = await this.#load(account, { digest: served.manifest, bytes: served.manifestBytes });
        const site = new Site(served, bytes);
        this.#sites.set(account, key, site, bytes.byteLength + SITE_EXTRA_BYTES);
        return site;
      })
    );
  }

  /** Fetches a manifest before it is asked for. Failures are no news: it is tried again when it is needed. */
  async prefetch(account: string, served: ServedAssets): Promise<void> {
    try {
      await this.#disk.prefetch([served.manifest], account);
    } catch (error) {
      this.#options.log.warn('assets_not_prefetched', { account, error });
    }
  }

  /**
   * A file of at most {@link MEMORY_FILE_BYTES_MAX}, in a coding; undefined when it is not to be had in that
   * coding, or not now.
   *
   * @throws {PlatformError} `asset_unavailable`
   */
  body(account: string, file: AssetFile, coding: Coding): Body | undefined | Promise<Body | undefined> {
    const key = coding === 'identity' ? file.digest : `${file.digest}.${coding}`;
    const known = this.#bodies.get(account, key);
    if (known !== undefined || this.#bodies.has(account, key)) return known;
    if (coding === 'identity')
      return this.#once(`body ${account} ${key}`, async () =>
        this.#keep(account, key, await this.#load(account, file)),
      );
    if (this.#compressing >= COMPRESSIONS_AT_ONCE_MAX && !this.#running.has(`body ${account} ${key}`))
      return undefined;
    return this.#once(`body ${account} ${key}`, () => this.#compress(account, key, { file, coding }));
  }

  /** For a file of any size. The caller closes it. @throws {PlatformError} `asset_unavailable` */
  async handle(account: string, file: AssetFile): Promise<FileHandle> {
    const key = `${account}/${file.digest}`;
    for (let attempt = 0; attempt < 2; attempt += 1) {
      if (this.#verified.get(key) === undefined) {
        await this.#once(`file ${key}`, () => this.#load(account, file));
        this.#verified.set(key, true);
      }
      try {
        return await open(this.#disk.path(file.digest, account), 'r');
      } catch (thrown) {
        // Pushed out of the cache since.
        this.#options.log.debug('asset_gone_from_cache', { error: thrown });
        this.#verified.delete(key);
      }
    }
    throw unavailable(`no room on disk for ${file.digest}`);
  }

  async #compress(
    account: string,
    key: string,
    { file, coding }: { readonly file: AssetFile; readonly coding: Coding },
  ): Promise<Body | undefined> {
    this.#compressing += 1;
    try {
      const plain = await this.body(account, file, 'identity');
      if (plain === undefined) return undefined;
      const bytes =
        coding === 'br'
          ? await brotli(plain.bytes, {
              params: { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_SIZE_HINT]: file.bytes },
            })
          : await gunzippable(plain.bytes);
      if (bytes.byteLength < file.bytes) return this.#keep(account, key, bytes);
      this.#bodies.set(account, key, undefined, key.length);
      return undefined;
    } finally {
      this.#compressing -= 1;
    }
  }

  #keep(account: string, key: string, content: Uint8Array): Body {
    const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
    const small = bytes.byteLength <= ONE_WRITE_BYTES_MAX;
    const body: Body = { bytes, text: small ? bytes.toString('latin1') : undefined };
    this.#bodies.set(account, key, body, bytes.byteLength * (small ? 2 : 1) + key.length);
    return body;
  }

  async #load(
    account: string,
    { digest, bytes }: { readonly digest: Digest; readonly bytes: number },
  ): Promise<Uint8Array> {
    this.#loading.takeOrThrow(account, bytes);
    try {
      return await this.#disk.get(digest, account);
    } catch (thrown) {
      this.#options.log.warn('asset_unavailable', { account, digest, error: thrown });
      throw unavailable(`blob ${digest}`, thrown);
    } finally {
      this.#loading.give(account, bytes);
    }
  }

  #once<T>(key: string, work: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key);
    // Keys name the kind of the result.
    if (running !== undefined) return running as Promise<T>;
    const promise = work().finally(() => this.#running.delete(key));
    this.#running.set(key, promise);
    return promise;
  }
}

function unavailable(detail: string, cause?: unknown): PlatformError {
  return new PlatformError('asset_unavailable', detail, { cause, retryAfterMs: RETRY_MS });
}
