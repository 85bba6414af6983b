/**
 * Goal: what a caller may not do is refused with its own code before it reaches code. Method: requests to a
 * running platform, as bytes where no client would send them.
 */
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { Readable } from 'node:stream';
import { SignJWT, UnsecuredJWT } from 'jose';
import { request } from 'undici';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { rawExchange } from '../support/raw.ts';
import { hostOf, signedHeaders, TestPlatform } from '../support/platform.ts';
import { importSigningKey } from '#shared/signatures/sign.ts';

const ISSUER = 'https://issuer.example';
const BODY_LIMIT = 1_000;
/** Says what arrived, so that nothing can be hidden in it. */
const MIRROR = `
let calls = 0;
export default {
  async fetch(request) {
    calls += 1;
    const body = await request.text();
    return Response.json({ calls, method: request.method, url: request.url, headers: Object.fromEntries(request.headers), bytes: body.length });
  },
};
`;
const mirrorSchema = z.object({ headers: z.record(z.string(), z.string()) });
const issuerKey = generateKeyPairSync('ed25519');
const stranger = generateKeyPairSync('ed25519');
const publicJwk = issuerKey.publicKey.export({ format: 'jwk' });
let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start();
  const { api } = platform;
  const modules = { 'index.js': MIRROR };
  await api.publish('signed', { modules });
  await api.publish('open', {
    modules,
    config: { auth: { mode: 'public' }, limits: { requestBodyBytes: BODY_LIMIT } },
  });
  await api.deploy('tokens', {
    modules,
    config: {
      auth: {
        mode: 'jwt',
        issuer: ISSUER,
        audience: 'tokens',
        jwks: { keys: [{ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', kid: 'k1', x: publicJwk.x }] },
      },
    },
  });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

describe('a signature', () => {
  test('that verifies is accepted', async ({ expect }) => {
    expect((await platform.call('signed', { sign: true })).status).toBe(200);
    expect((await platform.call('signed', { method: 'POST', body: 'data', sign: true })).status).toBe(200);
  });

  test('that is missing is refused with how to sign', async ({ expect }) => {
    const answer = await platform.call('signed');
    expect(answer).toMatchObject({ status: 401, code: 'signature_missing' });
    expect(answer.text).toContain('isoplane invoke');
  });

  test('of a key that nobody registered is refused', async ({ expect }) => {
    const secret = stranger.privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64url');
    const unknown = await importSigningKey({ keyId: 'nobody', algorithm: 'ed25519', secret });
    expect(await platform.call('signed', { sign: { key: unknown } })).toMatchObject({
      status: 401,
      code: 'signature_invalid',
    });
    const pretender = await importSigningKey({ keyId: platform.api.key.keyId, algorithm: 'ed25519', secret });
    expect(await platform.call('signed', { sign: { key: pretender } })).toMatchObject({
      status: 401,
      code: 'signature_invalid',
    });
  });

  test('made for another path, method or host is refused', async ({ expect }) => {
    const headers = await signedHeaders(platform.gatewayUrl, 'signed', { path: '/mine' }, platform.api.key);
    for (const options of [{ path: '/other' }, { path: '/mine?more=1' }, { path: '/mine', method: 'DELETE' }])
      expect(await platform.call('signed', { ...options, headers })).toMatchObject({
        status: 401,
        code: 'signature_invalid',
      });
    const elsewhere = await signedHeaders(platform.gatewayUrl, 'other', {}, platform.api.key);
    expect((await platform.call('signed', { headers: elsewhere })).code).toBe('signature_invalid');
  });

  test('that has expired is refused', async ({ expect }) => {
    const sign = { nowMs: Date.now() - 600_000, ttlMs: 60_000 };
    expect(await platform.call('signed', { sign })).toMatchObject({ status: 401, code: 'signature_expired' });
  });

  test('that is not yet valid is refused', async ({ expect }) => {
    const sign = { nowMs: Date.now() + 600_000 };
    expect(await platform.call('signed', { sign })).toMatchObject({
      status: 401,
      code: 'signature_not_yet_valid',
    });
  });

  test('that was used before is refused as a replay', async ({ expect }) => {
    const headers = await signedHeaders(platform.gatewayUrl, 'signed', {}, platform.api.key);
    expect((await platform.call('signed', { headers })).status).toBe(200);
    expect(await platform.call('signed', { headers })).toMatchObject({
      status: 401,
      code: 'signature_replayed',
    });
  });

  test('does not cover another body', async ({ expect }) => {
    const signed = await signedHeaders(
      platform.gatewayUrl,
      'signed',
      { method: 'POST', body: 'pay 1' },
      platform.api.key,
    );
    const answer = await platform.call('signed', { method: 'POST', body: 'pay 9', headers: signed });
    expect(answer).toMatchObject({ status: 401, code: 'digest_mismatch' });
  });
});

describe('a token', () => {
  const claims = (audience = 'tokens') =>
    new SignJWT({}).setSubject('ada').setIssuer(ISSUER).setAudience(audience).setIssuedAt();
  const call = (token: string) => platform.call('tokens', { headers: { authorization: `Bearer ${token}` } });
  const refused = { status: 401, code: 'token_invalid' };

  test('that verifies is accepted, also the second time', async ({ expect }) => {
    const token = await claims()
      .setProtectedHeader({ alg: 'EdDSA', kid: 'k1' })
      .setExpirationTime('5m')
      .sign(issuerKey.privateKey);
    expect((await call(token)).status).toBe(200);
    expect((await call(token)).status).toBe(200);
  });

  test('with alg none is refused', async ({ expect }) => {
    const token = new UnsecuredJWT({})
      .setIssuer(ISSUER)
      .setAudience('tokens')
      .setExpirationTime('5m')
      .encode();
    expect(await call(token)).toMatchObject(refused);
  });

  test('signed with the public key as a shared secret is refused', async ({ expect }) => {
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const exp = Math.floor(Date.now() / 1000) + 300;
    const signed = `${encode({ alg: 'HS256', kid: 'k1' })}.${encode({ iss: ISSUER, aud: 'tokens', exp })}`;
    const secret = Buffer.from(publicJwk.x ?? '', 'base64url');
    const token = `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
    expect(await call(token)).toMatchObject(refused);
  });

  test('for another audience is refused', async ({ expect }) => {
    const token = await claims('elsewhere')
      .setProtectedHeader({ alg: 'EdDSA', kid: 'k1' })
      .setExpirationTime('5m')
      .sign(issuerKey.privateKey);
    expect(await call(token)).toMatchObject(refused);
  });

  test('with an unknown kid is refused', async ({ expect }) => {
    const token = await claims()
      .setProtectedHeader({ alg: 'EdDSA', kid: 'k2' })
      .setExpirationTime('5m')
      .sign(issuerKey.privateKey);
    expect(await call(token)).toMatchObject(refused);
  });

  test('of another key under a known kid is refused', async ({ expect }) => {
    const token = await claims()
      .setProtectedHeader({ alg: 'EdDSA', kid: 'k1' })
      .setExpirationTime('5m')
      .sign(stranger.privateKey);
    expect(await call(token)).toMatchObject(refused);
  });

  test('that has expired is refused as such', async ({ expect }) => {
    const token = await claims()
      .setProtectedHeader({ alg: 'EdDSA', kid: 'k1' })
      .setExpirationTime(Math.floor(Date.now() / 1000) - 3_600)
      .sign(issuerKey.privateKey);
    expect(await call(token)).toMatchObject({ status: 401, code: 'token_expired' });
  });
});

describe('a request body', () => {
  test('at the limit passes, one byte over it is refused', async ({ expect }) => {
    const at = await platform.call('open', { method: 'POST', body: 'x'.repeat(BODY_LIMIT) });
    expect(JSON.parse(at.text)).toMatchObject({ bytes: BODY_LIMIT });
    const over = await platform.call('open', { method: 'POST', body: 'x'.repeat(BODY_LIMIT + 1) });
    expect(over).toMatchObject({ status: 413, code: 'body_too_large' });
  });

  test('of unknown length is counted while it streams', async ({ expect }) => {
    async function* chunks(): AsyncGenerator<Uint8Array> {
      for (let index = 0; index < 20; index += 1) yield new Uint8Array(100);
    }
    const response = await request(platform.gatewayUrl, {
      method: 'POST',
      headers: { host: hostOf(platform.gatewayUrl, 'open') },
      body: Readable.from(chunks()),
    });
    expect(response.statusCode).toBe(413);
    expect(await response.body.json()).toMatchObject({ code: 'body_too_large' });
  });
});

describe('bytes that mean two things', () => {
  const post = (lines: readonly string[], body: string): string =>
    [`POST /first HTTP/1.1`, `Host: ${hostOf(platform.gatewayUrl, 'open')}`, ...lines, '', body].join('\r\n');
  const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';
  const cases: readonly (readonly [what: string, lines: readonly string[], body: string])[] = [
    ['two different content lengths', ['Content-Length: 5', 'Content-Length: 6'], 'hello'],
    ['two equal content lengths', ['Content-Length: 5', 'Content-Length: 5'], 'hello'],
    ['a list as content length', ['Content-Length: 5, 5'], 'hello'],
    ['a signed content length', ['Content-Length: +5'], 'hello'],
    ['both length headers', ['Content-Length: 4', 'Transfer-Encoding: chunked'], `0\r\n\r\n${SMUGGLED}`],
    [
      'both length headers, the other way',
      ['Transfer-Encoding: chunked', 'Content-Length: 4'],
      `0\r\n\r\n${SMUGGLED}`,
    ],
    ['an unknown transfer encoding', ['Transfer-Encoding: xchunked'], `0\r\n\r\n${SMUGGLED}`],
    ['chunked that is not last', ['Transfer-Encoding: chunked, identity'], `0\r\n\r\n${SMUGGLED}`],
    ['a space before the colon', ['Transfer-Encoding : chunked'], `0\r\n\r\n${SMUGGLED}`],
    ['a folded header', ['X-A: one', ' two'], ''],
    ['a null character', ['X-A: a\0b'], ''],
    ['a bare carriage return', ['X-A: a\rTransfer-Encoding: chunked'], ''],
    ['a control character in a name', ['X\x01A: a'], ''],
    ['a bad chunk size', ['Transfer-Encoding: chunked'], `5;\nhello\r\n0\r\n\r\n${SMUGGLED}`],
    ['two hosts', ['Host: other.localhost'], ''],
  ];
  for (const [what, lines, body] of cases)
    test(`${what}: refused, and nothing behind it is read as a request`, async ({ expect }) => {
      const text = await rawExchange(platform.gatewayUrl, post(lines, body), 500);
      expect(text).toMatch(/^HTTP\/1\.1 (?:400|431|501) /);
      expect(text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
      expect(text).not.toContain('smuggled');
      expect(text).toMatch(/"code":"(?:header_invalid|bad_request)"/);
    });

  test('headers of the platform and of the connection do not pass from outside', async ({ expect }) => {
    const text = await rawExchange(
      platform.gatewayUrl,
      post(
        [
          'isoplane-principal: root',
          'Isoplane-Claims: e30',
          'isoplane-deadline-ms: 1',
          'Connection: x-hop, close',
          'X-Hop: 1',
          'Keep-Alive: timeout=9',
          'Proxy-Authorization: Basic x',
          'Content-Length: 0',
        ],
        '',
      ),
      2_000,
    );
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    const { headers } = mirrorSchema.parse(JSON.parse(/\{.*\}/s.exec(text)?.[0] ?? ''));
    for (const name of [
      'isoplane-principal',
      'isoplane-claims',
      'x-hop',
      'keep-alive',
      'proxy-authorization',
      'te',
      'isoplane-deadline-ms',
    ])
      expect(Object.keys(headers)).not.toContain(name);
  });

  test('a head that is too large is refused', async ({ expect }) => {
    const text = await rawExchange(platform.gatewayUrl, post([`X-A: ${'a'.repeat(64 * 1024)}`], ''), 500);
    expect(text).toMatch(/^HTTP\/1\.1 431 /);
    const url = await platform.call('open', { path: `/${'a'.repeat(17 * 1024)}` });
    expect(url).toMatchObject({ status: 414, code: 'url_too_long' });
  });

  test('a host that names nothing is not found', async ({ expect }) => {
    expect(await platform.call('no-such-function')).toMatchObject({
      status: 404,
      code: 'function_not_found',
    });
  });
});
