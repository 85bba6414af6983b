/** A bucket that is away, hangs, refuses, or is somebody else's. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeEach, describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { noS3, S3, S3_KEYS } from '../testing/s3.ts';
import { Bucket, type BucketOptions } from './bucket.ts';
import { claimBucket } from './s3.ts';
import { bucketUrlSchema } from './url.ts';

const bucketAt = (endpoint: string, options: Partial<BucketOptions> = {}): Bucket =>
  new Bucket({
    ...S3_KEYS,
    bucket: 'blobs',
    prefix: '',
    region: 'us-east-1',
    endpoint,
    random: () => 0,
    ...options,
  });

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

async function codeOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'done',
    (thrown: unknown) => (thrown as { code?: unknown }).code ?? thrown,
  );
}

/** What real servers say, word for word: the one that tests can run lets everybody in. */
async function serving(listener: RequestListener) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const refusal = (code: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>no</Message><RequestId>1</RequestId></Error>`;

describe('a bucket of a real server', () => {
  beforeEach(({ skip }) => {
    if (noS3 !== undefined) skip(noS3);
  });

  test('that is not there is missing, and one that was in use is not begun anew', async ({ expect }) => {
    await using folder = await tempFolder();
    await using s3 = await S3.start(join(folder.path, 's3'));
    const other = bucketAt(s3.endpoint, { bucket: 'other' });
    expect([
      await codeOf(claimBucket(other, 'ours', false)),
      await codeOf(other.put('a', bytes('b'))),
    ]).toEqual(['blobs_missing', 'blobs_missing']);
    expect(await codeOf(claimBucket(bucketAt(s3.endpoint), 'ours', true))).toBe('blobs_missing');
  });

  test('belongs to the platform that began on it', async ({ expect }) => {
    await using folder = await tempFolder();
    await using s3 = await S3.start(join(folder.path, 's3'));
    const claims = [];
    for (const [cluster, isInUse] of [
      ['ours', false],
      ['ours', true],
      ['theirs', false],
      ['theirs', true],
    ] as const)
      claims.push(await codeOf(claimBucket(bucketAt(s3.endpoint), cluster, isInUse)));
    expect(claims).toEqual(['done', 'done', 'blobs_foreign', 'blobs_foreign']);
    // Another folder of it is another store.
    expect(await codeOf(claimBucket(bucketAt(s3.endpoint, { prefix: 'b/' }), 'theirs', false))).toBe('done');
  });

  test('that is away or hangs is given up in time, and used again when it is back', async ({ expect }) => {
    await using folder = await tempFolder();
    await using s3 = await S3.start(join(folder.path, 's3'));
    const bucket = bucketAt(s3.endpoint, { timeoutMs: 150 });
    await bucket.put('a', bytes('b'));
    s3.pause();
    expect(await codeOf(bucket.get('a'))).toBe('blobs_unreachable');
    s3.resume();
    expect(Buffer.from((await bucketAt(s3.endpoint).get('a')) ?? []).toString()).toBe('b');
    await s3.kill();
    expect(await codeOf(bucket.get('a'))).toBe('blobs_unreachable');
    await s3.start();
    expect(Buffer.from((await bucketAt(s3.endpoint).get('a')) ?? []).toString()).toBe('b');
  });
});

describe('a bucket', () => {
  test('whose server fails for a moment is asked again, but not for ever', async ({ expect }) => {
    let asked = 0;
    await using server = await serving((request, response) => {
      asked += 1;
      request.resume();
      response.statusCode = asked % 3 === 0 ? 200 : 503;
      response.end(asked % 3 === 0 ? 'done' : refusal('SlowDown'));
    });
    expect(Buffer.from((await bucketAt(server.url).get('a')) ?? []).toString()).toBe('done');
    expect(asked).toBe(3);
    await using broken = await serving((_, response) => {
      asked += 1;
      response.writeHead(500).end(refusal('InternalError'));
    });
    expect([await codeOf(bucketAt(broken.url).get('a')), asked]).toEqual(['blobs_unreachable', 7]);
  });

  for (const [status, said, code] of [
    [403, 'SignatureDoesNotMatch', 'blobs_refused'],
    [403, 'InvalidAccessKeyId', 'blobs_refused'],
    [403, 'AccessDenied', 'blobs_refused'],
    [400, 'AuthorizationHeaderMalformed', 'blobs_refused'],
    [301, 'PermanentRedirect', 'blobs_refused'],
    [404, 'NoSuchBucket', 'blobs_missing'],
    [507, 'XMinioStorageFull', 'storage_full'],
    [400, 'InvalidRequest', 'internal'],
  ] as const)
    test(`that answers ${status} ${said} is said to be ${code}, once`, async ({ expect }) => {
      let asked = 0;
      await using server = await serving((request, response) => {
        asked += 1;
        request.resume();
        response.writeHead(status, { location: 'http://127.0.0.1:1/' }).end(refusal(said));
      });
      expect([await codeOf(bucketAt(server.url).put('a', bytes('b'))), asked]).toEqual([code, 1]);
    });

  test('that answers with more than any blob is not read to the end', async ({ expect }) => {
    const chunk = Buffer.alloc(1_048_576);
    let sent = 0;
    await using server = await serving((_, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write(chunk)) sent += chunk.byteLength;
      };
      response.on('drain', more);
      more();
    });
    expect(await codeOf(bucketAt(server.url).get('a'))).toBe('blob_corrupt');
    expect(sent).toBeLessThan(100 * 1_048_576);
  });
});

describe('the address of a bucket', () => {
  test('names the bucket, a folder of it, the endpoint and the region', ({ expect }) => {
    expect(bucketUrlSchema.parse('s3://blobs/prod?endpoint=http://10.0.0.5:9000&region=eu-1')).toEqual({
      bucket: 'blobs',
      prefix: 'prod/',
      endpoint: 'http://10.0.0.5:9000',
      region: 'eu-1',
    });
    expect(bucketUrlSchema.parse('s3://blobs?region=eu-central-1')).toMatchObject({
      prefix: '',
      endpoint: 'https://s3.eu-central-1.amazonaws.com',
    });
  });

  test.for([
    'http://blobs',
    's3://key:secret@blobs',
    's3://b',
    's3://blobs/a b',
    's3://blobs?endpoint=ftp://x',
    's3://blobs?regoin=eu',
    's3://blobs?region=EU west',
  ])('is refused as %s', (text, { expect }) => {
    const result = bucketUrlSchema.safeParse(text);
    expect(result.success).toBe(false);
    expect(JSON.stringify(result.error?.issues)).not.toContain('secret');
  });
});
