/** What the cache keeps, for how long, and what it answers; over a real socket, as workerd speaks to it. */
import { request as httpRequest, type Server } from 'node:http';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { SharedCache } from '#shared/shared-cache.ts';
import { Shares } from '#shared/shares.ts';
import { FakeClock, memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { answerOf, sizeOf, storedOf, type Stored } from './rules.ts';
import { cacheServer } from './serve.ts';

const NOW = 1_800_000_000_000;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const received = (headers: string[], status = 200, body = 'hello') => ({
  status,
  reason: 'OK',
  headers,
  body: bytes(body),
});
const kept = (headers: string[], status = 200): Stored | undefined =>
  storedOf('http://a/', received(headers, status), NOW);

describe('a response is kept', () => {
  test.for([
    [['cache-control', 'max-age=60'], 200, 60],
    [['cache-control', 'public, s-maxage=10, max-age=60'], 200, 10],
    [['Cache-Control', 'max-age=60'], 404, 60],
    [['expires', new Date(Date.now() + 30_500).toUTCString()], 200, 30],
    [['cache-control', 'no-store'], 200, 0],
    [['cache-control', 'private, max-age=60'], 200, 0],
    [['cache-control', 'no-cache'], 200, 0],
    [['cache-control', 'max-age=0'], 200, 0],
    [[], 200, 0],
    [['cache-control', 'max-age=60'], 206, 0],
    [['cache-control', 'max-age=60', 'set-cookie', 'a=1'], 200, 0],
    [['cache-control', 'private=Set-Cookie, max-age=60', 'set-cookie', 'a=1'], 200, 60],
  ] as const)('with %j and status %i for %i s', ([headers, status, seconds], { expect }) => {
    const stored = kept([...headers], status);
    expect(stored === undefined ? 0 : Math.round((stored.expiresMs - NOW) / 1_000)).toBe(seconds);
    expect(stored?.headers.includes('set-cookie')).not.toBe(true);
  });
});

test.for([
  ['256 headers', 255, 'v', true],
  ['257 headers', 256, 'v', false],
  ['128 KiB of headers', 1, 'v'.repeat(128 * 1_024 - 26), true],
  ['a byte more', 1, 'v'.repeat(128 * 1_024 - 25), false],
] as const)('a response with %s is kept or not', ([, count, value, isKept], { expect }) => {
  const others = Array.from({ length: count }, (_, index) => [`x-${String(index)}`, value]).flat();
  expect(kept(['cache-control', 'max-age=60', ...others]) !== undefined).toBe(isKept);
});

describe('an entry answers', () => {
  const stored = kept([
    'cache-control',
    'max-age=60',
    'etag',
    'W/"v1"',
    'last-modified',
    'Wed, 01 Jan 2025 00:00:00 GMT',
    'content-type',
    'text/plain',
  ])!;
  test.for([
    [{}, 200, 'hello'],
    [{ 'if-none-match': '"v1"' }, 304, ''],
    [{ 'if-none-match': '"v0", "v2"' }, 200, 'hello'],
    [{ 'if-none-match': '*' }, 304, ''],
    [{ 'if-modified-since': 'Thu, 02 Jan 2025 00:00:00 GMT' }, 304, ''],
    [{ 'if-modified-since': 'Tue, 31 Dec 2024 00:00:00 GMT' }, 200, 'hello'],
    [{ range: 'bytes=1-2' }, 206, 'el'],
    [{ range: 'bytes=-2' }, 206, 'lo'],
    [{ range: 'bytes=3-' }, 206, 'lo'],
    [{ range: 'bytes=0-99' }, 206, 'hello'],
    [{ range: 'bytes=5-' }, 416, ''],
    [{ range: 'bytes=-0' }, 416, ''],
    [{ range: 'bytes=3-1' }, 200, 'hello'],
    [{ range: 'bytes=0-1,3-4' }, 200, 'hello'],
    [{ range: 'lines=0-1' }, 200, 'hello'],
  ] as const)('%j with %i', ([request, status, body], { expect }) => {
    const answer = answerOf(stored, request, NOW + 5_400);
    expect([answer.status, new TextDecoder().decode(answer.body)]).toEqual([status, body]);
    expect(answer.headers).toEqual(expect.arrayContaining(['age', '5', 'cf-cache-status', 'HIT']));
    expect(answer.headers.includes('content-type')).toBe(status !== 304);
  });

  test('of a page that was not found is that page again, whatever the asker has', ({ expect }) => {
    const missing = { ...stored, status: 404 };
    expect(answerOf(missing, { 'if-none-match': '"v1"' }, NOW).status).toBe(404);
  });
});

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

function ask(
  socketPath: string,
  method: string,
  path: string,
  options: { readonly body?: string; readonly headers?: Record<string, string> } = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const call = httpRequest(
      { socketPath, method, path, setHost: false, agent: false, headers: options.headers ?? {} },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      },
    );
    call.once('error', reject).end(options.body);
  });
}

const RESPONSE = 'HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\nhello';
const CHUNKED =
  'HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n';

async function setUp(bodiesTotal = 1_000_000) {
  const folder = await tempFolder();
  const clock = new FakeClock();
  const entries = new SharedCache<Stored>(new Shares('node.cache', { total: 100_000, floor: 0 }), sizeOf);
  const bodies = new Shares('cache.bodies', { total: bodiesTotal, floor: 0 });
  const deps = { entries, bodies, requests: new Shares('cache.requests'), clock, log: memoryLog() };
  const servers: Server[] = [];
  const open = async (account: string, versionId: string): Promise<string> => {
    const path = join(folder.path, `${servers.length}.sock`);
    const server = cacheServer(deps, { account, versionId });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return path;
  };
  return {
    clock,
    entries,
    bodies,
    open,
    [Symbol.asyncDispose]: async () => {
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe('the cache of a node', () => {
  test.for([RESPONSE, CHUNKED])(
    'gives back what was put until it is stale or removed',
    async (response, { expect }) => {
      await using cache = await setUp();
      const path = await cache.open('a', 'a/f@1');
      const url = 'http://example.com/x?y=1';
      expect(await ask(path, 'GET', url)).toMatchObject({
        status: 504,
        headers: { 'cf-cache-status': 'MISS' },
      });
      expect((await ask(path, 'PUT', url, { body: response })).status).toBe(204);
      expect(await ask(path, 'GET', url)).toMatchObject({
        status: 200,
        body: 'hello',
        headers: { 'cf-cache-status': 'HIT', 'cache-control': 'max-age=60', 'content-length': '5' },
      });
      expect((await ask(path, 'GET', 'https://example.com/x?y=1')).status).toBe(504);
      expect((await ask(path, 'PURGE', url)).status).toBe(200);
      expect((await ask(path, 'PURGE', url)).status).toBe(404);
      expect((await ask(path, 'GET', url)).status).toBe(504);
      await ask(path, 'PUT', url, { body: response });
      cache.clock.advance(60_000);
      expect((await ask(path, 'GET', url)).status).toBe(504);
      expect(cache.entries.size).toBe(0);
    },
  );
  test('keeps versions, accounts and names apart', async ({ expect }) => {
    await using cache = await setUp();
    const path = await cache.open('a', 'a/f@1');
    const url = 'http://example.com/';
    const named = { headers: { 'cf-cache-namespace': 'mine' } };
    await ask(path, 'PUT', url, { body: RESPONSE });
    for (const other of [
      await cache.open('a', 'a/f@12'),
      await cache.open('a', 'a/g@1'),
      await cache.open('b', 'b/f@1'),
    ])
      expect((await ask(other, 'GET', url)).status).toBe(504);
    expect((await ask(path, 'GET', url, named)).status).toBe(504);
    cache.entries.deleteWhere('a', (key) => key.startsWith('a/f@1 '));
    expect((await ask(path, 'GET', url)).status).toBe(504);
  });
  test.for([
    ['is no response', 'hello'],
    ['ends in the middle', RESPONSE.slice(0, -2)],
    ['goes on after its end', `${RESPONSE}!`],
    [
      'is larger than the share of the account',
      `HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n\r\n${'x'.repeat(600_000)}`,
    ],
  ] as const)('refuses what %s, and holds nothing of it', async ([, body], { expect }) => {
    await using cache = await setUp();
    const path = await cache.open('a', 'a/f@1');
    expect((await ask(path, 'PUT', 'http://a/', { body })).status).toBe(413);
    expect([cache.entries.size, cache.bodies.used]).toEqual([0, 0]);
  });
  test('puts of one account that never end leave another its own', async ({ expect }) => {
    await using cache = await setUp();
    const hostile = await cache.open('hostile', 'hostile/f@1');
    const stalled = Array.from({ length: 20 }, () => {
      const call = httpRequest({
        socketPath: hostile,
        method: 'PUT',
        path: 'http://a/',
        agent: false,
        setHost: false,
      });
      call.on('error', () => undefined);
      call.write(`HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n\r\n${'x'.repeat(100_000)}`);
      return call;
    });
    await waitFor('the hostile share to be used up', () => cache.bodies.heldBy('hostile') > 300_000);
    const good = await cache.open('good', 'good/f@1');
    expect((await ask(good, 'PUT', 'http://a/', { body: RESPONSE })).status).toBe(204);
    expect((await ask(good, 'GET', 'http://a/')).body).toBe('hello');
    for (const call of stalled) call.destroy();
    await waitFor('what was held to be given back', () => cache.bodies.used === 0);
  });
});
