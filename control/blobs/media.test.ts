/** Blobs on every medium: files, and a bucket of a real S3 server. */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'vitest';
import { PlatformError } from '#shared/errors.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { noS3, S3, S3_KEYS } from '../testing/s3.ts';
import { Bucket } from './bucket.ts';
import { FileMedium, realDisk } from './files.ts';
import type { BlobMedium } from './medium.ts';
import { BucketMedium } from './s3.ts';
import { BlobStore, sha256 } from './store.ts';

const MEDIA = ['files', 's3'] as const;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

class Place implements AsyncDisposable {
  readonly folder: string;
  readonly medium: BlobMedium;
  /** Of another account, another kind. */
  readonly neighbour: BlobMedium;
  readonly #parts: AsyncDisposableStack;

  private constructor(folder: string, media: readonly [BlobMedium, BlobMedium], parts: AsyncDisposableStack) {
    this.folder = folder;
    [this.medium, this.neighbour] = media;
    this.#parts = parts;
  }

  static async make(kind: (typeof MEDIA)[number], { skip }: TestContext): Promise<Place> {
    if (kind === 's3' && noS3 !== undefined) skip(noS3);
    await using parts = new AsyncDisposableStack();
    const folder = parts.use(await tempFolder()).path;
    if (kind === 'files') {
      const folders = [join(folder, 'blobs'), join(folder, 'neighbour')] as const;
      for (const each of folders) await mkdir(join(each, 'tmp'), { recursive: true });
      const [own, other] = folders.map((each) => new FileMedium(each, realDisk));
      return new Place(folder, [own!, other!], parts.move());
    }
    const s3 = parts.use(await S3.start(join(folder, 's3')));
    const bucket = new Bucket({
      ...S3_KEYS,
      bucket: 'blobs',
      prefix: 'platform/',
      region: 'us-east-1',
      endpoint: s3.endpoint,
      random: Math.random,
    });
    const media = [new BucketMedium(bucket, 'blobs/'), new BucketMedium(bucket, 'assets/a/')] as const;
    return new Place(folder, media, parts.move());
  }

  store(): Promise<BlobStore> {
    return BlobStore.open(join(this.folder, 'blobs'), { medium: this.medium });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }
}

const store = async (blobs: BlobStore, content: Uint8Array): Promise<void> => {
  await using lease = blobs.lease();
  await lease.put(sha256(content), content);
  await lease.keepWhen(Promise.resolve());
};

describe.each(MEDIA)('blobs on %s', (kind) => {
  test('are what was stored, have a size, are listed, and are gone when they are removed', async (context) => {
    const { expect } = context;
    await using place = await Place.make(kind, context);
    const { medium, neighbour } = place;
    const content = bytes('one');
    const digest = sha256(content);
    expect([await medium.read(digest), await medium.size(digest)]).toEqual([undefined, undefined]);
    await medium.write(digest, content);
    await medium.write(digest, content);
    expect([Buffer.from((await medium.read(digest)) ?? []).toString(), await medium.size(digest)]).toEqual([
      'one',
      3,
    ]);
    expect([await medium.list(), await neighbour.read(digest)]).toEqual([[digest], undefined]);
    await medium.remove(digest);
    await medium.remove(digest);
    expect([await medium.read(digest), await medium.list()]).toEqual([undefined, []]);
  });

  test('may be empty, and as large as the largest module', async (context) => {
    const { expect } = context;
    await using place = await Place.make(kind, context);
    const blobs = await place.store();
    for (const content of [new Uint8Array(), randomBytes(32 * 1_048_576)]) {
      await store(blobs, content);
      expect(sha256(await blobs.get(sha256(content)))).toBe(sha256(content));
      expect(await blobs.sizeOf(sha256(content))).toBe(content.byteLength);
    }
  });

  test('are listed when they are more than one answer holds', async (context) => {
    const { expect } = context;
    await using place = await Place.make(kind, context);
    const contents = Array.from({ length: 1_050 }, (_, index) => bytes(`number ${index}`));
    // One after the other: the server for tests fails when it makes folders at once.
    for (const content of contents) await place.medium.write(sha256(content), content);
    expect((await place.medium.list()).toSorted()).toEqual(contents.map(sha256).toSorted());
  });

  test('that were damaged are noticed, and healed by storing them again', async (context) => {
    const { expect } = context;
    await using place = await Place.make(kind, context);
    const blobs = await place.store();
    const content = bytes('whole');
    await place.medium.write(sha256(content), bytes('whale'));
    await expect(blobs.get(sha256(content))).rejects.toMatchObject({ code: 'blob_corrupt' });
    await store(blobs, content);
    expect(Buffer.from(await blobs.get(sha256(content))).toString()).toBe('whole');
  });

  test('go with a change that was refused, and stay with one of which nobody knows', async (context) => {
    const { expect } = context;
    await using place = await Place.make(kind, context);
    const blobs = await place.store();
    for (const [code, stays] of [
      ['quota_exceeded', false],
      ['change_unknown', true],
    ] as const) {
      const content = bytes(code);
      const refused = (async () => {
        await using lease = blobs.lease();
        await lease.put(sha256(content), content);
        await lease.keepWhen(Promise.reject(new PlatformError(code, 'no')));
      })();
      await expect(refused).rejects.toMatchObject({ code });
      expect([code, (await blobs.sizeOf(sha256(content))) !== undefined]).toEqual([code, stays]);
    }
    // Later nothing refers to it, or something does.
    const kept = sha256(bytes('kept'));
    await store(blobs, bytes('kept'));
    expect(await blobs.sweep(() => Promise.resolve(new Set([kept])))).toBe(1);
    expect(await place.medium.list()).toEqual([kept]);
  });
});
