/** Ceilings of what an account keeps: each at its bound and one past it, and with none set. */
import { describe, test } from 'vitest';
import type { VersionView } from '#shared/contracts/api.ts';
import { world, type World } from '../testing/world.ts';

const A = '/v1/accounts/default';
const ceilings = (w: World, set: Record<string, number>) => w.call('PATCH', A, { body: { ceilings: set } });

describe('an account at its ceiling', () => {
  test('of routes, aliases, keys and layer versions is told which, and may change what it has', async ({
    expect,
  }) => {
    await using w = await world();
    await w.publish('hello');
    const { length: keys } = (await w.call<{ items: unknown[] }>('GET', `${A}/keys`)).body.items;
    await ceilings(w, { routes: 1, aliases: 2, keys: keys + 1, layerVersions: 1 });
    const route = (host: string) =>
      w.call('POST', `${A}/routes`, { body: { host, path: '/*', function: 'hello', alias: 'live' } });
    const alias = (name: string) =>
      w.call('PUT', `${A}/functions/hello/aliases/${name}`, {
        body: { weights: [{ version: 1, weight: 100 }] },
      });
    const key = () =>
      w.call('POST', `${A}/keys`, { body: { name: 'k', role: 'invoker', algorithm: 'token' } });
    for (const [first, second] of [
      [await route('a.test'), await route('b.test')],
      [await alias('one'), await alias('two')],
      [await key(), await key()],
      [await w.layer('lib', { 'a.js': '1' }), await w.layer('lib', { 'a.js': '2' })],
    ] as const) {
      expect(first.status).toBeLessThan(300);
      expect([second.status, second.body['code']]).toEqual([422, 'quota_exceeded']);
      expect(String(second.body['detail'])).toMatch(/^The account may have \d+ [a-z ]+\. Delete some/);
    }
    expect((await alias('one')).status).toBe(200);
  });

  test('of versions keeps the newest and those that aliases use', async ({ expect }) => {
    await using w = await world();
    await ceilings(w, { versionsKept: 3 });
    await w.publish('hello', { 'main.js': 'v1' });
    await w.call('PUT', `${A}/functions/hello/aliases/old`, {
      body: { weights: [{ version: 1, weight: 100 }] },
    });
    for (let number = 2; number <= 6; number += 1) await w.publish('hello', { 'main.js': `v${number}` });
    const { body } = await w.call<{ items: VersionView[] }>('GET', `${A}/functions/hello/versions`);
    expect(body.items.map(({ number }) => number)).toEqual([6, 5, 4, 1]);
  });

  test('of feed bytes publishes no more until it makes room, rolls back, and leaves others theirs', async ({
    expect,
  }) => {
    await using w = await world();
    await ceilings(w, { feedBytes: 20_000 });
    const vars = { text: 'x'.repeat(12_000) };
    expect((await w.publish('one', undefined, { config: { vars } })).status).toBe(201);
    const refused = await w.publish('two', undefined, { config: { vars } });
    expect([refused.status, refused.body.code]).toEqual([422, 'quota_exceeded']);
    expect((await w.publish('one', { 'main.js': '2' })).status).toBe(201);
    await ceilings(w, { feedBytes: 5_000 });
    expect((await w.call('POST', `${A}/functions/one/aliases/live/rollback`, { body: {} })).status).toBe(200);
    const { token } = await w.token('owner', { account: 'other' });
    const other = await w.publish('three', undefined, {
      account: 'other',
      config: { vars },
      call: { token },
    });
    expect(other.status).toBe(201);
  });
});

test('without ceilings set every kind has one', async ({ expect }) => {
  await using w = await world();
  // 16 MiB of feed: 64 KiB of vars each.
  await w.publish('hello');
  await w.deps.db.write(async (tx) => {
    const { sql } = await import('drizzle-orm');
    await tx.orm.run(sql`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
      INSERT INTO function (account, name, enabled, created_at) SELECT 'default', 'f' || i, 1, 0 FROM n`);
  });
  expect((await w.publish('one-more')).body.code).toBe('quota_exceeded');
});
