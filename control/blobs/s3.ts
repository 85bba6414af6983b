/** Blobs in a bucket that is marked with the platform to which it belongs; keys are those of the files. */
import { PlatformError } from '#shared/errors.ts';
import { digestSchema, type Digest } from '#shared/ids.ts';
import type { Bucket } from './bucket.ts';
import type { BlobMedium } from './medium.ts';

/** Holds the identity of the platform, as the file of this name in its data folder does. */
const MARK = 'cluster';

export class BucketMedium implements BlobMedium {
  readonly #bucket: Bucket;
  /** Ends in a slash. */
  readonly #folder: string;

  constructor(bucket: Bucket, folder: string) {
    this.#bucket = bucket;
    this.#folder = folder;
  }

  #key(digest: Digest): string {
    return `${this.#folder}${digest.slice(0, 2)}/${digest.slice(2)}`;
  }

  read(digest: Digest): Promise<Uint8Array | undefined> {
    return this.#bucket.get(this.#key(digest));
  }

  size(digest: Digest): Promise<number | undefined> {
    return this.#bucket.size(this.#key(digest));
  }

  write(digest: Digest, bytes: Uint8Array): Promise<void> {
    return this.#bucket.put(this.#key(digest), bytes);
  }

  remove(digest: Digest): Promise<void> {
    return this.#bucket.remove(this.#key(digest));
  }

  async list(): Promise<readonly Digest[]> {
    const found: Digest[] = [];
    for await (const key of this.#bucket.list(this.#folder)) {
      const digest = digestSchema.safeParse(key.replace('/', ''));
      if (digest.success) found.push(digest.data);
    }
    return found;
  }
}

/**
 * Sees that the bucket is this platform's, and makes a new one so.
 *
 * @param isInUse - the platform has stored blobs, so a bucket without its mark is not where.
 * @throws {PlatformError} `blobs_foreign`, `blobs_missing`, `blobs_refused` or `blobs_unreachable`
 */
export async function claimBucket(bucket: Bucket, cluster: string, isInUse: boolean): Promise<void> {
  const found = await bucket.get(MARK);
  const owner = found === undefined ? undefined : Buffer.from(found).toString('utf8').trim();
  if (owner === cluster) return;
  if (owner !== undefined)
    throw new PlatformError(
      'blobs_foreign',
      `${bucket.name} belongs to platform ${owner.slice(0, 64)}, and this data folder to platform ${cluster}; name its own with --blobs`,
    );
  if (isInUse)
    throw new PlatformError(
      'blobs_missing',
      `${bucket.name} holds nothing of this platform, which was in use; name its own with --blobs, or copy \`blobs/\`, \`assets/\` and then \`cluster\` of the data folder into it`,
    );
  await bucket.put(MARK, new TextEncoder().encode(`${cluster}\n`));
}
