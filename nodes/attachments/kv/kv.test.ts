/** KV without workerd: the store on a real libSQL file, the rules at their bounds, the server at its bounds. */
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { PlatformError } from '#shared/errors.ts';
import { systemTimers, type Clock } from '#shared/runtime/clock.ts';
import { Shares } from '#shared/shares.ts';
import { FakeClock, memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import {
  afterPrefix,
  bulkRequestOf,
  cursorOf,
  expiryOf,
  keyBytes,
  listRequestOf,
  metadataOf,
  type KvEntry,
  type ListRequest,
} from './rules.ts';
import { kvServer, type KvServerDeps } from './serve.ts';
import { KvStore } from './store.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString('utf8');
const entry = (value: string, parts: Partial<KvEntry> = {}): KvEntry => ({
  value: bytes(value),
  metadata: undefined,
  expires: undefined,
  ...parts,
});

class WallClock implements Clock {
  wall = 1_700_000_000_000;
  wallMs(): number {
    return this.wall;
  }
  monotonicMs(): number {
    return performance.now();
  }
}

async function openStore(path: string, parts: { bytesMax?: number; clock?: Clock } = {}): Promise<KvStore> {
  return KvStore.open({
    url: `file:${path}`,
    authToken: undefined,
    bytesMax: parts.bytesMax ?? 1e9,
    clock: parts.clock ?? new WallClock(),
    timers: systemTimers,
    random: Math.random,
  });
}

const everything = { prefix: bytes(''), limit: 1_000, after: undefined };

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
  } catch (thrown) {
    return thrown instanceof PlatformError ? thrown.code : String(thrown);
  }
  return undefined;
}

async function rejection(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work;
  } catch (thrown) {
    return thrown instanceof PlatformError ? thrown.code : String(thrown);
  }
  return undefined;
}

describe('KvStore', () => {
  test('keeps values over a restart, namespaces apart', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'kv.db');
    const first = await openStore(path);
    await first.put('n1', bytes('k'), entry('one', { metadata: '{"a":1}' }));
    await first.put('n2', bytes('k'), entry('two'));
    await first.close();
    const second = await openStore(path);
    const one = await second.get('n1', bytes('k'));
    expect([text(one?.value), one?.metadata]).toEqual(['one', '{"a":1}']);
    expect(text((await second.get('n2', bytes('k')))?.value)).toBe('two');
    await second.close();
  });

  test('hides what has expired at once, and sweeps it', async ({ expect }) => {
    await using folder = await tempFolder();
    const clock = new WallClock();
    const store = await openStore(join(folder.path, 'kv.db'), { clock });
    const expires = clock.wall / 1_000 + 60;
    for (let index = 0; index < 450; index += 1)
      await store.put('n', bytes(`k${index}`), entry('v', { expires }));
    await store.put('n', bytes('stays'), entry('v'));
    clock.wall += 60_000;
    expect(await store.get('n', bytes('k1'))).toBeUndefined();
    expect((await store.list('n', everything)).keys.map(({ key }) => text(key))).toEqual(['stays']);
    const sweeps = [await store.sweep(), await store.sweep(), await store.sweep()];
    expect(sweeps).toEqual([true, true, false]);
    clock.wall -= 60_000;
    expect((await store.list('n', everything)).keys).toHaveLength(1);
    await store.close();
  });

  test('removes a dropped namespace bit by bit, and no other', async ({ expect }) => {
    await using folder = await tempFolder();
    const store = await openStore(join(folder.path, 'kv.db'));
    await Promise.all(
      Array.from({ length: 300 }, (_, index) => store.put('old', bytes(`k${index}`), entry('v'))),
    );
    await store.put('new', bytes('k'), entry('v'));
    await store.drop('old');
    let rounds = 0;
    while (await store.sweep()) rounds += 1;
    expect(rounds).toBe(3);
    expect((await store.list('old', everything)).keys).toEqual([]);
    expect((await store.list('new', everything)).keys).toHaveLength(1);
    await store.close();
  });

  test('lists by the bytes of keys, from a cursor, within a prefix', async ({ expect }) => {
    await using folder = await tempFolder();
    const store = await openStore(join(folder.path, 'kv.db'));
    for (const key of ['b', 'a', 'ä', 'a\u0000', 'a/1', 'Z', '😀', 'a/2'])
      await store.put('n', bytes(key), entry('v'));
    const list = async (parts: Partial<ListRequest>) => {
      const { keys, complete } = await store.list('n', { ...everything, ...parts });
      return [...keys.map(({ key }) => text(key)), complete];
    };
    expect(await list({})).toEqual(['Z', 'a', 'a\u0000', 'a/1', 'a/2', 'b', 'ä', '😀', true]);
    expect(await list({ prefix: bytes('a/') })).toEqual(['a/1', 'a/2', true]);
    expect(await list({ limit: 2 })).toEqual(['Z', 'a', false]);
    expect(await list({ limit: 8, after: bytes('a') })).toEqual([
      'a\u0000',
      'a/1',
      'a/2',
      'b',
      'ä',
      '😀',
      true,
    ]);
    await store.close();
  });

  test('answers kv_full at its bound, goes on reading, and takes puts again after deletes', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const store = await openStore(join(folder.path, 'kv.db'), { bytesMax: 400_000 });
    const large = 'x'.repeat(50_000);
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, index) => rejection(store.put('n', bytes(`k${index}`), entry(large)))),
    );
    expect(new Set(outcomes)).toEqual(new Set([undefined, 'kv_full']));
    // Each of a transaction that failed got its own answer.
    expect(outcomes.filter((code) => code === undefined).length).toBeGreaterThan(3);
    expect(text((await store.get('n', bytes('k0')))?.value)).toBe(large);
    for (let index = 0; index < 5; index += 1) await store.delete('n', bytes(`k${index}`));
    expect(await rejection(store.put('n', bytes('again'), entry(large)))).toBeUndefined();
    await store.close();
  });

  test('holds an account to its quota over all its namespaces, to the byte', async ({ expect }) => {
    await using folder = await tempFolder();
    const clock = new WallClock();
    const store = await openStore(join(folder.path, 'kv.db'), { clock });
    const within = { account: 'a', bytesMax: 100 };
    const put = (namespace: string, key: string, size: number, parts: Partial<KvEntry> = {}) =>
      rejection(store.put(namespace, bytes(key), entry('x'.repeat(size), parts), within));
    expect(await put('n1', 'k1', 48)).toBeUndefined();
    expect(await put('n2', 'k2', 43, { metadata: '"äö"' })).toBe('kv_full');
    const expires = clock.wall / 1_000 + 60;
    expect(await put('n2', 'k2', 42, { metadata: '"ä"', expires })).toBeUndefined();
    expect([await put('n1', 'k', 2), await put('n1', 'k', 1)]).toEqual(['kv_full', undefined]);
    // In place of a value counts the difference; of two at once for the last byte one is refused.
    expect([await put('n1', 'k1', 49), await put('n1', 'k1', 47)]).toEqual(['kv_full', undefined]);
    const both = await Promise.all([put('n1', 'y', 0), put('n2', 'z', 0)]);
    expect([...both].toSorted((a) => (a === undefined ? 1 : -1))).toEqual(['kv_full', undefined]);
    // Others have their own, or none.
    const other = { account: 'b', bytesMax: undefined };
    expect(await rejection(store.put('n3', bytes('k'), entry('x'.repeat(1_000)), other))).toBeUndefined();
    // What goes makes room: by a delete, by its end, with its namespace.
    await store.delete('n1', bytes('k1'));
    expect([await put('n1', 'k1', 48), await put('n1', 'k1', 47)]).toEqual(['kv_full', undefined]);
    clock.wall += 60_000;
    await store.sweep();
    expect([await put('n2', 'k3', 46), await put('n2', 'k3', 46)]).toEqual([undefined, undefined]);
    await store.drop('n1');
    while (await store.sweep());
    expect(await put('n2', 'k4', 48)).toBeUndefined();
    await store.close();
  });

  test('shares a file with other processes of the machine', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'kv.db');
    const [left, right] = await Promise.all([openStore(path), openStore(path)]);
    await Promise.all(
      [left, right].flatMap((store, side) =>
        Array.from({ length: 50 }, (_, index) => store.put('n', bytes(`${side}-${index}`), entry('v'))),
      ),
    );
    expect((await left.list('n', everything)).keys).toHaveLength(100);
    await Promise.all([left.close(), right.close()]);
  });
});

describe('the rules of KV', () => {
  test('bound keys, metadata, expiry and lists', ({ expect }) => {
    const now = 1_000;
    const expiry = (query: string) => expiryOf(new URLSearchParams(query), now);
    expect([expiry(''), expiry('expiration_ttl=60'), expiry('expiration=1060')]).toEqual([
      undefined,
      1_060,
      1_060,
    ]);
    expect(
      [
        () => expiry('expiration_ttl=59'),
        () => expiry('expiration=1059'),
        () => expiry('expiration_ttl=1e9'),
        () => keyBytes(''),
        () => keyBytes('..'),
        () => keyBytes('ä'.repeat(257)),
        () => metadataOf('{'),
        () => metadataOf(`"${'x'.repeat(1_023)}"`),
        () => listRequestOf(new URLSearchParams('key_count_limit=1001')),
        () => listRequestOf(new URLSearchParams('cursor=%00')),
        () => bulkRequestOf('{"keys":[]}'),
        () => bulkRequestOf('{"keys":[1]}'),
        () => bulkRequestOf('null'),
      ].map(codeOf),
    ).toEqual([
      ...Array.from({ length: 7 }, () => 'kv_invalid'),
      'kv_value_too_large',
      ...Array.from({ length: 5 }, () => 'kv_invalid'),
    ]);
    expect(keyBytes('ä'.repeat(256)).byteLength).toBe(512);
    expect(listRequestOf(new URLSearchParams({ cursor: cursorOf(bytes('k')) })).after).toEqual(
      Buffer.from('k'),
    );
  });

  test('end a prefix where no longer key begins with it', ({ expect }) => {
    expect([
      afterPrefix(bytes('ab')),
      afterPrefix(new Uint8Array([97, 255])),
      afterPrefix(bytes('')),
    ]).toEqual([bytes('ac'), bytes('b'), undefined]);
    expect(afterPrefix(new Uint8Array([255]))).toBeUndefined();
  });
});

describe('kvServer()', () => {
  test('answers share_full to the account that has too much in hand, serves others, and works again after', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'k.sock');
    const release: (() => void)[] = [];
    const store = {
      get: () => new Promise<undefined>((resolve) => release.push(() => resolve(undefined))),
      put: () => Promise.resolve(),
      delete: () => Promise.resolve(),
      list: () => Promise.resolve({ keys: [], complete: true }),
    };
    const deps = depsOf(store);
    const server = kvServer(deps, { namespaceId: 'n', account: 'a' });
    const other = kvServer(deps, { namespaceId: 'm', account: 'b' });
    await new Promise<void>((resolve) => server.listen({ path, backlog: 4_096 }, resolve));
    await new Promise<void>((resolve) => other.listen(`${path}.b`, resolve));
    const get = (socketPath = path): Promise<number> =>
      new Promise((resolve, reject) => {
        const sent = httpRequest({ socketPath, path: '/k?urlencoded=true', agent: false }, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        });
        sent.on('error', reject);
        sent.end();
      });
    const most = deps.requests.total / 2;
    const waiting = Array.from({ length: most }, () => get());
    await waitFor('all to wait', () => release.length === most);
    expect(await get()).toBe(429);
    const others = get(`${path}.b`);
    await waitFor('the other account', () => release.length === most + 1);
    for (const answer of release.splice(0)) answer();
    expect(new Set(await Promise.all([...waiting, others]))).toEqual(new Set([404]));
    const again = get();
    await waitFor('the next one', () => release.length === 1);
    release[0]?.();
    expect(await again).toBe(404);
    for (const each of [server, other]) {
      each.closeAllConnections();
      each.close();
    }
  });

  test('that loses its caller in the midst of a put gives the bytes back, and logs no failure', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'kv.sock');
    const log = memoryLog();
    const refuse = (): never => {
      throw new Error('is not asked');
    };
    const deps = { ...depsOf({ get: refuse, put: refuse, delete: refuse, list: refuse }), log };
    const server = kvServer(deps, { namespaceId: 'n', account: 'a' });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const sent = httpRequest({ socketPath: path, method: 'PUT', path: '/k?urlencoded=true', agent: false });
    sent.on('error', () => undefined);
    sent.write(Buffer.alloc(100_000));
    await waitFor('its bytes', () => deps.bodies.heldBy('a') >= 100_000);
    sent.destroy();
    await waitFor('them to be given back', () => deps.bodies.used === 0 && deps.requests.used === 0);
    expect(log.lines).toEqual([]);
    server.close();
  });

  test('eleven puts of one account that never end leave another its own, and are let go when they are silent', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const put: Uint8Array[] = [];
    const clock = new FakeClock();
    const deps = {
      ...depsOf({
        get: () => Promise.resolve(undefined),
        put: (_namespace, _key, { value }) => {
          put.push(new Uint8Array(value));
          return Promise.resolve();
        },
        delete: () => Promise.resolve(),
        list: () => Promise.resolve({ keys: [], complete: true }),
      }),
      timers: clock,
    };
    const servers = ['hostile', 'good'].map((account) => kvServer(deps, { namespaceId: account, account }));
    const paths = servers.map((_, index) => join(folder.path, `${index}.sock`));
    for (const [index, server] of servers.entries())
      await new Promise<void>((resolve) => server.listen(paths[index], resolve));
    const open = (path: string | undefined, body: Uint8Array, end: boolean) => {
      const answer: { status?: number; gone?: boolean } = {};
      const sent = httpRequest({ socketPath: path, method: 'PUT', path: '/k?urlencoded=true', agent: false });
      sent.on('response', (response) => {
        answer.status = response.statusCode ?? 0;
        response.resume();
      });
      sent.on('error', () => (answer.gone = true));
      sent.write(body);
      if (end) sent.end();
      return answer;
    };
    const stalled = Array.from({ length: 11 }, () => open(paths[0], Buffer.alloc(24 * 1_048_576), false));
    await waitFor('the bound', () => stalled.some(({ status }) => status === 429));
    const good = open(paths[1], Buffer.alloc(20 * 1_048_576, 7), true);
    await waitFor('the other account', () => good.status === 200);
    expect(put.map(({ byteLength }) => byteLength)).toEqual([20 * 1_048_576]);
    expect(deps.bodies.heldBy('hostile')).toBeLessThanOrEqual(deps.bodies.total / 2);
    clock.advance(10_000);
    await waitFor('all to go', () => stalled.every(({ status, gone }) => status === 429 || gone === true));
    expect(deps.bodies.used).toBe(0);
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });
});

function depsOf(store: KvServerDeps['store']) {
  return {
    store,
    clock: new WallClock(),
    timers: systemTimers,
    log: memoryLog(),
    requests: new Shares('kv.requests'),
    bodies: new Shares('kv.bodies'),
    line: { run: async <T>(_account: string, work: () => T | Promise<T>) => work() },
  };
}
