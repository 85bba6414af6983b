/** KV namespaces as a resource of an account, and their values through a node. */
import { describe, test } from 'vitest';
import type { KvNamespaceView } from '#shared/contracts/api.ts';
import type { KvKeys } from '#shared/contracts/kv.ts';
import { PlatformError, type Problem } from '#shared/errors.ts';
import { scriptedNode, world } from '../testing/world.ts';

const K = '/v1/accounts/default/kv-namespaces';

describe('KV namespaces', () => {
  test('are made, listed and deleted; a name that comes again is another namespace', async ({ expect }) => {
    await using w = await world();
    const create = (name: string) => w.call<KvNamespaceView>('POST', K, { body: { name } });
    const first = await create('store');
    expect([first.status, first.body.name]).toEqual([201, 'store']);
    expect((await w.call<Problem>('POST', K, { body: { name: 'store' } })).body.code).toBe('name_taken');
    expect((await w.call<Problem>('POST', K, { body: { name: 'No' } })).status).toBe(422);
    expect((await w.call('DELETE', `${K}/store`)).status).toBe(204);
    expect((await w.call<Problem>('DELETE', `${K}/store`)).body.code).toBe('namespace_not_found');
    const second = await create('store');
    expect(second.body.id).not.toBe(first.body.id);
    const listed = await w.call<{ items: KvNamespaceView[] }>('GET', K);
    expect(listed.body.items).toEqual([second.body]);
  });

  test('are resolved when a version is published, and kept while one binds them', async ({ expect }) => {
    const node = scriptedNode();
    await using w = await world({ nodes: [node] });
    const { body } = await w.call<KvNamespaceView>('POST', K, { body: { name: 'store' } });
    const config = { kv: [{ binding: 'KV', namespace: 'store' }] };
    await w.publish('hello', { 'main.js': '1' }, { config });
    expect(node.checked[0]?.bindings).toEqual([{ kind: 'kv', name: 'KV', id: body.id, terms: {} }]);
    const refused = await w.call<Problem>('DELETE', `${K}/store`);
    expect([refused.body.code, refused.body.detail]).toEqual(['in_use', 'Version 1 of hello binds it.']);
    await w.call('DELETE', '/v1/accounts/default/functions/hello');
    expect((await w.call('DELETE', `${K}/store`)).status).toBe(204);
  });

  test('the same code is another version once its namespace was made anew', async ({ expect }) => {
    const node = scriptedNode();
    await using w = await world({ nodes: [node] });
    const config = { kv: [{ binding: 'KV', namespace: 'store' }] };
    const made: string[] = [];
    for (const name of ['one', 'two']) {
      await w.call('POST', K, { body: { name: 'store' } });
      await w.publish(name, { 'main.js': '1' }, { config });
      made.push(node.checked.at(-1)?.bindings[0]?.id ?? '');
      await w.call('DELETE', `/v1/accounts/default/functions/${name}`);
      await w.call('DELETE', `${K}/store`);
    }
    expect(new Set(made).size).toBe(2);
  });
});

describe('values of a KV namespace', () => {
  test('are put, read, listed and removed; slashes belong to the key', async ({ expect }) => {
    await using w = await world();
    await w.call('POST', K, { body: { name: 'store' } });
    const value = `${K}/store/values/a/b%20c`;
    expect((await w.call('PUT', value, { body: { value: 'eA==', encoding: 'base64' } })).status).toBe(204);
    const keys = await w.call<KvKeys>('GET', `${K}/store/keys?prefix=a/`);
    expect(keys.body).toEqual({ keys: [{ name: 'a/b c' }] });
    expect((await w.call('GET', value)).status).toBe(200);
    expect((await w.call('DELETE', value)).status).toBe(204);
    expect((await w.call<Problem>('GET', value)).body.code).toBe('not_found');
  });

  test('have any text as their key, also what a path cannot carry', async ({ expect }) => {
    await using w = await world();
    await w.call('POST', K, { body: { name: 'store' } });
    const value = (key: string) => `${K}/store/value?${new URLSearchParams({ key }).toString()}`;
    const names = [
      '..',
      '.',
      '%2e%2e',
      'a/../b',
      'a/./b',
      'a//b',
      '/a',
      'a?b#c',
      '../../store',
      'a b+c',
      'b',
    ];
    for (const name of names)
      expect((await w.call('PUT', value(name), { body: { value: name } })).status, name).toBe(204);
    const { body } = await w.call<KvKeys>('GET', `${K}/store/keys`);
    expect(body.keys.map(({ name }) => name)).toEqual([...names].sort());
    expect((await w.call('DELETE', value('a/../b'))).status).toBe(204);
    expect((await w.call<Problem>('GET', value('a/../b'))).body.code).toBe('not_found');
    for (const name of names.filter((each) => each !== 'a/../b'))
      expect((await w.call('GET', value(name))).status, name).toBe(200);
    expect((await w.call('DELETE', value('../../store'))).status).toBe(204);
    expect((await w.call<{ items: unknown[] }>('GET', K)).body.items).toHaveLength(1);
  });

  test('have keys and prefixes of at most 512 bytes, however many characters those are', async ({
    expect,
  }) => {
    await using w = await world();
    await w.call('POST', K, { body: { name: 'store' } });
    const value = (key: string) => `${K}/store/value?${new URLSearchParams({ key }).toString()}`;
    const most = '€'.repeat(170) + 'ab';
    expect((await w.call('PUT', value(most), { body: { value: 'x' } })).status).toBe(204);
    expect((await w.call('PUT', value(`${most}c`), { body: { value: 'x' } })).status).toBe(400);
    const keys = (prefix: string) =>
      w.call<KvKeys>('GET', `${K}/store/keys?${new URLSearchParams({ prefix }).toString()}`);
    expect((await keys(most)).body.keys).toEqual([{ name: most }]);
    expect((await keys(`${most}c`)).status).toBe(400);
  });

  test('are not there without a namespace, and not answered without a node', async ({ expect }) => {
    const node = scriptedNode();
    const gone = () => Promise.reject(new PlatformError('internal', 'scripted'));
    await using w = await world({ nodes: [{ ...node, ask: gone }] });
    const value = `${K}/store/values/k`;
    expect((await w.call<Problem>('GET', value)).body.code).toBe('namespace_not_found');
    await w.call('POST', K, { body: { name: 'store' } });
    const refused = await w.call<Problem>('GET', value);
    expect([refused.status, refused.body.code]).toEqual([503, 'kv_unavailable']);
    // The namespace goes all the same: its id is never used again.
    expect((await w.call('DELETE', `${K}/store`)).status).toBe(204);
  });
});
