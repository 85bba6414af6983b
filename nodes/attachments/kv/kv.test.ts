/** KV without workerd: the rules at their bounds, the server at its bounds. */
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import Libsql from 'libsql';
import { describe, test } from 'vitest';
import { PlatformError } from '#shared/errors.ts';
import { systemClock, systemTimers, type Clock } from '#shared/runtime/clock.ts';
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
} from './rules.ts';
import { kvServer, type KvServerDeps } from './serve.ts';
import { KvStore } from './store.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

class WallClock implements Clock {
  wall = 1_700_000_000_000;
  wallMs(): number {
    return this.wall;
  }
  monotonicMs(): number {
    return performance.now();
  }
}

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
  } catch (thrown) {
    return thrown instanceof PlatformError ? thrown.code : String(thrown);
  }
  return undefined;
}

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

describe('a file from before', () => {
  test('whose rows had the value in front of its metadata goes on', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'kv.db');
    const key = (name: string): Uint8Array => new TextEncoder().encode(name);
    const old = new Libsql(path);
    old.exec(`CREATE TABLE kv (
      namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, metadata TEXT, expires INTEGER,
      PRIMARY KEY (namespace, key))`);
    old.prepare('INSERT INTO kv VALUES (?, ?, ?, ?, NULL)').run('n', key('k'), key('one'), '{"a":1}');
    old.close();
    const store = await KvStore.open({
      url: `file:${path}`,
      authToken: undefined,
      bytesMax: 1e9,
      clock: systemClock,
      timers: systemTimers,
      random: Math.random,
    });
    await store.put('n', key('l'), { value: key('two'), metadata: '{"b":2}', expires: undefined });
    const read = [await store.get('n', key('k')), await store.get('n', key('l'))];
    expect(read.map((each) => [Buffer.from(each?.value ?? []).toString(), each?.metadata])).toEqual([
      ['one', '{"a":1}'],
      ['two', '{"b":2}'],
    ]);
    await store.close();
  });
});
