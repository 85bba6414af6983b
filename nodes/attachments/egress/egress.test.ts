/**
 * Egress with real workerd and real servers on loopback, which these tests exempt. Names come from a DNS
 * server of the test.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, test } from 'vitest';
import { z } from 'zod';
import type { EgressRules } from '#shared/contracts/egress.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import {
  CA,
  dnsTarget,
  httpsTarget,
  httpTarget,
  tcpTarget,
  webSocketTarget,
  type DnsTarget,
} from '../../testing/targets.ts';
import { FETCHER } from '../../testing/fetcher.ts';
import { callSocket, World, type Answer, type TestVersion } from '../../testing/world.ts';

const ALL: EgressRules = { allow: ['*:*'], deny: [], headers: [] };

let world: World;
let dns: DnsTarget;

beforeEach(async () => {
  dns = await dnsTarget((name, count) => ANSWERS[name]?.(count) ?? []);
  world = await World.start({
    slots: 1,
    egress: { allowPrivate: ['127.0.0.0/8'], dnsServers: [dns.server], extraCa: CA },
  });
});
afterEach(async () => {
  await world[Symbol.asyncDispose]();
  await dns[Symbol.asyncDispose]();
});

const ANSWERS: Readonly<Record<string, (count: number) => readonly string[]>> = {
  'api.test': () => ['127.0.0.1'],
  'other.test': () => ['127.0.0.1'],
  'private.test': () => ['10.0.0.1'],
  'mixed.test': () => ['127.0.0.1', '169.254.169.254'],
  'rebind.test': (count) => (count <= 1 ? ['127.0.0.1'] : ['10.0.0.1']),
};

const resultSchema = z.object({ value: z.unknown().optional(), error: z.string().optional() });
type Result = z.infer<typeof resultSchema>;

interface Fetcher {
  (job: string, options: object, headers?: Record<string, string>): Promise<Result>;
  readonly instanceId: string;
}

async function fetcher(version: Partial<TestVersion> = {}): Promise<Fetcher> {
  const { path, instanceId } = await world.run({
    egress: ALL,
    modules: [{ name: 'index.js', content: FETCHER }],
    ...version,
  });
  let next = 0;
  const call = async (job: string, options: object, headers = {}): Promise<Result> => {
    next += 1;
    const answer: Answer = await callSocket(path, {
      body: JSON.stringify({ job, ...options }),
      headers: { 'isoplane-request-id': `r${next}`, 'content-type': 'application/json', ...headers },
    });
    return resultSchema.parse(JSON.parse(answer.text));
  };
  return Object.assign(call, { instanceId });
}

const texts = (value: unknown): readonly string[] => z.array(z.string()).parse(value);
const ok = (_request: IncomingMessage, response: ServerResponse): unknown => response.end('ok');

/** Its log, once it holds `text`. */
const logged = (text: string): Promise<string> =>
  waitFor(`the log to say ${text}`, async () => {
    const log = await world.logs('hello');
    return log.includes(text) ? log : undefined;
  });

describe('fetch', () => {
  test('reaches http and https targets, with their own Host and nothing of the platform', async ({
    expect,
  }) => {
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      response.setHeader('isoplane-egress-error', 'forged');
      response.setHeader('x-own', 'kept');
      response.end(JSON.stringify({ url: request.url, headers: request.headers }));
    };
    await using plain = await httpTarget(listener);
    await using secure = await httpsTarget(listener);
    const call = await fetcher();
    for (const origin of [`http://api.test:${plain.port}`, `https://api.test:${secure.port}`]) {
      const { value, error } = await call('fetch', {
        url: `${origin}/path?q=1`,
        init: {
          headers: {
            host: 'evil.example',
            'isoplane-principal': 'x',
            'proxy-authorization': 'x',
            'x-a': '1',
          },
        },
      });
      expect(error).toBeUndefined();
      const answer = z.object({ headers: z.record(z.string(), z.string()), text: z.string() }).parse(value);
      expect(answer.headers).toMatchObject({ 'x-own': 'kept' });
      expect(answer.headers).not.toHaveProperty('isoplane-egress-error');
      const seen = z
        .object({ url: z.string(), headers: z.record(z.string(), z.string()) })
        .parse(JSON.parse(answer.text));
      expect(seen.url).toBe('/path?q=1');
      expect(seen.headers).toMatchObject({ host: new URL(origin).host, 'x-a': '1' });
      expect(Object.keys(seen.headers).filter((name) => /^(isoplane|proxy)-/.test(name))).toEqual([]);
    }
  });

  test('streams bodies both ways and leaves content codings alone', async ({ expect }) => {
    await using target = await httpTarget((request, response) => {
      response.writeHead(201, { 'content-type': 'text/x', 'set-cookie': ['a=1', 'b=2'] });
      request.pipe(response);
    });
    const call = await fetcher();
    const body = 'x'.repeat(3_000_000);
    const { value } = await call('fetch', {
      url: `http://api.test:${target.port}/`,
      init: { method: 'POST', body },
    });
    expect(value).toMatchObject({
      status: 201,
      text: body,
      headers: { 'content-type': 'text/x', 'set-cookie': expect.stringContaining('b=2') },
    });
  });

  test('leaves the bytes of header values alone', async ({ expect }) => {
    const value = 'attachment; filename="日本.txt"';
    const head = `HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Disposition: ${value}\r\nX-Name: ${value}\r\n\r\nok`;
    await using target = await tcpTarget((socket) => socket.on('data', () => socket.write(head)));
    const call = await fetcher();
    expect((await call('fetch', { url: `http://api.test:${target.port}/` })).value).toMatchObject({
      text: 'ok',
      headers: { 'content-disposition': value, 'x-name': value },
    });
  });

  test('keeps the meaning of every form of fetch', async ({ expect }) => {
    await using target = await httpTarget((request, response) => void request.pipe(response));
    const call = await fetcher();
    expect(await call('forms', { url: `http://api.test:${target.port}/` })).toEqual({
      value: {
        request: 'from a Request',
        used: true,
        override: 'second',
        stream: 'stream',
        form: true,
        url: 'blob',
        free: 'free',
        called: 'called',
        aborted: 'mine',
        polyfilled: 'polyfilled',
        invalid: expect.stringContaining('Invalid URL'),
        name: 'fetch',
        length: expect.any(Number),
      },
    });
  });

  test('a certificate that nobody trusts is refused', async ({ expect }) => {
    await using secure = await httpsTarget(ok);
    const call = await fetcher();
    expect(await call('fetch', { url: `https://other.test:${secure.port}/` })).toMatchObject({
      error: expect.stringMatching(/egress_failed: the certificate of other.test is not accepted/),
    });
  });

  test('rejects with the code and the reason, and the log tells the owner', async ({ expect }) => {
    const call = await fetcher({ egress: 'public' });
    expect(await call('fetch', { url: 'http://127.0.0.1:81/' })).toEqual({
      error: 'TypeError: egress_denied: the rules do not allow 127.0.0.1 at port 81',
    });
    expect(await logged('egress_denied')).toContain('"requestId":"r1"');
    expect(await call('fetch', { url: 'http://nowhere.test/' })).toEqual({
      error: 'TypeError: egress_failed: the name nowhere.test has no address',
    });
  });

  test('headers that are too large are refused, and not with an answer like one of the target', async ({
    expect,
  }) => {
    const call = await fetcher();
    const headers = { x: 'x'.repeat(60_000) };
    expect(await call('fetch', { url: 'http://api.test/', init: { headers } })).toEqual({
      error: 'TypeError: egress_denied: the headers are too large',
    });
  });

  test('with egress none reaches nothing', async ({ expect }) => {
    await using target = await httpTarget(ok);
    const call = await fetcher({ egress: 'none' });
    expect(await call('fetch', { url: `http://127.0.0.1:${target.port}/` })).toEqual({
      error: `TypeError: egress_denied: the rules do not allow 127.0.0.1 at port ${target.port}`,
    });
    expect(await logged('egress_denied')).toContain('"requestId":"r1"');
    expect(target.accepted()).toBe(0);
  });

  test('a target that closes its idle connections is asked again on a new one', async ({ expect }) => {
    await using target = await httpTarget((_request, response) => {
      response.end('ok', () => setImmediate(() => response.socket?.destroy()));
    });
    const call = await fetcher();
    const { value } = await call('serial', { url: `http://api.test:${target.port}/`, count: 20 });
    expect(new Set(texts(value))).toEqual(new Set(['ok']));
  });

  test('a target that breaks off in the middle does not look whole', async ({ expect }) => {
    await using target = await httpTarget((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('half', () => response.socket?.destroy());
    });
    const call = await fetcher();
    expect((await call('fetch', { url: `http://api.test:${target.port}/` })).error).toBeDefined();
  });

  test('a target that never answers is given up', async ({ expect }) => {
    await using target = await httpTarget(() => undefined);
    const call = await fetcher({ limits: { timeoutMs: 300 } });
    expect(await call('fetch', { url: `http://api.test:${target.port}/` })).toMatchObject({
      error: expect.stringContaining('egress_timeout'),
    });
  });
});

describe('addresses', () => {
  test('a name at a private address is refused, and so is one of which one address is', async ({
    expect,
  }) => {
    const call = await fetcher();
    for (const host of ['private.test', 'mixed.test', '10.1.2.3', '169.254.169.254', '[fd00:ec2::254]'])
      expect(await call('fetch', { url: `http://${host}/` })).toEqual({
        error: expect.stringMatching(/egress_denied: .* is at an address that is private or reserved/),
      });
  });

  test('a name that rebinds is connected where it was judged, and refused after', async ({ expect }) => {
    await using target = await httpTarget((_request, response) => {
      response.setHeader('connection', 'close').end('ok');
    });
    const call = await fetcher();
    const url = `http://rebind.test:${target.port}/`;
    expect(await call('fetch', { url })).toMatchObject({ value: { text: 'ok' } });
    expect(dns.asked.get('rebind.test')).toBe(1);
    await waitFor('the name to be asked again', async () =>
      (await call('fetch', { url })).error?.includes('private or reserved'),
    );
  });

  test('a redirect to a private address is refused at the second hop', async ({ expect }) => {
    await using target = await httpTarget((_request, response) => {
      response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' }).end();
    });
    const call = await fetcher();
    expect(await call('fetch', { url: `http://api.test:${target.port}/` })).toEqual({
      error: expect.stringContaining('egress_denied: 169.254.169.254'),
    });
  });
});

describe('limits', () => {
  test('the last subrequest that is allowed works, one more does not, the next request starts anew', async ({
    expect,
  }) => {
    await using target = await httpTarget(ok);
    const call = await fetcher({ limits: { subrequests: 5 } });
    const url = `http://api.test:${target.port}/`;
    const first = texts((await call('serial', { url, count: 6 })).value);
    expect(first.slice(0, 5)).toEqual(Array.from({ length: 5 }, () => 'ok'));
    expect(first[5]).toMatch(/^subrequests_exceeded: the request made more than 5/);
    expect(await call('serial', { url, count: 1 })).toEqual({ value: ['ok'] });
  });

  test('a function that names other requests through node:http does not get more', async ({ expect }) => {
    await using target = await httpTarget(ok);
    const call = await fetcher({ limits: { subrequests: 5 }, compatibilityFlags: ['nodejs_compat'] });
    const { value } = await call('nodeHttp', { url: `http://api.test:${target.port}/`, count: 8 });
    expect(
      z
        .array(z.unknown())
        .parse(value)
        .filter((status) => status === 200),
    ).toHaveLength(5);
  });

  test('the last connection that is allowed works, one more does not, idle ones make room', async ({
    expect,
  }) => {
    const held: ServerResponse[] = [];
    await using slow = await httpTarget((_request, response) => {
      held.push(response);
      if (held.length === 3) for (const answer of held) answer.end('ok');
    });
    await using other = await httpTarget(ok);
    const call = await fetcher({ limits: { connections: 3 } });
    const results = texts((await call('many', { url: `http://api.test:${slow.port}/`, count: 4 })).value);
    expect(results.filter((text) => text === 'ok')).toHaveLength(3);
    expect(results.filter((text) => text.startsWith('connections_exceeded'))).toHaveLength(1);
    expect(slow.accepted()).toBe(3);
    // All three are idle and belong to another origin.
    expect(await call('serial', { url: `http://api.test:${other.port}/`, count: 2 })).toEqual({
      value: ['ok', 'ok'],
    });
    expect(other.accepted()).toBe(1);
  });
});

describe('sockets', () => {
  test('connect() carries bytes both ways and half-closes', async ({ expect }) => {
    await using target = await tcpTarget((socket) => {
      socket.on('data', (chunk: Buffer) => socket.write(String(chunk).toUpperCase()));
      socket.on('end', () => socket.end('!'));
    });
    const call = await fetcher();
    expect(await call('connect', { address: `api.test:${target.port}`, send: 'hello' })).toEqual({
      value: 'HELLO!',
    });
    expect((await call('connect', { address: 'private.test:80', send: '' })).error).toBeDefined();
    expect((await call('connect', { address: '10.0.0.1:25', send: '' })).error).toBeDefined();
  });

  test('connect() without a port that the rules name is refused', async ({ expect }) => {
    await using target = await tcpTarget((socket) => socket.end('hi'));
    const call = await fetcher({ egress: 'public' });
    expect((await call('connect', { address: `api.test:${target.port}`, send: '' })).error).toBeDefined();
    expect(target.accepted()).toBe(0);
  });

  test('WebSocket clients work, by constructor and by fetch, and refusals are told', async ({ expect }) => {
    await using target = await webSocketTarget();
    const call = await fetcher();
    for (const viaFetch of [true, false]) {
      const scheme = viaFetch ? 'http' : 'ws';
      expect(await call('webSocket', { url: `${scheme}://api.test:${target.port}/`, viaFetch })).toEqual({
        value: ['hello undefined', 'ping'],
      });
    }
    expect(await call('webSocket', { url: 'http://private.test/', viaFetch: true })).toEqual({
      error: expect.stringContaining('egress_denied'),
    });
    await using plain = await httpTarget((_request, response) => response.writeHead(403).end('no'));
    expect(await call('webSocket', { url: `http://api.test:${plain.port}/`, viaFetch: true })).toMatchObject({
      value: { status: 403, text: 'no' },
    });
  });
});

describe('life', () => {
  test('the end of the instance closes its connections, and requests leave none open', async ({ expect }) => {
    await using target = await httpTarget(ok);
    // Only who writes hears that the other side is gone.
    await using tunnel = await tcpTarget((socket) => {
      const beat = setInterval(() => socket.write('.'), 20);
      socket.once('close', () => clearInterval(beat));
    });
    const call = await fetcher();
    const url = `http://api.test:${target.port}/`;
    expect(new Set(texts((await call('serial', { url, count: 300 })).value))).toEqual(new Set(['ok']));
    expect(target.accepted()).toBe(1);
    const open = call('connect', { address: `api.test:${tunnel.port}`, send: 'x' });
    open.catch(() => undefined);
    await waitFor('the tunnel to stand', () => tunnel.sockets.size === 1);
    await world.peer.call(`/v1/instances/${call.instanceId}?graceMs=0`, z.unknown(), { method: 'DELETE' });
    await waitFor('all connections to be closed', () => target.sockets.size + tunnel.sockets.size === 0);
  });

  test('two instances never share a connection', async ({ expect }) => {
    await using target = await httpTarget(ok);
    const url = `http://api.test:${target.port}/`;
    for (const id of ['default/a@1', 'default/b@1']) {
      const call = await fetcher({ id });
      expect(await call('serial', { url, count: 2 })).toEqual({ value: ['ok', 'ok'] });
    }
    expect(target.accepted()).toBe(2);
  });
});
