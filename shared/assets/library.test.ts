import { createHash } from 'node:crypto';
import { test } from 'vitest';
import { digestSchema } from '#shared/ids.ts';
import { memoryLog } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { AssetLibrary } from './library.node.ts';

test('a file that control does not give now is unavailable for a while, and there when it gives it', async ({
  expect,
}) => {
  await using folder = await tempFolder();
  const content = new TextEncoder().encode('hello');
  let isGone = true;
  const library = await AssetLibrary.open({
    folder: folder.path,
    diskBytesMax: 1_000_000,
    memoryBytesMax: 1_000_000,
    log: memoryLog([]),
    fetchBlob: () => (isGone ? Promise.reject(new Error('control is gone')) : Promise.resolve(content)),
  });
  const digest = digestSchema.parse(createHash('sha256').update(content).digest('hex'));
  const file = { path: '/a.txt', digest, bytes: content.byteLength };
  await expect(library.body('default', file, 'identity')).rejects.toMatchObject({
    code: 'asset_unavailable',
    retryAfterMs: expect.any(Number),
  });
  isGone = false;
  expect((await library.body('default', file, 'identity'))?.bytes.toString()).toBe('hello');
});
