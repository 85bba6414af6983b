/** A host belongs to the account that has the first route on it. */
import { describe, test } from 'vitest';
import { hostsOverlap } from '../db/routes.ts';
import { world, type World } from '../testing/world.ts';

async function twoAccounts(w: World) {
  await w.publish('shop');
  const rival = await w.token('deployer', { account: 'rival' });
  await w.publish('trap', undefined, { account: 'rival', call: { token: rival.token } });
  const add = (account: 'default' | 'rival', host: string, path: string) =>
    w.call('POST', `/v1/accounts/${account}/routes`, {
      body: { host, path, function: account === 'rival' ? 'trap' : 'shop' },
      ...(account === 'rival' ? { token: rival.token } : {}),
    });
  return { add, rival };
}

describe('hosts of routes', () => {
  test.for([
    ['shop.test', 'shop.test', true],
    ['*.shop.test', 'www.shop.test', true],
    ['a.b.shop.test', '*.shop.test', true],
    ['*.shop.test', 'shop.test', false],
    ['*.shop.test', '*.b.shop.test', true],
    ['www.shop.test', 'shop.test', false],
    ['*.shop.test', 'xshop.test', false],
  ] as const)('%s and %s overlap: %s', ([left, right, overlap], { expect }) => {
    expect([hostsOverlap(left, right), hostsOverlap(right, left)]).toEqual([overlap, overlap]);
  });
  test('another account may not add a path to a host that has an owner', async ({ expect }) => {
    await using w = await world();
    const { add } = await twoAccounts(w);
    expect((await add('default', 'www.shop.test', '/*')).status).toBe(201);
    for (const path of ['/login', '/*', '/other/*']) {
      const stolen = await add('rival', 'WWW.shop.test', path);
      expect([path, stolen.status, stolen.body['code']]).toEqual([path, 409, 'host_taken']);
      expect(JSON.stringify(stolen.body)).not.toContain('default');
    }
    expect((await add('default', 'www.shop.test', '/login')).status).toBe(201);
    expect((await add('rival', 'rival.test', '/*')).status).toBe(201);
  });
  test('a host is free again when its owner has no route on it, and the operator may see to that', async ({
    expect,
  }) => {
    await using w = await world();
    const { add } = await twoAccounts(w);
    const squatted = await add('rival', 'www.shop.test', '/*');
    expect(squatted.status).toBe(201);
    expect((await add('default', 'www.shop.test', '/*')).body['code']).toBe('host_taken');
    const listed = await w.call<{ items: { id: string }[] }>('GET', '/v1/accounts/rival/routes');
    expect(listed.body.items.map(({ id }) => id)).toEqual([squatted.body['id']]);
    expect((await w.call('DELETE', `/v1/accounts/rival/routes/${String(squatted.body['id'])}`)).status).toBe(
      204,
    );
    expect((await add('default', 'www.shop.test', '/*')).status).toBe(201);
  });
});
