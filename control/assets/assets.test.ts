/** Files of static assets as accounts have them: apart from one another, within bounds, and removed when unused. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import type { PublishReply } from '#shared/contracts/api.ts';
import type { Problem } from '#shared/errors.ts';
import { accountNameSchema, type Digest } from '#shared/ids.ts';
import { FakeClock } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { realDisk } from '../blobs/files.ts';
import { sha256 } from '../blobs/store.ts';
import { assetBytesOf, manifestsOf } from '../db/assets.ts';
import { AssetStore } from './store.ts';
import { multipart, world, type Reply, type World } from '../testing/world.ts';

const HOUR_MS = 3_600_000;
const text = new TextEncoder();
const digestOf = (content: string): Digest => sha256(text.encode(content));

interface Who {
  readonly account?: string;
  readonly token?: string;
}

const at = ({ account = 'default' }: Who): string => `/v1/accounts/${account}/functions/site`;
const as = ({ token }: Who) => (token === undefined ? {} : { token });

async function send<T>(
  w: World,
  path: string,
  parts: Record<string, string>,
  who: Who,
): Promise<Reply<T & Problem>> {
  const { raw, contentType } = await multipart(parts);
  return w.call('POST', `${at(who)}${path}`, { raw, headers: { 'content-type': contentType }, ...as(who) });
}

const upload = (w: World, files: readonly string[], who: Who = {}): Promise<Reply<Problem>> =>
  send(
    w,
    '/assets',
    { metadata: '{}', ...Object.fromEntries(files.map((file) => [`asset:${digestOf(file)}`, file])) },
    who,
  );

/** A version of static files alone. */
const publish = (w: World, files: readonly string[], who: Who = {}): Promise<Reply<PublishReply & Problem>> =>
  send(
    w,
    '/versions',
    {
      metadata: JSON.stringify({
        config: { compatibilityDate: '2026-01-01', assets: {} },
        modules: [],
        alias: 'live',
      }),
      assets: JSON.stringify({
        files: files.map((file, index) => ({
          path: `/${index}.txt`,
          digest: digestOf(file),
          bytes: text.encode(file).byteLength,
        })),
      }),
    },
    who,
  );

async function missing(w: World, file: string, who: Who = {}): Promise<readonly string[]> {
  const files = [{ digest: digestOf(file), bytes: text.encode(file).byteLength }];
  const { body } = await w.call<{ missing: string[] }>('POST', `${at(who)}/assets/missing`, {
    body: { files },
    ...as(who),
  });
  return body.missing;
}

const stored = (w: World, file: string, account = 'default'): Promise<string> =>
  w.deps.assets.get(accountNameSchema.parse(account), digestOf(file)).then(
    (bytes) => new TextDecoder().decode(bytes),
    (thrown: { code: string }) => thrown.code,
  );

const ceiling = (w: World, assetBytes: number): Promise<Reply> =>
  w.call('PATCH', '/v1/accounts/default', { body: { ceilings: { assetBytes } } });

describe('files of an account', () => {
  test('are nothing to another one that knows their digest', async ({ expect }) => {
    await using w = await world();
    const other = { account: 'other', token: (await w.token('owner', { account: 'other' })).token };
    const secret = 'only of the first account';
    expect((await upload(w, [secret])).status).toBe(204);
    expect((await publish(w, [secret])).status).toBe(201);
    // Not even whether somebody has it is told.
    expect(await missing(w, secret)).toEqual([]);
    expect(await missing(w, secret, other)).toEqual([digestOf(secret)]);
    expect((await publish(w, [secret], other)).body).toMatchObject({
      code: 'asset_missing',
      missing: [digestOf(secret)],
    });
    expect(await stored(w, secret)).toBe(secret);
    expect(await stored(w, secret, 'other')).toBe('blob_not_found');
    const internal = async (account: string): Promise<number> =>
      (await w.internal.request(`/internal/assets/${account}/${digestOf(secret)}`)).status;
    expect([await internal('default'), await internal('other')]).toEqual([200, 404]);
    // Uploaded by itself it is its own, and goes and stays by itself.
    expect((await upload(w, [secret], other)).status).toBe(204);
    expect((await publish(w, [secret], other)).status).toBe(201);
    expect(await stored(w, secret, 'other')).toBe(secret);
  });

  test('are taken under the digest of their bytes alone', async ({ expect }) => {
    await using w = await world();
    const parts = { metadata: '{}', [`asset:${digestOf('one')}`]: 'another' };
    expect((await send(w, '/assets', parts, {})).body).toMatchObject({ code: 'config_invalid' });
    expect(await stored(w, 'one')).toBe('blob_not_found');
    expect(await stored(w, 'another')).toBe('blob_not_found');
  });

  test('are so many bytes at most, each file once, to the byte', async ({ expect }) => {
    await using w = await world();
    const [half, rest, more] = ['a'.repeat(500), 'b'.repeat(500), 'c'];
    await ceiling(w, 1_000);
    expect((await upload(w, [half, rest])).status).toBe(204);
    expect((await upload(w, [half])).status).toBe(204);
    const full = await upload(w, [more]);
    expect(full.body).toMatchObject({
      code: 'quota_exceeded',
      detail: expect.stringContaining('1000 bytes') as unknown,
    });
    expect(await stored(w, more)).toBe('blob_not_found');
    expect(await missing(w, more)).toEqual([digestOf(more)]);
    await ceiling(w, 1_001);
    expect((await upload(w, [more])).status).toBe(204);
    // Another account has room of its own.
    const other = { account: 'other', token: (await w.token('owner', { account: 'other' })).token };
    expect((await upload(w, [half, rest, more, 'd'], other)).status).toBe(204);
  });
});

describe('uploads at once', () => {
  test('do not pass the bound together', async ({ expect }) => {
    await using w = await world();
    await ceiling(w, 1_000);
    const answers = await Promise.all(['a', 'b', 'c'].map((letter) => upload(w, [letter.repeat(600)])));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([204, 422, 422]);
    expect(await w.deps.db.read((orm) => assetBytesOf(orm, accountNameSchema.parse('default')))).toBe(600);
    const there = await Promise.all(['a', 'b', 'c'].map((letter) => stored(w, letter.repeat(600))));
    expect(there.filter((each) => each === 'blob_not_found')).toHaveLength(2);
  });

  test('of what is there already are taken over the bound too', async ({ expect }) => {
    await using w = await world();
    await upload(w, ['a'.repeat(600)]);
    await ceiling(w, 100);
    expect((await upload(w, ['a'.repeat(600)])).status).toBe(204);
    expect((await upload(w, ['b'])).body.code).toBe('quota_exceeded');
  });
});

describe('a manifest that is damaged on the disk', () => {
  test('keeps no account at its bound from deploying, which mends it', async ({ expect }) => {
    const clock = new FakeClock();
    await using w = await world({ clock });
    const [old, fresh] = ['o'.repeat(400), 'f'.repeat(300)];
    await upload(w, [old]);
    expect((await publish(w, [old])).status).toBe(201);
    const account = accountNameSchema.parse('default');
    await ceiling(w, await w.deps.db.read((orm) => assetBytesOf(orm, account)));
    const [listed] = await w.deps.db.read((orm) => manifestsOf(orm, account));
    const digest = listed?.manifest ?? '';
    const path = join(w.folder, 'assets', 'default', digest.slice(0, 2), digest.slice(2));
    await writeFile(path, 'damaged');
    clock.jumpWall(2 * HOUR_MS);
    expect((await upload(w, [fresh])).status).toBe(204);
    // What it listed is not known: it counts as unused, and is told to be missing.
    expect(await missing(w, old)).toEqual([digestOf(old)]);
    await ceiling(w, 10_000);
    expect((await upload(w, [old])).status).toBe(204);
    expect((await publish(w, [old])).status).toBe(200);
    expect(await stored(w, old)).toBe(old);
    await expect(w.deps.assets.get(account, listed?.manifest as Digest)).resolves.toBeDefined();
  });
});

describe('files that no version uses', () => {
  test('make room for new ones once no deployment can be about to use them', async ({ expect }) => {
    const clock = new FakeClock();
    await using w = await world({ clock });
    const [used, unused, asked, fresh] = ['u'.repeat(400), 'n'.repeat(200), 'k'.repeat(200), 'f'.repeat(300)];
    await upload(w, [used, unused, asked]);
    expect((await publish(w, [used])).status).toBe(201);
    const kept = await w.deps.db.read((orm) => assetBytesOf(orm, accountNameSchema.parse('default')));
    await ceiling(w, kept + 100);
    clock.jumpWall(HOUR_MS);
    // Uploaded an hour ago to the millisecond: a deployment may still be about to publish it.
    expect((await upload(w, [fresh])).body.code).toBe('quota_exceeded');
    // Whoever asks for it is about to use it.
    expect(await missing(w, asked)).toEqual([]);
    clock.jumpWall(1);
    expect((await upload(w, [fresh])).status).toBe(204);
    expect(await stored(w, unused)).toBe('blob_not_found');
    expect(await missing(w, unused)).toEqual([digestOf(unused)]);
    for (const file of [used, asked, fresh]) expect(await stored(w, file)).toBe(file);
  });

  test('are not those of versions that an alias has left, until these are deleted', async ({ expect }) => {
    const clock = new FakeClock();
    await using w = await world({ clock });
    const [before, now, fresh] = ['b'.repeat(400), 'n'.repeat(400), 'f'.repeat(300)];
    await upload(w, [before, now]);
    expect((await publish(w, [before])).status).toBe(201);
    expect((await publish(w, [now])).status).toBe(201);
    const kept = await w.deps.db.read((orm) => assetBytesOf(orm, accountNameSchema.parse('default')));
    await ceiling(w, kept);
    clock.jumpWall(2 * HOUR_MS);
    // A rollback would need them.
    expect((await upload(w, [fresh])).body.code).toBe('quota_exceeded');
    expect(await stored(w, before)).toBe(before);
    expect((await w.call('DELETE', `${at({})}/versions/1`)).status).toBe(204);
    expect((await upload(w, [fresh])).status).toBe(204);
    expect(await stored(w, before)).toBe('blob_not_found');
    expect(await stored(w, now)).toBe(now);
  });
});

describe('many files of one upload', () => {
  test('wait for the disk together, a few at a time, and leave nothing when one of them finds no room', async ({
    expect,
  }) => {
    await using w = await world();
    await using folder = await tempFolder();
    const account = accountNameSchema.parse('default');
    const all = Array.from({ length: 40 }, (_, index) => text.encode(`file ${index}`));
    const blobs = all.map((bytes) => ({
      digest: sha256(bytes),
      bytes: bytes.byteLength,
      read: () => Promise.resolve(bytes),
    }));
    const seen = { writing: 0, most: 0, written: 0 };
    const storeOn = (fullAfter: number): AssetStore =>
      new AssetStore({
        folder: folder.path,
        db: w.deps.db,
        clock: new FakeClock(),
        log: w.deps.log,
        disk: {
          ...realDisk,
          async write(path, bytes) {
            seen.writing += 1;
            seen.most = Math.max(seen.most, seen.writing);
            try {
              seen.written += 1;
              if (seen.written > fullAfter) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
              await realDisk.write(path, bytes);
            } finally {
              seen.writing -= 1;
            }
          },
        },
      });
    const files = async (): Promise<number> =>
      (await readdir(folder.path, { recursive: true })).filter((path) => /[0-9a-f]{62}$/.test(path)).length;
    await expect(storeOn(10).put(account, blobs)).rejects.toMatchObject({ code: 'storage_full' });
    expect([seen.writing, await files()]).toEqual([0, 0]);
    await storeOn(Infinity).put(account, blobs);
    expect(await files()).toBe(40);
    expect(seen.most).toBeGreaterThan(1);
    expect(seen.most).toBeLessThanOrEqual(8);
  });
});
