/** Hosts, aliases, weights and routes: pure lookups on a snapshot. */
import { LIMITS } from '#shared/limits.ts';
import { describe, test } from 'vitest';
import type { FeedItem } from '#shared/contracts/feed.ts';
import { readTarget, type RequestTarget } from '#shared/http/target.ts';
import { seededRandom } from '#shared/testing/fakes.ts';
import { functionItems, routeItem, stateOf } from '../testing/items.ts';
import { Router } from './router.ts';

function targetOf(path: string): RequestTarget {
  const target = readTarget(path);
  if ('problem' in target) throw new Error(target.problem);
  return target;
}

function lookup(items: readonly FeedItem[], random = () => 0): (host: string, path?: string) => string {
  const state = stateOf(items);
  const router = new Router({ state: () => state, baseDomain: 'Fn.Test', random });
  return (host, path = '/') => {
    const found = router.lookup(host, targetOf(path));
    return found.kind === 'found' ? found.target.version.id : found.kind;
  };
}

describe('Router', () => {
  test('finds functions by host, however it is written', ({ expect }) => {
    const find = lookup([
      ...functionItems('hello'),
      ...functionItems('hello', { account: 'acme', version: 7 }),
    ]);
    expect(
      ['hello.fn.test', 'HELLO.Fn.Test:8787', 'hello.fn.test.', 'hello.default.fn.test'].map((host) =>
        find(host),
      ),
    ).toEqual(Array.from({ length: 4 }, () => 'default/hello@1'));
    expect(find('hello.acme.fn.test')).toBe('acme/hello@7');
    expect(['fn.test', 'FN.TEST.:1', '127.0.0.1:8787', '[::1]:8787'].map((host) => find(host))).toEqual(
      Array.from({ length: 4 }, () => 'bare'),
    );
    for (const host of [
      '',
      '.',
      'other.fn.test',
      'a.b.hello.fn.test',
      'hellofn.test',
      'hello.fn.test.evil',
      '__proto__.fn.test',
      '[::',
      '--hello.fn.test',
    ])
      expect([host, find(host)]).toEqual([host, 'not_found']);
  });

  test('follows aliases, refuses unknown ones and disabled functions', ({ expect }) => {
    const aliases = { live: [{ version: 1, weight: 100 }], next: [{ version: 2, weight: 100 }] };
    const find = lookup([
      ...functionItems('hello', { aliases }),
      ...functionItems('off', { enabled: false }),
    ]);
    expect(
      ['hello', 'next--hello', 'gone--hello', 'constructor--hello', 'off'].map((name) =>
        find(`${name}.fn.test`),
      ),
    ).toEqual(['default/hello@1', 'default/hello@2', 'not_found', 'not_found', 'disabled']);
  });

  test('spreads a weighted alias by its weights', ({ expect }) => {
    const aliases = {
      live: [
        { version: 1, weight: 90 },
        { version: 2, weight: 10 },
      ],
    };
    const find = lookup(functionItems('hello', { aliases }), seededRandom(1));
    const second = Array.from({ length: 2_000 }, () => find('hello.fn.test')).filter((id) =>
      id.endsWith('@2'),
    ).length;
    expect(second).toBeGreaterThan(140);
    expect(second).toBeLessThan(260);
  });

  test('remembers no header of a stranger that leads nowhere', ({ expect }) => {
    const state = stateOf(functionItems('hello'));
    const router = new Router({ state: () => state, baseDomain: 'fn.test', random: () => 0 });
    for (let count = 0; count < 100; count += 1) {
      router.lookup(`${'x'.repeat(30_000)}${count}.test`, targetOf('/'));
      router.lookup(`nobody${count}.fn.test`, targetOf('/'));
    }
    expect(router.hostsRemembered).toBe(0);
    for (const host of ['hello.fn.test', 'HELLO.fn.test.:65535', 'live--hello.fn.test'])
      router.lookup(host, targetOf('/'));
    expect(router.hostsRemembered).toBe(3);
  });

  test('matches routes: exact before prefix, the longest prefix first, on segment borders', ({ expect }) => {
    const find = lookup([
      ...['all', 'api', 'users', 'exact'].flatMap((name) => functionItems(name)),
      routeItem('1', { host: 'shop.example', path: '/*', function: 'all' }),
      routeItem('2', { host: 'shop.example', path: '/api/*', function: 'api' }),
      routeItem('3', { host: 'shop.example', path: '/api/users/*', function: 'users' }),
      routeItem('4', { host: 'Shop.Example', path: '/api/users/me', function: 'exact' }),
    ]);
    const paths = [
      '/',
      '/x',
      '/apix',
      '/api',
      '/api/',
      '/api/v1',
      '/api/users/1/2',
      '/api/users/me',
      '/api/users/me/',
    ];
    expect(paths.map((path) => find('SHOP.example.:443', path).slice('default/'.length, -2))).toEqual([
      'all',
      'all',
      'all',
      'api',
      'api',
      'api',
      'users',
      'exact',
      'users',
    ]);
    expect(find('other.example', '/api')).toBe('not_found');
  });

  test('looks at each segment of a path once, however many there are', ({ expect }) => {
    const deep = '/a'.repeat(500);
    const find = lookup([
      ...['all', 'deep'].flatMap((name) => functionItems(name)),
      routeItem('1', { host: 'shop.example', path: '/*', function: 'all' }),
      routeItem('2', { host: 'shop.example', path: `${deep}/x/*`, function: 'deep' }),
    ]);
    const longest = '/a'.repeat(LIMITS.urlBytesMax / 2);
    const found = new Set<string>();
    // A search by every prefix takes tens of milliseconds for one such path: minutes for these.
    for (let count = 0; count < 10_000; count += 1) found.add(find('shop.example', longest));
    expect([...found]).toEqual(['default/all@1']);
    expect(find('shop.example', `${deep}/x${longest}`)).toBe('default/deep@1');
  });

  test("lets a route take a path on the host of its own account's function, not on a neighbour's", ({
    expect,
  }) => {
    const find = lookup([
      ...functionItems('hello'),
      ...functionItems('other'),
      ...functionItems('evil', { account: 'acme' }),
      routeItem('1', { host: 'hello.fn.test', path: '/own/*', function: 'other' }),
      routeItem('2', { host: 'hello.fn.test', path: '/*', function: 'evil', account: 'acme' }),
    ]);
    expect([find('hello.fn.test', '/own/x'), find('hello.fn.test', '/x')]).toEqual([
      'default/other@1',
      'default/hello@1',
    ]);
  });

  test('sees a change of the snapshot at once', ({ expect }) => {
    const state = stateOf(functionItems('hello'));
    const router = new Router({ state: () => state, baseDomain: 'fn.test', random: () => 0 });
    const find = (): string => {
      const found = router.lookup('hello.fn.test', targetOf('/'));
      return found.kind === 'found' ? found.target.version.id : found.kind;
    };
    expect(find()).toBe('default/hello@1');
    router.changed(
      state.apply({ type: 'delta', revision: 2, items: functionItems('hello', { version: 2 }) }),
    );
    expect(find()).toBe('default/hello@2');
  });

  test('reads a path that a router could read as slashes in both ways, and refuses it where they differ', ({
    expect,
  }) => {
    const find = lookup([
      ...functionItems('guarded'),
      ...functionItems('open'),
      routeItem('r1', { host: 'www.test', path: '/admin/*', function: 'guarded' }),
      routeItem('r2', { host: 'www.test', path: '/*', function: 'open' }),
    ]);
    for (const path of ['/%61dmin/x', '/./admin/x', '/a/../admin/x', '/%2e/admin/x', '/admin\\x'])
      expect(find('www.test', path), path).toBe('default/guarded@1');
    for (const path of ['//admin/x', '/admin%2fx', '/admin%5Cx', '/a/..%2Fadmin/x'])
      expect(find('www.test', path), path).toBe('ambiguous');
    // Where both readings lead to one function, both may pass: names of packages hold encoded slashes.
    for (const path of ['/@scope%2Fname', '/a//b', '/admin/a%2Fb'])
      expect(find('www.test', path), path).not.toBe('ambiguous');
  });

  test('finds routes that were stored as they were written', ({ expect }) => {
    const find = lookup([
      ...functionItems('hello'),
      routeItem('r1', { host: 'www.test', path: '/über/*', function: 'hello' }),
    ]);
    expect(find('www.test', '/%C3%BCber/x')).toBe('default/hello@1');
  });

  test('closes the own host of a function whose version says so, and leaves its routes', ({ expect }) => {
    const find = lookup([
      ...functionItems('hello', { defaultHost: false }),
      routeItem('r1', { host: 'www.test', path: '/*', function: 'hello' }),
    ]);
    expect([find('hello.fn.test'), find('live--hello.fn.test'), find('www.test')]).toEqual([
      'not_found',
      'not_found',
      'default/hello@1',
    ]);
  });

  test('lets nobody share cookies with hosts of others', ({ expect }) => {
    const state = stateOf([
      routeItem('r1', { host: 'www.shop.test', path: '/*', function: 'a', account: 'acme' }),
      routeItem('r2', { host: 'api.shop.test', path: '/*', function: 'a', account: 'acme' }),
      routeItem('r3', { host: 'a.common.test', path: '/*', function: 'a', account: 'acme' }),
      routeItem('r4', { host: 'b.common.test', path: '/*', function: 'b', account: 'other' }),
    ]);
    const router = new Router({ state: () => state, baseDomain: 'fn.test', random: () => 0 });
    const owned = ['shop.test', 'common.test', 'test', 'fn.test', 'acme.fn.test', 'unknown.test'].filter(
      (domain) => router.ownsDomain('acme', domain),
    );
    expect(owned).toEqual(['shop.test']);
  });

  test('under the base domain an account has its functions and what is below them', ({ expect }) => {
    const state = stateOf([]);
    const router = new Router({ state: () => state, baseDomain: 'fn.test', random: () => 0 });
    const domains = ['acme.fn.test', 'hello.acme.fn.test', 'x.hello.acme.fn.test', 'hello.other.fn.test'];
    expect(domains.filter((domain) => router.ownsDomain('acme', domain))).toEqual([
      'hello.acme.fn.test',
      'x.hello.acme.fn.test',
    ]);
    // `acme.fn.test` is a function of the account default, and above the functions of the account acme.
    expect(router.ownsDomain('default', 'acme.fn.test')).toBe(false);
    expect(router.ownsDomain('default', 'hello.default.fn.test')).toBe(true);
  });
});
