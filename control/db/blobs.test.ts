/** Bytes of code that an account keeps: what counts, what no longer does, and what is refused at the bound. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '@libsql/client';
import { sql } from 'drizzle-orm';
import { describe, test } from 'vitest';
import type { AccountView } from '#shared/contracts/access.ts';
import { accountNameSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { measureBlobs } from '../blobs/measure.ts';
import { sha256 } from '../blobs/store.ts';
import { scriptedNode, world, type World } from '../testing/world.ts';
import { codeBytesOf, recordBlobs } from './blobs.ts';
import { migrate, readMigrations } from './migrate.ts';

const A = '/v1/accounts/default';
const DEFAULT = accountNameSchema.parse('default');
const OTHER = accountNameSchema.parse('other');

const kept = (w: World, account = DEFAULT): Promise<number> =>
  w.deps.db.read((orm) => codeBytesOf(orm, account));
const ceiling = (w: World, codeBytes: number) => w.call('PATCH', A, { body: { ceilings: { codeBytes } } });
const code = (bytes: number, letter: string): Record<string, string> => ({
  'main.js': `export default {}//${letter}`.padEnd(bytes, letter),
});

/** How many blobs lie on the disk. */
async function blobsOnDisk(w: World): Promise<number> {
  const names = await readdir(join(w.folder, 'blobs'), { recursive: true, withFileTypes: true });
  return names.filter((entry) => entry.isFile()).length;
}

describe('code of an account', () => {
  test('counts each blob once, with layers and source maps, as long as a version names it', async ({
    expect,
  }) => {
    await using w = await world();
    expect((await w.layer('lib', { 'lib.js': 'x'.repeat(1_000) })).status).toBe(201);
    expect(await kept(w)).toBe(1_000);
    const layers = [{ name: 'lib', version: 1 }];
    const maps = { 'main.js': 'm'.repeat(200) };
    expect((await w.publish('one', code(300, 'a'), { config: { layers }, maps })).status).toBe(201);
    expect(await kept(w)).toBe(1_500);
    // The same bytes twice in one version, and in another function.
    const twice = { ...code(300, 'a'), 'again.js': code(300, 'a')['main.js'] ?? '' };
    expect((await w.publish('two', twice)).status).toBe(201);
    expect((await w.publish('two', code(50, 'b'))).status).toBe(201);
    expect(await kept(w)).toBe(1_550);
    expect((await w.call<AccountView>('GET', A)).body.stored).toEqual({ codeBytes: 1_550, assetBytes: 0 });

    expect((await w.call('DELETE', `${A}/functions/two/versions/1`)).status).toBe(204);
    expect(await kept(w)).toBe(1_550);
    expect((await w.call('DELETE', `${A}/functions/one`)).status).toBe(204);
    expect(await kept(w)).toBe(1_050);
    expect((await w.call('DELETE', `${A}/layers/lib/versions/1`)).status).toBe(204);
    expect((await w.call('DELETE', `${A}/functions/two`)).status).toBe(204);
    expect(await kept(w)).toBe(0);
    const { rows } = await w.deps.db.read((orm) => orm.run(sql`SELECT * FROM blob, blob_use`));
    expect(rows).toEqual([]);
  });

  test('counts for each account that has it', async ({ expect }) => {
    await using w = await world();
    const { token } = await w.token('owner', { account: 'other' });
    await w.publish('one', code(300, 'a'));
    await w.publish('one', code(300, 'a'), { account: 'other', call: { token } });
    expect([await kept(w), await kept(w, OTHER)]).toEqual([300, 300]);
    await w.call('DELETE', `${A}/functions/one`);
    expect([await kept(w), await kept(w, OTHER)]).toEqual([0, 300]);
  });

  test('is kept to the byte; what is one too many leaves nothing, and what goes makes room', async ({
    expect,
  }) => {
    await using w = await world();
    await ceiling(w, 1_000);
    expect((await w.publish('one', code(600, 'a'))).status).toBe(201);
    const before = await blobsOnDisk(w);
    for (const refused of [
      await w.publish('two', code(401, 'b')),
      await w.publish('two', code(300, 'b'), { maps: { 'main.js': 'm'.repeat(101) } }),
      await w.layer('lib', { 'lib.js': 'l'.repeat(401) }),
    ]) {
      expect([refused.status, refused.body['code']]).toEqual([422, 'quota_exceeded']);
      expect(refused.body['detail']).toMatch(/may have 1000 bytes, and would have 1001\. Delete versions/);
    }
    expect([await kept(w), await blobsOnDisk(w)]).toEqual([600, before]);
    expect((await w.call('GET', `${A}/functions/two`)).status).toBe(404);
    expect((await w.publish('two', code(400, 'b'))).status).toBe(201);
    expect((await w.publish('three', code(30, 'c'))).body.code).toBe('quota_exceeded');
    expect((await w.call('DELETE', `${A}/functions/two`)).status).toBe(204);
    expect((await w.publish('three', code(30, 'c'))).status).toBe(201);
  });

  test('over a ceiling that was lowered, a configuration may change and an alias may move', async ({
    expect,
  }) => {
    await using w = await world();
    await w.publish('one', code(600, 'a'));
    await ceiling(w, 100);
    expect((await w.publish('one', code(600, 'a'), { config: { vars: { A: '1' } } })).status).toBe(201);
    expect((await w.call('POST', `${A}/functions/one/aliases/live/rollback`, { body: {} })).status).toBe(200);
    expect((await w.publish('one', code(600, 'b'))).body.code).toBe('quota_exceeded');
  });

  test('a version that replaces the oldest that is kept needs room for the difference alone', async ({
    expect,
  }) => {
    await using w = await world();
    await w.call('PATCH', A, { body: { ceilings: { codeBytes: 1_000, versionsKept: 2 } } });
    for (const letter of 'abcd') expect((await w.publish('one', code(500, letter))).status).toBe(201);
    expect(await kept(w)).toBe(1_000);
  });

  test('is not passed by uploads at once', async ({ expect }) => {
    // All of them have been tried before any is committed.
    const node = scriptedNode();
    const tried = Promise.withResolvers<void>();
    node.onCheck = async () => {
      if (node.checked.length === 2) tried.resolve();
      await tried.promise;
      return { ok: true, startMs: 1 };
    };
    await using w = await world({ nodes: [node] });
    await ceiling(w, 1_000);
    const answers = await Promise.all([w.publish('one', code(600, 'a')), w.publish('two', code(600, 'b'))]);
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 422]);
    expect(await kept(w)).toBe(600);
  });

  test('has a bound without a ceiling of its own', async ({ expect }) => {
    await using w = await world();
    await w.publish('one', code(100, 'a'));
    // What was stored before, as the database counts it: 4 GiB would take a minute to write.
    const main = code(100, 'a')['main.js'] ?? '';
    const digest = sha256(new TextEncoder().encode(main));
    const bytes = LIMITS.codePerAccountBytesDefault - 50;
    await w.deps.db.write(async (tx) => {
      await tx.orm.run(sql`DELETE FROM blob WHERE digest = ${digest}`);
      await recordBlobs(tx, [{ digest, bytes }]);
    });
    expect((await w.publish('two', code(51, 'b'))).body.code).toBe('quota_exceeded');
    expect((await w.publish('two', code(50, 'b'))).status).toBe(201);
  });
});

describe('a database from before bytes were counted', () => {
  test('is counted when it is opened, source maps by their size on the disk', async ({ expect }) => {
    await using folder = await tempFolder();
    const client = createClient({ url: `file:${join(folder.path, 'old.db')}` });
    const all = await readMigrations();
    const apply = async (migrations: typeof all): Promise<void> => {
      const tx = await client.transaction('write');
      await migrate(tx, migrations);
      await tx.commit();
    };
    await apply(all.filter(({ name }) => name < '0004'));
    await client.execute("INSERT INTO account (name, created_at) VALUES ('default', 0)");
    const module = (digest: string, bytes: number) => ({ name: 'a.js', type: 'esm', digest, bytes });
    const version = (number: number, modules: unknown, maps: unknown) =>
      client.execute({
        sql: `INSERT INTO version (account, function, number, digest, main, modules, maps, config, created_at, created_by, bindings)
          VALUES ('default', 'hello', ?, ?, 'a.js', ?, ?, '{}', 0, 'key', '[]')`,
        args: [number, `d${number}`, JSON.stringify(modules), JSON.stringify(maps)],
      });
    await client.execute(
      "INSERT INTO function (account, name, enabled, created_at) VALUES ('default', 'hello', 1, 0)",
    );
    await version(1, [module('one', 10)], { 'a.js': 'map' });
    await version(2, [module('one', 10), module('lib', 5)], {});
    await client.execute({
      sql: `INSERT INTO layer_version (account, layer, number, digest, modules, created_at, created_by)
        VALUES ('default', 'lib', 1, 'l1', ?, 0, 'key')`,
      args: [JSON.stringify([module('lib', 5)])],
    });
    await apply(all);
    const { rows } = await client.execute(
      'SELECT u.digest, u.uses, b.bytes FROM blob_use AS u LEFT JOIN blob AS b ON b.digest = u.digest ORDER BY u.digest',
    );
    expect(rows.map((row) => [row['digest'], row['uses'], row['bytes']])).toEqual([
      ['lib', 2, 5],
      ['map', 1, null],
      ['one', 2, 10],
    ]);
    client.close();
  });

  test('has its source maps measured once', async ({ expect }) => {
    await using w = await world();
    const [text, gone] = ['m'.repeat(77), 'n'.repeat(88)];
    await w.publish('one', code(100, 'a'), { maps: { 'main.js': text } });
    await w.publish('two', code(100, 'b'), { maps: { 'main.js': gone } });
    const digests = [text, gone].map((each) => sha256(new TextEncoder().encode(each)));
    await w.deps.db.write((tx) =>
      tx.orm.run(sql`DELETE FROM blob WHERE digest IN (${digests[0]}, ${digests[1]})`),
    );
    const lost = digests[1] ?? '';
    await rm(join(w.folder, 'blobs', lost.slice(0, 2), lost.slice(2)));
    expect(await kept(w)).toBe(200);
    await measureBlobs(w.deps);
    await measureBlobs(w.deps);
    expect(await kept(w)).toBe(277);
  });
});
