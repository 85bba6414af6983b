/** What stands between the wire and a function: one reading of the target, clients that are odd or far, bytes back. */
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, describe, test } from 'vitest';
import { toBase64Url } from '#shared/encoding.ts';
import { importSigningKey, signRequest } from '#shared/signatures/sign.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { startHarness, type Harness, type HarnessOptions } from './testing/harness.node.ts';
import { functionItems, keyItem, routeItem } from './testing/items.ts';

let harness: Harness | undefined;
afterEach(async () => {
  await harness?.[Symbol.asyncDispose]();
  harness = undefined;
});

interface Seen {
  url: string;
  method: string;
  raw: readonly string[];
  headers: IncomingHttpHeaders;
}

/** A function that remembers what reached it and answers with its URL. */
async function mirror(items: Parameters<typeof startHarness>[0], options: HarnessOptions = {}) {
  const started = await startHarness(items, options);
  harness = started;
  const seen: Seen[] = [];
  await started.instance((request, response) => {
    seen.push({
      url: request.url ?? '',
      method: request.method ?? '',
      raw: request.rawHeaders,
      headers: request.headers,
    });
    response.end(request.url);
  });
  return { gateway: started, seen };
}

const head = (line: string, lines: readonly string[] = []): string =>
  [`${line} HTTP/1.1`, 'Host: hello.localhost', 'Connection: close', ...lines, '', ''].join('\r\n');
const upgradeOf = (target: string, lines: readonly string[] = []): string =>
  [
    `GET ${target} HTTP/1.1`,
    'Host: hello.localhost',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ...lines,
    '',
    '',
  ].join('\r\n');

describe('a target', () => {
  test.for([
    ['/%61%2Fb/../c?x=%61', '/c?x=%61'],
    ['/a\\b', '/a/b'],
    ['//x/admin', '//x/admin'],
    ['/a?', '/a?'],
  ] as const)('%j reaches the function as %j, and so does an upgrade', async ([sent, url], { expect }) => {
    const { gateway, seen } = await mirror(functionItems('hello'));
    await gateway.exchange(head(`GET ${sent}`));
    await gateway.exchange(upgradeOf(sent));
    expect(seen.map((each) => each.url)).toEqual([url, url]);
  });

  test('does not get past a route by being written otherwise, upgrades neither', async ({ expect }) => {
    const { gateway, seen } = await mirror([
      ...functionItems('hello'),
      ...functionItems('guard', { auth: { mode: 'signed' } }),
      routeItem('r1', { host: 'hello.localhost', path: '/admin/*', function: 'guard' }),
    ]);
    const targets = ['/admin', '/%61dmin/x', '/./admin', '//admin', '/x/..%2fadmin', '/\\admin', '/admin#x'];
    for (const target of targets)
      for (const text of [head(`GET ${target}`), upgradeOf(target)])
        expect((await gateway.exchange(text)).slice(9, 12), target).toMatch(/^40[01]$/);
    expect(seen).toEqual([]);
    // That the function behind it answers at all shows that the refusals above meant something.
    expect(await gateway.exchange(head('GET /public'))).toMatch(/^HTTP\/1\.1 200/);
  });

  test('decides by its path who may call, where the configuration says so', async ({ expect }) => {
    const { gateway, seen } = await mirror(
      functionItems('hello', {
        auth: { mode: 'signed' },
        authByPath: [
          { path: '/health', auth: { mode: 'public' } },
          { path: '/assets/*', auth: { mode: 'public' } },
          { path: '/assets/private/*', auth: { mode: 'signed' } },
        ],
      }),
    );
    const statusOf = async (target: string): Promise<number> =>
      Number((await gateway.exchange(head(`GET ${target}`))).slice(9, 12));
    for (const target of [
      '/health',
      '/health/',
      '/assets/a.css',
      '/x/../health',
      '/%68ealth',
      '/assets/a%2Fb',
    ])
      expect([target, await statusOf(target)]).toEqual([target, 200]);
    const before = seen.length;
    for (const target of ['/', '/healthy', '/assets/../x', '/assets/private/x', '/assets/%70rivate/x'])
      expect([target, await statusOf(target)]).toEqual([target, 401]);
    // A function that decodes would see another path than the one that was judged.
    for (const target of ['/assets/..%2Fadmin', '/assets/private%2Fx', '/assets//private/x', '//health'])
      expect([target, await statusOf(target)]).toEqual([target, 400]);
    expect(seen.length).toBe(before);
  });
});

describe('a client', () => {
  test('that ends its side after the request is answered', async ({ expect }) => {
    harness = await startHarness(functionItems('hello'));
    let started = 0;
    let goOn: () => void = () => undefined;
    await harness.instance((request, response) => {
      started += 1;
      goOn = () => request.pipe(response);
    });
    for (const text of [head('GET /'), `${head('POST /', ['Content-Length: 3'])}abc`]) {
      const socket = harness.raw();
      let received = '';
      socket.on('data', (chunk) => (received += chunk.toString('latin1')));
      socket.end(text);
      await waitFor('the question whether the client has gone', () =>
        received.startsWith('HTTP/1.1 102 Processing\r\n'),
      );
      goOn();
      await new Promise((resolve) => socket.on('close', resolve));
      expect(received).toMatch(/HTTP\/1\.1 200 OK[^]*\r\n\r\n/);
      if (text.startsWith('POST')) expect(received).toContain('abc');
    }
    expect(started).toBe(2);
  });

  test('that has gone while its request waits gives up its place', async ({ expect }) => {
    harness = await startHarness(functionItems('hello', { scaling: { concurrency: 1, maxInstances: 1 } }));
    const held: (() => void)[] = [];
    await harness.instance((_request, response) => void held.push(() => response.end()), { slots: 1 });
    const first = harness.request('hello.localhost');
    await waitFor('the first', () => held.length === 1);
    const { metrics } = harness.plane.gateway;
    const socket = harness.raw();
    socket.write(head('GET /'));
    await waitFor('the second to wait', () => metrics.snapshot().inFlight === 2);
    socket.destroy();
    await waitFor('the second to be given up', () => metrics.snapshot().inFlight === 1);
    held[0]?.();
    expect((await first).status).toBe(200);
    expect(held.length).toBe(1);
  });

  test('that leaves a stream which says nothing more does not keep it', async ({ expect }) => {
    harness = await startHarness(functionItems('hello'));
    let closed = false;
    await harness.instance((request, response) => {
      response.write('one');
      request.socket.on('close', () => (closed = true));
    });
    const socket = harness.raw();
    socket.write(head('GET /'));
    await new Promise((resolve) => socket.once('data', resolve));
    socket.destroy();
    await waitFor('the stream to end', () => closed);
    expect(harness.plane.gateway.metrics.snapshot().inFlight).toBe(0);
  });

  test('that takes too long for its head is told so', async ({ expect }) => {
    harness = await startHarness(functionItems('hello'), { headMsMax: 200 });
    const answer = await harness.exchange('GET / HTTP/1.1\r\nHost: hello');
    expect(answer).toMatch(/^HTTP\/1\.1 408 [^]*"code":"request_timeout"/);
  });

  test('that has opened too many connections is told so, and others are not', async ({ expect }) => {
    harness = await startHarness(functionItems('hello'), { connectionsMax: 4 });
    const held: Socket[] = [harness.raw(), harness.raw()];
    try {
      await Promise.all(held.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
      const refused = await harness.exchange(head('GET /'));
      expect(refused).toMatch(/^HTTP\/1\.1 503 [^]*"code":"too_many_connections"/);
      expect(refused).toMatch(/^retry-after: 1\r$/im);
      held.pop()?.destroy();
      await waitFor('room for one', async () =>
        (await harness?.exchange(head('GET /healthz').replace('hello.', '')))?.startsWith('HTTP/1.1 200'),
      );
    } finally {
      for (const socket of held) socket.destroy();
    }
  });

  test('is known to the function by its address alone, and by what trusted proxies say', async ({
    expect,
  }) => {
    const lines = [
      'X-Forwarded-For: 192.0.2.7',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: other.localhost',
      'CF-Connecting-IP: 6.6.6.6',
      'cf-ray: evil',
      'Isoplane-Scheme: ftp',
    ];
    const names = [
      'host',
      'cf-connecting-ip',
      'isoplane-client-address',
      'isoplane-scheme',
      'x-forwarded-proto',
      'cf-ray',
    ];
    const facts = ({ headers }: Seen): unknown[] => names.map((name) => headers[name]);
    const plain = await mirror(functionItems('hello'));
    await plain.gateway.exchange(head('GET /', lines));
    expect(plain.seen.map(facts)).toEqual([
      ['hello.localhost', '127.0.0.1', '127.0.0.1', undefined, undefined, undefined],
    ]);
    await plain.gateway[Symbol.asyncDispose]();
    const proxied = await mirror(functionItems('other'), { trustedProxies: ['127.0.0.0/8'] });
    await proxied.gateway.instance((_request, response) => response.end(), { versionId: 'default/other@1' });
    proxied.gateway.script.grants.splice(0, 1, {
      ...proxied.gateway.script.grants[0]!,
      versionId: 'default/other@1' as never,
    });
    await proxied.gateway.exchange(head('GET /', lines));
    expect(proxied.seen.map(facts)).toEqual([
      ['other.localhost', '192.0.2.7', '192.0.2.7', 'https', 'https', undefined],
    ]);
  });
});

describe('a signature', () => {
  const pair = generateKeyPairSync('ed25519');
  const items = (mode: 'signed' | 'public') => [
    ...functionItems('hello', { auth: { mode } }),
    keyItem({
      id: 'k1',
      material: { algorithm: 'ed25519', publicKey: pair.publicKey.export({ format: 'jwk' }).x ?? '' },
    }),
  ];
  const key = importSigningKey({
    keyId: 'k1',
    algorithm: 'ed25519',
    secret: toBase64Url(pair.privateKey.export({ format: 'der', type: 'pkcs8' })),
  });
  /** Signs what the test says that the wire holds. */
  async function lines(
    url: string,
    parts: { cover?: readonly string[]; headers?: Record<string, string>; nowMs?: number } = {},
  ): Promise<string[]> {
    const signed = await signRequest({ method: 'GET', url, headers: parts.headers ?? {} }, await key, {
      nowMs: parts.nowMs ?? Date.now(),
      ...(parts.cover === undefined ? {} : { cover: parts.cover }),
    });
    return Object.entries(signed).map(([name, value]) => `${name}: ${value}`);
  }

  test('that was made before the gateway started, or in the second of its start, is refused', async ({
    expect,
  }) => {
    const startedMs = 1_000 * Math.floor(Date.now() / 1_000) + 900;
    const { gateway } = await mirror(items('signed'), { startedMs });
    const send = async (nowMs: number): Promise<string> =>
      gateway.exchange(head('GET /', await lines('http://hello.localhost/', { nowMs })));
    for (const nowMs of [startedMs - 20_000, startedMs - 900, startedMs + 50])
      expect(await send(nowMs)).toContain('"code":"signature_expired"');
    expect(await send(startedMs + 100)).toMatch(/^HTTP\/1\.1 200/);
  });

  test('covers all lines of a field', async ({ expect }) => {
    const { gateway, seen } = await mirror(items('signed'));
    const cover = ['@method', '@authority', '@path', '@query', 'content-type'];
    const one = await lines('http://hello.localhost/', { cover, headers: { 'content-type': 'a/b' } });
    const two = await lines('http://hello.localhost/', { cover, headers: { 'content-type': 'a/b, c/d' } });
    const more = ['Content-Type: a/b', 'content-type:  c/d'];
    expect(await gateway.exchange(head('GET /', [...one, ...more]))).toContain('signature_invalid');
    expect(seen).toEqual([]);
    expect(await gateway.exchange(head('GET /', [...two, ...more]))).toMatch(/^HTTP\/1\.1 200/);
  });

  test('covers the target as it was sent, behind a TLS terminator too', async ({ expect }) => {
    const { gateway } = await mirror(items('signed'), { trustedProxies: ['127.0.0.1'] });
    const cover = ['@method', '@authority', '@target-uri'];
    for (const target of ['/a?', '/a', '/%7Ea?b=%2f']) {
      const signed = await lines(`https://hello.localhost${target}`, { cover });
      const proto = 'X-Forwarded-Proto: https';
      expect(await gateway.exchange(head(`GET ${target}`, signed)), target).toContain('signature_invalid');
      expect(await gateway.exchange(head(`GET ${target}`, [...signed, proto])), target).toMatch(/ 200 OK/);
    }
  });

  test('does not reach the function, which could use it elsewhere; those of strangers do', async ({
    expect,
  }) => {
    for (const mode of ['signed', 'public'] as const) {
      const { gateway, seen } = await mirror(items(mode));
      await gateway.exchange(head('GET /', await lines('http://hello.localhost/')));
      expect(seen.map(({ headers }) => [headers['signature'], headers['signature-input']])).toEqual([
        [undefined, undefined],
      ]);
      if (mode === 'public') {
        const foreign = ['Signature-Input: a=("@method");keyid="webhook"', 'Signature: a=:AAAA:'];
        await gateway.exchange(head('GET /', foreign));
        expect(seen.at(-1)?.headers['signature']).toBe('a=:AAAA:');
      }
      await gateway[Symbol.asyncDispose]();
    }
    harness = undefined;
  });

  test('does not reach the function either where a token of the caller stands elsewhere', async ({
    expect,
  }) => {
    const x = pair.publicKey.export({ format: 'jwk' }).x ?? '';
    const encoded = (part: unknown): string => toBase64Url(Buffer.from(JSON.stringify(part)));
    const claims = { sub: 'ada', aud: 'a', exp: Math.floor(Date.now() / 1_000) + 60 };
    const said = `${encoded({ alg: 'EdDSA', kid: 't' })}.${encoded(claims)}`;
    const token = `${said}.${toBase64Url(sign(null, Buffer.from(said), pair.privateKey))}`;
    const jwks = { keys: [{ kty: 'OKP' as const, crv: 'Ed25519', kid: 't', x }] };
    const { gateway, seen } = await mirror([
      ...functionItems('hello', { auth: { mode: 'jwt', audience: 'a', tokenQuery: 'token', jwks } }),
      ...items('signed').slice(-1),
    ]);
    const signed = await lines('http://hello.localhost/');
    await gateway.exchange(head(`GET /?token=${token}`, signed));
    await gateway.exchange(
      upgradeOf('/', [...signed, `Sec-WebSocket-Protocol: isoplane.bearer, ${token}, chat`]),
    );
    expect(
      seen.map(({ url, headers }) => [url, headers['signature'], headers['sec-websocket-protocol']]),
    ).toEqual([
      ['/', undefined, undefined],
      ['/', undefined, 'chat'],
    ]);
  });
});

describe('what a function answers', () => {
  const answer = async (headers: readonly string[], body = 'x'): Promise<string> => {
    harness = await startHarness(functionItems('hello'));
    await harness.instance((request) => {
      const lines = [`HTTP/1.1 200 OK`, ...headers, `Content-Length: ${body.length}`, 'Connection: close'];
      request.socket.end(Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1'));
    });
    return harness.exchange(head('GET /'));
  };

  test.for([
    Buffer.from('attachment; filename="日本.txt"').toString('latin1'),
    Buffer.from('attachment; filename="ü.txt"').toString('latin1'),
    'attachment; filename="\u00fc.txt"',
  ])('passes byte by byte in headers: %j', async (value, { expect }) => {
    const text = await answer([
      `Content-Length: 1`.replace(/.*/, 'X-Any: 1'),
      `Content-Disposition: ${value}`,
      `X-Name: ${value}`,
    ]);
    expect(text).toContain(`Content-Disposition: ${value}\r\n`);
    expect(text).toContain(`X-Name: ${value}\r\n`);
    expect(text.endsWith('\r\n\r\nx')).toBe(true);
  });

  test('sets no cookies for all tenants', async ({ expect }) => {
    const text = await answer(['Set-Cookie: a=b; Domain=localhost; Path=/', 'Set-Cookie: c=d; HttpOnly']);
    expect(text.match(/^set-cookie: .*$/gim)).toEqual([
      'Set-Cookie: a=b; Path=/',
      'Set-Cookie: c=d; HttpOnly',
    ]);
  });
});

describe('the last words of a WebSocket', () => {
  test('reach the other side, whichever ends first', async ({ expect }) => {
    harness = await startHarness(functionItems('hello'));
    const server = await harness.instance(() => undefined);
    let heard = '';
    server.on('upgrade', (request, socket) => {
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64');
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      socket.on('data', (chunk: Buffer) => (heard += chunk.toString('latin1')));
      if (request.url === '/instance') socket.end('bye');
      else socket.on('end', () => socket.end(`heard ${heard}`));
    });
    const fromInstance = harness.raw();
    let received = '';
    fromInstance.on('data', (chunk) => (received += chunk.toString('latin1')));
    fromInstance.on('end', () => fromInstance.end('bye too'));
    fromInstance.write(upgradeOf('/instance'));
    await waitFor('both', () => received.endsWith('bye') && heard === 'bye too');
    const fromClient = harness.raw();
    received = heard = '';
    fromClient.on('data', (chunk) => (received += chunk.toString('latin1')));
    fromClient.write(upgradeOf('/client'));
    await waitFor('the handshake', () => received.includes('101'));
    fromClient.end('over');
    await waitFor('the answer to the last word', () => received.endsWith('heard over'));
    const { metrics } = harness.plane.gateway;
    await waitFor('the slots', () => metrics.snapshot().inFlight === 0);
    expect(metrics.snapshot().requests).toEqual({ ok: 2 });
  });
});
