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
import type { Log } from '#shared/runtime/log.ts';
import type { Disk } from '../blobs/files.ts';
import type { BlobMedium } from '../blobs/medium.ts';
import { BlobStore, type BlobLease } from '../blobs/store.ts';
import { ceilingsOf } from '../db/accounts.ts';
import {
  assetBytesOf,
  forgetAsset,
  forgetOldAssets,
  knownAssets,
  manifestsOf,
  oldAssets,
  recordAssets,
} from '../db/assets.ts';
import type { Database, Orm } from '../db/database.ts';

export interface AssetStoreOptions {
  readonly folder: string;
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Log;
  readonly disk?: Disk;
  /** Instead of the folder. */
  readonly mediumOf?: (account: AccountName) => BlobMedium;
}

export interface AssetBlob {
  readonly digest: Digest;
  readonly bytes: number;
  read(): Promise<Uint8Array>;
}

/** A deployment that is under way has used its files for the last time within this. */
const UNUSED_MS = 3_600_000;

/** A small file is a matter of waiting for the disk: these many wait together, of at most so many bytes each. */
const SMALL_AT_ONCE = 8;
const SMALL_BYTES_MAX = 256 * 1024;

/** Of larger files memory holds one. What fails is told when nothing is written any more. */
async function storeAll(lease: BlobLease, blobs: readonly AssetBlob[]): Promise<void> {
  const put = async (blob: AssetBlob): Promise<void> => lease.put(blob.digest, await blob.read());
  const small = blobs.filter(({ bytes }) => bytes <= SMALL_BYTES_MAX);
  const left = small.values();
  const worker = async (): Promise<void> => {
    for (const blob of left) await put(blob);
  };
  const ended = await Promise.allSettled(Array.from({ length: SMALL_AT_ONCE }, worker));
  for (const each of ended) if (each.status === 'rejected') throw each.reason;
  for (const blob of blobs) if (blob.bytes > SMALL_BYTES_MAX) await put(blob);
}

export class AssetStore {
  readonly #options: AssetStoreOptions;
  readonly #stores = new Map<AccountName, Promise<BlobStore>>();

  constructor(options: AssetStoreOptions) {
    this.#options = options;
  }

  #of(account: AccountName): Promise<BlobStore> {
    const { folder, disk, mediumOf } = this.#options;
    let store = this.#stores.get(account);
    if (store === undefined) {
      store = BlobStore.open(join(folder, account), {
        ...(disk === undefined ? {} : { disk }),
        ...(mediumOf === undefined ? {} : { medium: mediumOf(account) }),
      });
      this.#stores.set(account, store);
      store.catch(() => this.#stores.delete(account));
    }
    return store;
  }

  /**
   * Stores the bytes durably, then says so in the database, where of several uploads at once each counts those before it.
   *
   * @throws {PlatformError} `quota_exceeded` or `storage_full`
   */
  async put(account: AccountName, blobs: readonly AssetBlob[]): Promise<void> {
    const { db } = this.#options;
    const added = await db.read((orm) => bytesAdded(orm, account, blobs));
    if (added > 0) await this.#makeRoom(account, added);
    await using lease = (await this.#of(account)).lease();
    await storeAll(lease, blobs);
    const committed = db.write(async (tx) => {
      const more = await bytesAdded(tx.orm, account, blobs);
      const room = await roomOf(tx.orm, account);
      if (more > 0 && room.used + more > room.most) throw full(account, room);
      await recordAssets(tx, account, blobs);
    });
    await lease.keepWhen(committed);
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
      if (isLost(thrown)) await this.#options.db.write((tx) => forgetAsset(tx, account, digest));
      throw thrown;
    }
  }

  async #makeRoom(account: AccountName, bytes: number): Promise<void> {
    const { db } = this.#options;
    const before = await db.read((orm) => roomOf(orm, account));
    if (before.used + bytes <= before.most) return;
    await this.#sweep(account);
    const room = await db.read((orm) => roomOf(orm, account));
    if (room.used + bytes > room.most) throw full(account, room);
  }

  /** Removes what no version of the account serves any more. */
  async #sweep(account: AccountName): Promise<void> {
    const { db, clock } = this.#options;
    const beforeMs = clock.wallMs() - UNUSED_MS;
    const { manifests, old } = await db.read(async (orm) => ({
      manifests: await manifestsOf(orm, account),
      old: await oldAssets(orm, account, beforeMs),
    }));
    const used = new Set<Digest>();
    for (const { manifest } of manifests) {
      used.add(manifest);
      for (const digest of await this.#listedIn(account, manifest)) used.add(digest);
    }
    const digests = old.filter((digest) => !used.has(digest));
    // Forgotten first: what is left on disk after a crash is found again when it is uploaded anew.
    const forgotten = await db.write((tx) => forgetOldAssets(tx, account, { digests, beforeMs }));
    const store = await this.#of(account);
    for (const digest of forgotten) await store.removeUnused(digest);
  }

  /**
   * Of a manifest that is gone or damaged nobody knows what it lists. It must not keep the account from deploying, which
   * is what mends it: its version serves nothing until it is published again, and then uploads what is missing.
   */
  async #listedIn(account: AccountName, manifest: Digest): Promise<readonly Digest[]> {
    try {
      return [...Manifest.read(await this.get(account, manifest)).files()].map(({ digest }) => digest);
    } catch (thrown) {
      if (!isLost(thrown)) throw thrown;
      this.#options.log.warn('asset_manifest_lost', { account, manifest, error: thrown });
      return [];
    }
  }
}

interface Room {
  readonly used: number;
  readonly most: number;
}

async function roomOf(orm: Orm, account: AccountName): Promise<Room> {
  return {
    used: await assetBytesOf(orm, account),
    most: (await ceilingsOf(orm, account)).assetBytes ?? LIMITS.assetsPerAccountBytesDefault,
  };
}

/** Of those that the account does not have yet; each once. */
async function bytesAdded(orm: Orm, account: AccountName, blobs: readonly AssetBlob[]): Promise<number> {
  const sizes = new Map(blobs.map(({ digest, bytes }) => [digest, bytes]));
  for (const digest of (await knownAssets(orm, account, [...sizes.keys()])).keys()) sizes.delete(digest);
  return [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
}

function full(account: AccountName, { used, most }: Room): PlatformError {
  return new PlatformError('quota_exceeded', `${account} keeps ${used} bytes of assets`, {
    publicDetail: `Static assets of the account may have ${most} bytes, of which versions use ${used}. Delete versions that are not needed, or ask the operator to raise the ceiling.`,
  });
}

/** Not there, or not what it was. */
function isLost(thrown: unknown): boolean {
  return (
    thrown instanceof PlatformError && (thrown.code === 'blob_not_found' || thrown.code === 'blob_corrupt')
  );
}
