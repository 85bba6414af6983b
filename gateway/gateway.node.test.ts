/** The main path over real sockets: host → function → who calls → lease → an instance's Unix socket. */
import { readFile, mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, test } from 'vitest';
import { SignJWT } from 'jose';
import { toBase64Url } from '#shared/encoding.ts';
import { importKeyEncryptionKey, seal } from '#shared/seal.ts';
import { importSigningKey, signRequest } from '#shared/signatures/sign.ts';
import type { Auth } from '#shared/contracts/config.ts';
import { startHarness, type Harness } from './testing/harness.node.ts';
import { functionItems, keyItem, routeItem } from './testing/items.ts';

let harness: Harness | undefined;
afterEach(async () => {
  await harness?.[Symbol.asyncDispose]();
  harness = undefined;
});

const SECRET = new Uint8Array(32).fill(7);
const TOKEN_KEY = { kty: 'oct' as const, kid: 'one', k: toBase64Url(SECRET), alg: 'HS256' };
const jwtAuth: Auth = {
  mode: 'jwt',
  jwks: { keys: [TOKEN_KEY] },
  issuer: 'https://issuer.test',
  audience: 'hello',
};

describe('gateway', () => {
  test('streams a public call from the instance and marks the first one as a cold start', async ({
    expect,
  }) => {
    harness = await startHarness(functionItems('hello'));
    await harness.instance((request, response) => {
      response.end(JSON.stringify({ url: request.url, host: request.headers.host }));
    });
    const cold = await harness.request('hello.localhost:8787', { path: '/a/b?c=1' });
    expect(cold.status).toBe(200);
    expect(cold.headers.get('isoplane-version')).toBe('default/hello@1');
    expect(cold.headers.get('isoplane-cold-start')).toBe('1');
    expect(cold.headers.get('isoplane-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    expect(await cold.json()).toEqual({ url: '/a/b?c=1', host: 'hello.localhost:8787' });
    const warm = await harness.request('hello.localhost');
    expect(warm.headers.get('isoplane-cold-start')).toBe(null);
    await warm.text();
    expect(harness.script.acquires).toEqual([{ versionId: 'default/hello@1', waiting: 1 }]);
  });

  test('answers /healthz on the bare domain and refuses unknown hosts', async ({ expect }) => {
    harness = await startHarness(functionItems('hello'));
    expect(await (await harness.request('localhost', { path: '/healthz' })).json()).toEqual({
      status: 'ok',
      revision: 1,
    });
    const unknown = await harness.request('nobody.localhost');
    expect([unknown.status, ((await unknown.json()) as { code: string }).code]).toEqual([
      404,
      'function_not_found',
    ]);
  });

  test('a gateway that has not heard control says of nothing that it does not exist, and serves what it has', async ({
    expect,
  }) => {
    harness = await startHarness(functionItems('hello'), { control: false });
    const unknown = await harness.request('nobody.localhost');
    expect([unknown.status, ((await unknown.json()) as { code: string }).code]).toEqual([
      503,
      'control_unavailable',
    ]);
    expect(unknown.headers.get('retry-after')).toBe('1');
    const known = await harness.request('hello.localhost');
    expect(((await known.json()) as { code: string }).code).not.toBe('control_unavailable');
  });

  test('lets signed requests through with ed25519 and hmac-sha256, body included', async ({ expect }) => {
    const pair = generateKeyPairSync('ed25519');
    const kek = toBase64Url(new Uint8Array(32).fill(1));
    const sealedSecret = await seal(await importKeyEncryptionKey(kek), SECRET, 'shared');
    harness = await startHarness([
      ...functionItems('hello', { auth: { mode: 'signed' } }),
      keyItem({
        id: 'pair',
        material: { algorithm: 'ed25519', publicKey: pair.publicKey.export({ format: 'jwk' }).x ?? '' },
      }),
      keyItem({ id: 'shared', material: { algorithm: 'hmac-sha256', sealedSecret } }),
    ]);
    await mkdir(dirname(harness.layout.keyEncryptionKey), { recursive: true });
    await writeFile(harness.layout.keyEncryptionKey, kek);
    await harness.instance((request, response) => {
      response.write(`${String(request.headers['isoplane-principal'])} `);
      request.pipe(response);
    });
    const keys = [
      {
        keyId: 'pair',
        algorithm: 'ed25519' as const,
        secret: toBase64Url(pair.privateKey.export({ format: 'der', type: 'pkcs8' })),
      },
      { keyId: 'shared', algorithm: 'hmac-sha256' as const, secret: toBase64Url(SECRET) },
    ];
    for (const parts of keys) {
      const body = new TextEncoder().encode('payload');
      const headers = await signRequest(
        { method: 'POST', url: 'http://hello.localhost/run?x=1', headers: { host: 'hello.localhost' }, body },
        await importSigningKey(parts),
        { nowMs: Date.now() },
      );
      const answer = await harness.request('hello.localhost', {
        method: 'POST',
        path: '/run?x=1',
        headers,
        body: 'payload',
      });
      expect([answer.status, await answer.text()]).toEqual([200, `key:${parts.keyId} payload`]);
    }
    const unsigned = await harness.request('hello.localhost');
    expect(unsigned.status).toBe(401);
    expect(unsigned.headers.get('accept-signature')).toContain('"@authority"');
    expect(await unsigned.json()).toMatchObject({
      code: 'signature_missing',
      howToCall: { command: 'isoplane invoke hello' },
    });
  });

  test('tells whoever does not sign the command that does, and no name behind a route', async ({
    expect,
  }) => {
    const weights = [{ version: 1, weight: 100 }];
    const started = await startHarness([
      ...functionItems('hello', { auth: { mode: 'signed' }, aliases: { live: weights, beta: weights } }),
      routeItem('r1', { host: 'www.example.com', path: '/*', function: 'hello' }),
    ]);
    harness = started;
    const commandAt = async (host: string): Promise<unknown> => {
      const body = (await (await started.request(host)).json()) as { howToCall?: { command: string } };
      return body.howToCall?.command;
    };
    expect(await commandAt('hello.localhost')).toBe('isoplane invoke hello');
    expect(await commandAt('beta--Hello.localhost:8787')).toBe('isoplane invoke hello --alias beta');
    expect(await commandAt('www.example.com')).toBe('isoplane invoke FUNCTION');
  });

  test('says that a key cannot be checked while its secret does not open, and checks it once it does', async ({
    expect,
  }) => {
    const kek = toBase64Url(new Uint8Array(32).fill(1));
    const sealedSecret = await seal(await importKeyEncryptionKey(kek), SECRET, 'shared');
    harness = await startHarness([
      ...functionItems('hello', { auth: { mode: 'signed' } }),
      keyItem({ id: 'shared', material: { algorithm: 'hmac-sha256', sealedSecret } }),
    ]);
    await harness.instance((_request, response) => response.end('checked'));
    const running = harness;
    const { layout } = running;
    const call = async (): Promise<unknown[]> => {
      const headers = await signRequest(
        { method: 'GET', url: 'http://hello.localhost/', headers: { host: 'hello.localhost' } },
        await importSigningKey({ keyId: 'shared', algorithm: 'hmac-sha256', secret: toBase64Url(SECRET) }),
        { nowMs: Date.now() },
      );
      const answer = await running.request('hello.localhost', { headers });
      const text = await answer.text();
      return [answer.status, answer.headers.get('retry-after'), /"code":"(\w+)"/.exec(text)?.[1] ?? text];
    };
    const refused = [503, '1', 'secret_unavailable'];
    expect(await call()).toEqual(refused);
    await mkdir(dirname(layout.keyEncryptionKey), { recursive: true });
    await writeFile(layout.keyEncryptionKey, 'cut');
    expect(await call()).toEqual(refused);
    await writeFile(layout.keyEncryptionKey, kek);
    expect(await call()).toEqual([200, null, 'checked']);
  });

  test('lets a verified token through and hands its claims to the instance', async ({ expect }) => {
    harness = await startHarness(functionItems('hello', { auth: jwtAuth }));
    await harness.instance((request, response) =>
      response.end(Buffer.from(String(request.headers['isoplane-claims']), 'base64url')),
    );
    const token = await new SignJWT({ role: 'admin' })
      .setProtectedHeader({ alg: 'HS256', kid: 'one' })
      .setIssuer('https://issuer.test')
      .setAudience('hello')
      .setSubject('ada')
      .setExpirationTime('1h')
      .sign(SECRET);
    for (let round = 0; round < 2; round += 1) {
      const answer = await harness.request('hello.localhost', {
        headers: { authorization: `Bearer ${token}`, 'isoplane-claims': 'forged' },
      });
      expect(await answer.json()).toMatchObject({ sub: 'ada', role: 'admin' });
    }
    const refused = await harness.request('hello.localhost');
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([
      401,
      'Bearer realm="isoplane"',
    ]);
  });

  test('serves from the snapshot on disk while control is gone', async ({ expect }) => {
    harness = await startHarness(functionItems('hello'));
    expect(await readFile(harness.layout.gatewaySnapshot('gateway-1'), 'utf8')).toContain('default/hello@1');
    await harness.instance((_request, response) => response.end('served'));
    expect(await (await harness.request('hello.localhost')).text()).toBe('served');
  });
});
