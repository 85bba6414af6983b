/**
 * Files of static assets, a store for each account: what one of them uploaded is nothing to another, so no
 * digest that somebody knows or guesses leads to a neighbour's file.
 */
import { join } from 'node:path';
import { Manifest } from '#shared/assets/manifest.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName, Digest } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import { BlobStore, type Disk } from '../blobs/store.ts';
import { ceilingsOf } from '../db/accounts.ts';
import {
  assetBytesOf,
  forgetAssets,
  knownAssets,
  manifestsOf,
  oldAssets,
  recordAssets,
} from '../db/assets.ts';
import type { Database } from '../db/database.ts';

export interface AssetStoreOptions {
  readonly folder: string;
  readonly db: Database;
  readonly clock: Clock;
  readonly disk?: Disk;
}

export interface AssetBlob {
  readonly digest: Digest;
  readonly bytes: number;
  read(): Promise<Uint8Array>;
}

/** A deployment that is under way has used its files for the last time within this. */
const UNUSED_MS = 3_600_000;

export class AssetStore {
  readonly #options: AssetStoreOptions;
  readonly #stores = new Map<AccountName, Promise<BlobStore>>();

  constructor(options: AssetStoreOptions) {
    this.#options = options;
  }

  #of(account: AccountName): Promise<BlobStore> {
    const { folder, disk } = this.#options;
    let store = this.#stores.get(account);
    if (store === undefined) {
      store = BlobStore.open(join(folder, account), disk);
      this.#stores.set(account, store);
      store.catch(() => this.#stores.delete(account));
    }
    return store;
  }

  /**
   * Stores the bytes durably, then says so in the database.
   *
   * @throws {PlatformError} `quota_exceeded` or `storage_full`
   */
  async put(account: AccountName, blobs: readonly AssetBlob[]): Promise<void> {
    const { db } = this.#options;
    const known = await db.read((orm) =>
      knownAssets(
        orm,
        account,
        blobs.map(({ digest }) => digest),
      ),
    );
    const added = blobs.reduce((sum, { digest, bytes }) => sum + (known.has(digest) ? 0 : bytes), 0);
    await this.#makeRoom(account, added);
    await using lease = (await this.#of(account)).lease();
    for (const blob of blobs) await lease.put(blob.digest, await blob.read());
    await db.write((tx) => recordAssets(tx, account, blobs));
    lease.keep();
  }

  /**
   * A file that is gone or damaged is forgotten, so that the next deployment uploads it again.
   *
   * @throws {PlatformError} `blob_not_found` or `blob_corrupt`
   */
  async get(account: AccountName, digest: Digest): Promise<Uint8Array> {
    const known = await this.#options.db.read((orm) => knownAssets(orm, account, [digest]));
    if (!known.has(digest)) throw new PlatformError('blob_not_found', `${account} has no asset ${digest}`);
    try {
      return await (await this.#of(account)).get(digest);
    } catch (thrown) {
      if (
        thrown instanceof PlatformError &&
        (thrown.code === 'blob_not_found' || thrown.code === 'blob_corrupt')
      )
        await this.#options.db.write((tx) => forgetAssets(tx, account, [digest]));
      throw thrown;
    }
  }

  async #makeRoom(account: AccountName, bytes: number): Promise<void> {
    const { db } = this.#options;
    const read = (): Promise<{ readonly used: number; readonly most: number }> =>
      db.read(async (orm) => ({
        used: await assetBytesOf(orm, account),
        most: (await ceilingsOf(orm, account)).assetBytes ?? LIMITS.assetsPerAccountBytesDefault,
      }));
    const before = await read();
    if (before.used + bytes <= before.most) return;
    await this.#sweep(account);
    const { used, most } = await read();
    if (used + bytes <= most) return;
    throw new PlatformError('quota_exceeded', `${account} keeps ${used} bytes of assets`, {
      publicDetail: `Static assets of the account may have ${most} bytes, of which versions use ${used}. Delete versions that are not needed.`,
    });
  }

  /** Removes what no version of the account serves any more. */
  async #sweep(account: AccountName): Promise<void> {
    const { db, clock } = this.#options;
    const { manifests, old } = await db.read(async (orm) => ({
      manifests: await manifestsOf(orm, account),
      old: await oldAssets(orm, account, clock.wallMs() - UNUSED_MS),
    }));
    const used = new Set<Digest>();
    for (const { manifest } of manifests) {
      used.add(manifest);
      for (const { digest } of Manifest.read(await this.get(account, manifest)).files()) used.add(digest);
    }
    const unused = old.filter((digest) => !used.has(digest));
    // Forgotten first: what is left on disk after a crash is found again when it is uploaded anew.
    await db.write((tx) => forgetAssets(tx, account, unused));
    const store = await this.#of(account);
    for (const digest of unused) await store.remove(digest);
  }
}
