/**
 * Goal: what a function sees of a request is what the gateway decided on, and what it answers arrives as it is, called
 * from outside and by other functions. Method: requests to a running platform behind a trusted proxy's address.
 */
import { generateKeyPairSync } from 'node:crypto';
import { connect } from 'node:net';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { signRequest } from '#shared/signatures/sign.ts';
import { hostOf, TestPlatform } from '../support/platform.ts';
import { rawExchange } from '../support/raw.ts';

const MIRROR = `
export default {
  async fetch(request) {
    const url = new URL(request.url);
    const name = url.searchParams.get('name');
    if (name !== null) return new Response('x', { headers: { 'content-disposition': 'attachment; filename="' + name + '"', 'x-name': name } });
    if (request.headers.get('upgrade') === 'websocket') {
      const { 0: client, 1: server } = new WebSocketPair();
      server.accept();
      server.send(JSON.stringify({ url: request.url, protocol: request.headers.get('sec-websocket-protocol'), principal: request.headers.get('isoplane-principal') }));
      server.addEventListener('message', () => server.close(4000, 'bye'));
      return new Response(null, { status: 101, webSocket: client });
    }
    if (url.pathname === '/cookie') return new Response('', { headers: { 'set-cookie': 'a=b; Domain=localhost' } });
    return Response.json({ url: request.url, cf: request.cf ?? null, headers: Object.fromEntries(request.headers), body: await request.text() });
  },
};`;
const CALLER = `
export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const target = searchParams.get('target') ?? 'http://mirror/';
    if (pathname === '/ws') {
      const { webSocket } = await env.MIRROR.fetch(target, { headers: { upgrade: 'websocket' } });
      webSocket.accept();
      const closed = new Promise((resolve) => webSocket.addEventListener('close', ({ code, reason }) => resolve(code + ' ' + reason)));
      webSocket.send('close');
      return new Response(await Promise.race([closed, scheduler.wait(5_000).then(() => 'no close')]));
    }
    const headers = { 'x-forwarded-for': 'evil', forwarded: 'for=evil', 'cf-connecting-ip': 'evil', 'cf-ray': 'evil', 'x-real-ip': 'evil', 'isoplane-scheme': 'gopher', 'x-own': '1' };
    const answer = await env.MIRROR.fetch(target, { headers });
    return new Response(await answer.text(), { headers: { 'x-seen': answer.headers.get('x-name') ?? '', 'x-seen-too': answer.headers.get('content-disposition') ?? '' } });
  },
};`;

interface Mirrored {
  readonly url: string;
  readonly cf: unknown;
  readonly headers: Readonly<Record<string, string>>;
}

const issuer = generateKeyPairSync('ed25519');
const jwks = {
  keys: [{ kty: 'OKP' as const, crv: 'Ed25519', x: issuer.publicKey.export({ format: 'jwk' }).x }],
};
let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start({ settings: { ISOPLANE_TRUSTED_PROXIES: '127.0.0.1' } });
  const { api } = platform;
  const open = { auth: { mode: 'public' as const } };
  await api.publish('mirror', { modules: { 'index.js': MIRROR }, config: open });
  await api.publish('signed', { modules: { 'index.js': MIRROR } });
  await api.publish('guarded', {
    modules: { 'index.js': MIRROR },
    config: {
      auth: { mode: 'jwt', audience: 'guarded', jwks, tokenQuery: 'access_token' },
      authByPath: [{ path: '/health', auth: { mode: 'public' } }],
      cors: { origins: ['https://app.example.com'] },
    },
  });
  await api.deploy('caller', {
    modules: { 'index.js': CALLER },
    config: { ...open, services: [{ binding: 'MIRROR', function: 'mirror' }] },
  });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

async function mirrored(name: string, options: Parameters<TestPlatform['call']>[1]): Promise<Mirrored> {
  return JSON.parse((await platform.call(name, options)).text) as Mirrored;
}

const PROXIED = { 'x-forwarded-for': '192.0.2.7', 'x-forwarded-proto': 'https' };

describe('a function', () => {
  test('sees the scheme and the address of the client behind a proxy', async ({ expect }) => {
    const seen = await mirrored('mirror', { path: '/a?b=1', headers: { ...PROXIED, 'cf-ray': 'evil' } });
    expect(seen.url).toBe(`https://${hostOf(platform.gatewayUrl, 'mirror')}/a?b=1`);
    expect(seen.headers).toMatchObject({
      'cf-connecting-ip': '192.0.2.7',
      'isoplane-client-address': '192.0.2.7',
      'x-forwarded-proto': 'https',
    });
    expect(
      Object.keys(seen.headers).filter((name) => /^isoplane-scheme|^cf-(?!conn)|forwarded-for/.test(name)),
    ).toEqual([]);
    expect(seen.cf).toEqual({});
    expect((await mirrored('mirror', { path: '/' })).url).toMatch(/^http:\/\//);
  });

  test.for(['/a/../b', '/%61', '/a\\b', '//a/b', '/a%2Fb', '/%2e%2e/%00', '/a?'])(
    'sees the path of %j that was routed',
    async (target, { expect }) => {
      const host = hostOf(platform.gatewayUrl, 'mirror');
      const text = await rawExchange(
        platform.gatewayUrl,
        `GET ${target} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`,
        10_000,
      );
      const { url } = JSON.parse(/\{.*\}/s.exec(text)?.[0] ?? '{}') as Mirrored;
      const expected: Record<string, string> = {
        '/a/../b': '/b',
        '/%61': '/a',
        '/a\\b': '/a/b',
        '/%2e%2e/%00': '/%00',
      };
      expect(url).toBe(`http://${host}${expected[target] ?? target}`);
      expect(new URL(url).href).toBe(url);
    },
  );

  test('that verifies nothing itself gets calls signed for https', async ({ expect }) => {
    const url = `https://${hostOf(platform.gatewayUrl, 'signed')}/a?`;
    const headers = await signRequest({ method: 'GET', url }, platform.api.key, {
      nowMs: Date.now(),
      cover: ['@method', '@authority', '@target-uri'],
    });
    const lines = Object.entries({ ...headers, ...PROXIED }).map(([name, value]) => `${name}: ${value}\r\n`);
    const text = await rawExchange(
      platform.gatewayUrl,
      `GET /a? HTTP/1.1\r\nhost: ${new URL(url).host}\r\nconnection: close\r\n${lines.join('')}\r\n`,
      10_000,
    );
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(text).not.toContain('signature');
  });

  test('answers clients that end their side', async ({ expect }) => {
    const { hostname, port } = new URL(platform.gatewayUrl);
    const text = await new Promise<string>((resolve) => {
      let received = '';
      const socket = connect(Number(port), hostname, () =>
        socket.end(
          `POST / HTTP/1.1\r\nhost: ${hostOf(platform.gatewayUrl, 'mirror')}\r\ncontent-length: 3\r\n\r\nabc`,
        ),
      );
      socket.on('data', (chunk) => (received += chunk.toString('latin1')));
      socket.on('close', () => resolve(received));
    });
    expect(text).toMatch(/^HTTP\/1\.1 200 [^]*"body":"abc"/);
  });

  test('sets no cookies for its neighbours', async ({ expect }) => {
    expect((await platform.call('mirror', { path: '/cookie' })).headers['set-cookie']).toBe('a=b');
  });
});

describe('bytes of header values', () => {
  test.for(['日本.txt', 'ü.txt', 'plain.txt'])(
    'of %s arrive, here and through a binding',
    async (name, { expect }) => {
      const path = `/?name=${encodeURIComponent(name)}`;
      const get = async (host: string, at: string): Promise<string> =>
        rawExchange(
          platform.gatewayUrl,
          `GET ${at} HTTP/1.1\r\nhost: ${hostOf(platform.gatewayUrl, host)}\r\nconnection: close\r\n\r\n`,
          10_000,
        );
      const direct = await get('mirror', path);
      expect(direct).toMatch(/^HTTP\/1\.1 200 /);
      const value = /^x-name: (.*)\r$/im.exec(direct)?.[1];
      expect(direct).toContain(`attachment; filename="${value}"`);
      expect(value).toBe(name);
      const bound = await get('caller', `/?target=${encodeURIComponent(`http://mirror${path}`)}`);
      expect([/^x-seen: (.*)\r$/im.exec(bound)?.[1], /^x-seen-too: (.*)\r$/im.exec(bound)?.[1]]).toEqual([
        value,
        `attachment; filename="${value}"`,
      ]);
    },
  );
});

describe('a function that is called by another', () => {
  test('sees the scheme that was fetched, and no claims of the caller about clients', async ({ expect }) => {
    for (const scheme of ['http', 'https']) {
      const target = encodeURIComponent(`${scheme}://mirror/x?y=1`);
      const { url, headers } = await mirrored('caller', { path: `/?target=${target}` });
      expect(url).toBe(`${scheme}://mirror/x?y=1`);
      expect(headers).toMatchObject({ 'x-own': '1', 'isoplane-principal': 'function:default/caller' });
      expect(JSON.stringify(headers)).not.toMatch(/evil|gopher|isoplane-scheme/);
    }
  });

  test('says its last word over a WebSocket', async ({ expect }) => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => (await platform.call('caller', { path: '/ws' })).text),
    );
    expect(answers).toEqual(Array.from({ length: 20 }, () => '4000 bye'));
  });
});

describe('a browser', () => {
  const token = (): Promise<string> =>
    new SignJWT({})
      .setProtectedHeader({ alg: 'EdDSA' })
      .setSubject('ada')
      .setAudience('guarded')
      .setExpirationTime('5m')
      .sign(issuer.privateKey);

  test('may ask before it calls, and reads what it is refused', async ({ expect }) => {
    const headers = { origin: 'https://app.example.com', 'access-control-request-method': 'POST' };
    expect(await platform.call('guarded', { method: 'OPTIONS', headers })).toMatchObject({
      status: 204,
      headers: { 'access-control-allow-origin': 'https://app.example.com' },
    });
    expect(await platform.call('guarded', { headers })).toMatchObject({
      status: 401,
      headers: { 'access-control-allow-origin': 'https://app.example.com' },
    });
    expect((await platform.call('guarded', { path: '/health' })).status).toBe(200);
  });

  test('brings its token in a subprotocol, which the function does not see', async ({ expect }) => {
    const talk = async (...more: string[]): Promise<unknown[]> => {
      const lines = [
        `GET /ws HTTP/1.1`,
        `host: ${hostOf(platform.gatewayUrl, 'guarded')}`,
        'connection: Upgrade',
        'upgrade: websocket',
        'sec-websocket-version: 13',
        'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==',
        `sec-websocket-protocol: ${['isoplane.bearer', await token(), ...more].join(', ')}`,
      ];
      const text = await rawExchange(platform.gatewayUrl, `${lines.join('\r\n')}\r\n\r\n`, 2_000);
      const said = JSON.parse(/\{.*\}/s.exec(text)?.[0] ?? '{}') as Record<string, unknown>;
      return [said['principal'], said['protocol'], /^sec-websocket-protocol: (.*)\r$/im.exec(text)?.[1]];
    };
    expect(await talk()).toEqual(['token:ada', null, 'isoplane.bearer']);
    expect(await talk('chat')).toEqual(['token:ada', 'chat', 'isoplane.bearer']);
  });

  test('brings its token in the query where the function allows it', async ({ expect }) => {
    const seen = await mirrored('guarded', { path: `/events?a=1&access_token=${await token()}` });
    expect([new URL(seen.url).search, seen.headers['isoplane-principal']]).toEqual(['?a=1', 'token:ada']);
  });
});
