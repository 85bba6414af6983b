/** What one upload may bring: each bound of its parts, at it and one beyond. */
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, test } from 'vitest';
import type { Problem } from '#shared/errors.ts';
import { digestSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { Shares } from '#shared/shares.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { recordAssets } from '../db/assets.ts';
import { multipart, world } from '../testing/world.ts';
import { readUpload } from './upload.ts';

let folder: TempFolder;
beforeEach(async () => {
  folder = await tempFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

/** The bytes of `part` that were read, or the code of the refusal. */
async function read(part: string, bytes: number): Promise<number | string> {
  const json = part === 'assets' ? `"${'x'.repeat(bytes - 2)}"` : 'x'.repeat(bytes);
  const { raw, contentType } = await multipart({ metadata: '{}', [part]: json });
  const shares = new Shares('control.uploads');
  try {
    await using upload = await readUpload(contentType, new Blob([raw]).stream(), {
      folder: folder.path,
      shares,
      account: 'a',
    });
    if (part === 'assets') return String(upload.assets).length + 2;
    return [...upload.modules, ...upload.maps, ...upload.files][0]?.bytes ?? 0;
  } catch (thrown) {
    return (thrown as { readonly code: string }).code;
  }
}

describe('a part of an upload', () => {
  for (const [what, part, most] of [
    ['the code', 'module:a.js', LIMITS.bundleBytesMax],
    ['the source maps', 'map:a.js', LIMITS.sourceMapBytesMax],
    ['the list of assets', 'assets', LIMITS.assetManifestBytesMax],
    ['the assets', `asset:${'a'.repeat(64)}`, LIMITS.assetUploadBytesMax],
  ] as const)
    test(`is bounded: ${what}`, async ({ expect }) => {
      expect(await read(part, most)).toBe(most);
      expect(await read(part, most + 1)).toBe('bundle_too_large');
    });
});

describe('a version', () => {
  test('has a bounded number of modules, those of layers included', async ({ expect }) => {
    await using w = await world();
    const files = (count: number): Record<string, string> =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`m${index}.js`, '1']));
    expect((await w.publish('most', files(LIMITS.modulesPerVersionMax))).status).toBe(201);
    const over = await w.publish('over', files(LIMITS.modulesPerVersionMax + 1));
    expect(over.body.code).toBe('bundle_too_large');
    await w.layer('one', { 'a.js': '1' });
    const layered = await w.publish('layered', files(LIMITS.modulesPerVersionMax), {
      config: { layers: [{ name: 'one', version: 1 }] },
    });
    expect(layered.body.code).toBe('bundle_too_large');
  });
});

describe('static assets', () => {
  const digestOf = (text: string) => digestSchema.parse(createHash('sha256').update(text).digest('hex'));
  const PATH = '/v1/accounts/default/functions/site/assets';

  test('come in uploads of a bounded number of files', async ({ expect }) => {
    await using w = await world();
    const send = async (count: number) => {
      const parts = Array.from({ length: count }, (_, index) => String(index)).map(
        (text) => [`asset:${digestOf(text)}`, text] as const,
      );
      const { raw, contentType } = await multipart([['metadata', '{}'], ...parts]);
      return w.call<Problem>('POST', PATH, { raw, headers: { 'content-type': contentType } });
    };
    expect((await send(LIMITS.assetsPerUploadMax)).status).toBe(204);
    expect((await send(LIMITS.assetsPerUploadMax + 1)).body.code).toBe('assets_too_large');
  });

  test('are kept up to the quota of an account that has no ceiling of its own', async ({ expect }) => {
    await using w = await world();
    const account = 'default';
    // What was stored before, as the database counts it: 4 GiB would take a minute to write.
    const before = LIMITS.assetsPerAccountBytesDefault - 5;
    await w.deps.db.write((tx) =>
      recordAssets(tx, account as never, [{ digest: digestOf('before'), bytes: before }]),
    );
    const send = async (text: string) => {
      const { raw, contentType } = await multipart({ metadata: '{}', [`asset:${digestOf(text)}`]: text });
      return w.call<Problem>('POST', PATH, { raw, headers: { 'content-type': contentType } });
    };
    expect((await send('12345')).status).toBe(204);
    expect((await send('6')).body.code).toBe('quota_exceeded');
  });
});
