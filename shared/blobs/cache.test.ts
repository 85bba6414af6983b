/** The cache of blobs at its bound and with damaged files. */
import { createHash } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'vitest';
import { PlatformError } from '#shared/errors.ts';
import { digestSchema, type Digest } from '#shared/ids.ts';
import { memoryLog } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { BlobCache } from './cache.node.ts';

let folder: TempFolder;
let fetches: Digest[];
const blobs = new Map<Digest, Uint8Array>();
beforeEach(async () => {
  folder = await tempFolder();
  fetches = [];
  blobs.clear();
});
afterEach(() => folder[Symbol.asyncDispose]());

function blob(text: string): Digest {
  const bytes = new TextEncoder().encode(text);
  const digest = digestSchema.parse(createHash('sha256').update(bytes).digest('hex'));
  blobs.set(digest, bytes);
  return digest;
}

const open = (bytesMax = 1_000): Promise<BlobCache> =>
  BlobCache.open({
    folder: folder.path,
    bytesMax,
    log: memoryLog(),
    fetchBlob: async (digest) => {
      fetches.push(digest);
      const bytes = blobs.get(digest);
      if (bytes === undefined) throw new PlatformError('blob_not_found', digest);
      return bytes;
    },
  });
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

describe('BlobCache', () => {
  test('fetches once, for callers at the same time and after a restart too', async ({ expect }) => {
    const digest = blob('one');
    const cache = await open();
    expect((await Promise.all([cache.get(digest), cache.get(digest)])).map(text)).toEqual(['one', 'one']);
    expect(text(await (await open()).get(digest))).toBe('one');
    expect(fetches).toEqual([digest]);
  });

  test('evicts what was used longest ago when one byte is too many', async ({ expect }) => {
    const [a, b, c] = [blob('a'.repeat(500)), blob('b'.repeat(500)), blob('c')];
    const cache = await open(1_000);
    await cache.get(a);
    await cache.get(b);
    expect(cache.bytes).toBe(1_000);
    await cache.get(a);
    await cache.get(c);
    expect((await readdir(folder.path)).sort()).toEqual([a, c].sort());
    expect(cache.bytes).toBe(501);
  });

  test('fetches a damaged blob again, and refuses what does not match its digest', async ({ expect }) => {
    const digest = blob('good');
    const cache = await open();
    await cache.get(digest);
    await writeFile(join(folder.path, digest), 'bad!');
    expect(text(await cache.get(digest))).toBe('good');
    await writeFile(join(folder.path, digest), 'bad!');
    blobs.set(digest, new Uint8Array([1]));
    await expect(cache.get(digest)).rejects.toMatchObject({ code: 'blob_corrupt' });
    blobs.clear();
    await expect(cache.get(digest)).rejects.toMatchObject({ code: 'blob_not_found' });
  });

  test('removes what a crash left half-written', async ({ expect }) => {
    await writeFile(join(folder.path, 'new-123'), 'half');
    await open();
    expect(await readdir(folder.path)).toEqual([]);
  });

  test('serves from memory when nothing can be written', async ({ expect }) => {
    const digest = blob('x');
    const cache = await open();
    await folder[Symbol.asyncDispose]();
    expect(text(await cache.get(digest))).toBe('x');
  });
});
