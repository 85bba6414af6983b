/** The same app on workerd: bundled as it would be deployed, run in miniflare, with a scripted origin. */
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Miniflare, Response as MiniflareResponse } from 'miniflare';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { SignJWT } from 'jose';
import { toBase64Url } from '#shared/encoding.ts';
import { functionItems, keyItem, stateOf } from './testing/items.ts';

const SECRET = new Uint8Array(32).fill(9);
const snapshot = JSON.stringify(
  stateOf([
    ...functionItems('open'),
    ...functionItems('token', {
      auth: {
        mode: 'jwt',
        jwks: { keys: [{ kty: 'oct', k: toBase64Url(SECRET) }] },
        audience: 'token',
      },
    }),
    ...functionItems('sealed', { auth: { mode: 'signed' } }),
    keyItem({ id: 'k', material: { algorithm: 'hmac-sha256', sealedSecret: 'v1.unreadable' } }),
  ]).toSnapshot(),
);

describe('gateway on workerd', () => {
  let miniflare: Miniflare;

  beforeAll(async () => {
    const bundle = await build({
      entryPoints: [fileURLToPath(new URL('worker.ts', import.meta.url))],
      bundle: true,
      format: 'esm',
      write: false,
      target: 'es2022',
      conditions: ['workerd', 'worker', 'browser'],
    });
    const origin = async (request: {
      method: string;
      url: string;
      headers: { get(name: string): string | null };
      text(): Promise<string>;
    }): Promise<MiniflareResponse> =>
      MiniflareResponse.json({
        method: request.method,
        url: request.url,
        forged: request.headers.get('isoplane-principal'),
        authorization: request.headers.get('authorization') !== null,
        body: await request.text(),
      });
    const common = {
      modules: [
        { type: 'ESModule' as const, path: 'worker.mjs', contents: bundle.outputFiles[0]?.text ?? '' },
      ],
      compatibilityDate: '2025-09-01',
    };
    miniflare = new Miniflare({
      workers: [
        {
          ...common,
          name: 'bound',
          bindings: { BASE_DOMAIN: 'edge.test', SNAPSHOT: snapshot },
          serviceBindings: { ORIGIN: origin },
        },
        {
          ...common,
          name: 'fed',
          bindings: { BASE_DOMAIN: 'edge.test' },
          serviceBindings: { ORIGIN: origin, CONTROL: () => new MiniflareResponse(`${snapshot}\n`) },
        },
      ],
    });
    await miniflare.ready;
  });
  afterAll(() => miniflare.dispose());

  const call = async (
    url: string,
    init: RequestInit = {},
    worker = 'bound',
  ): Promise<{ status: number; body: Record<string, unknown> }> => {
    const fetcher = await miniflare.getWorker(worker);
    const response = await fetcher.fetch(url, init as object);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  test.for(['bound', 'fed'])(
    'forwards a public call to the origin (%s snapshot)',
    async (worker, { expect }) => {
      const answer = await call(
        'http://open.edge.test/a?b=1',
        { method: 'POST', body: 'payload', headers: { 'isoplane-principal': 'forged' } },
        worker,
      );
      expect(answer).toEqual({
        status: 200,
        body: {
          method: 'POST',
          url: 'http://open.edge.test/a?b=1',
          forged: null,
          authorization: false,
          body: 'payload',
        },
      });
    },
  );

  test('refuses unknown hosts, missing tokens and unsigned calls by itself', async ({ expect }) => {
    expect((await call('http://nobody.edge.test/')).body['code']).toBe('function_not_found');
    expect((await call('http://token.edge.test/')).body['code']).toBe('token_missing');
    expect((await call('http://sealed.edge.test/')).body['code']).toBe('signature_missing');
    expect((await call('http://edge.test/healthz')).body).toEqual({ status: 'ok', revision: 1 });
  });

  test('passes a verified token on with the original credentials', async ({ expect }) => {
    const token = await new SignJWT({})
      .setProtectedHeader({ alg: 'HS256' })
      .setAudience('token')
      .setExpirationTime('1h')
      .sign(SECRET);
    const answer = await call('http://token.edge.test/', { headers: { authorization: `Bearer ${token}` } });
    expect([answer.status, answer.body['authorization']]).toEqual([200, true]);
  });

  test('leaves signatures under sealed secrets to the origin', async ({ expect }) => {
    const created = Math.floor(Date.now() / 1000);
    const answer = await call('http://sealed.edge.test/', {
      headers: {
        'signature-input': `s=("@method" "@authority" "@path" "@query");created=${created};nonce="n";keyid="k"`,
        signature: 's=:AAAA:',
      },
    });
    expect(answer.status).toBe(200);
  });
});
