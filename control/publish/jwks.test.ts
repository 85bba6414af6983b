/** Key sets of token issuers: what is refused when it is given, and that no secret is stored or shown in plain. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exportJWK, generateKeyPair } from 'jose';
import { describe, test } from 'vitest';
import { jwksProblems, jwksSchema } from '#shared/contracts/jwks.ts';
import { world, type World } from '../testing/world.ts';
import { sealStoredSecrets } from './stored-secrets.ts';

const SECRET = randomBytes(32).toString('base64url');
const pair = await generateKeyPair('ES256', { extractable: true });
const publicKey = { ...(await exportJWK(pair.publicKey)), kid: 'es' };
const auth = (keys: unknown[]): never =>
  ({ mode: 'jwt', audience: 'a', issuer: 'i', jwks: { keys } }) as never;

/** All bytes that control keeps on disk, its write-ahead log included. */
async function stored(w: World): Promise<string> {
  const parts = ['control.db', 'control.db-wal'].map((name) =>
    readFile(join(w.folder, name), 'latin1').catch(() => ''),
  );
  return (await Promise.all(parts)).join('');
}

describe('a key set', () => {
  test.for([
    ['a private key', [{ ...publicKey, d: 'AAAA' }], 'private key'],
    ['a secret of one byte', [{ kty: 'oct', k: 'AA' }], '1 bytes; the least'],
    ['a secret without its bytes', [{ kty: 'oct', kid: 'x' }], 'holds its secret'],
    ['a sealed secret from outside', [{ kty: 'oct', sealed: 'v1.AAAA' }], "the platform's own"],
    ['keys of unknown types alone', [{ kty: 'AKP', pub: 'AAAA' }], 'no key of the set can verify'],
    ['keys for encryption alone', [{ ...publicKey, use: 'enc' }], 'no key of the set can verify'],
    ['an RSA key of 1,024 bits', [{ kty: 'RSA', e: 'AQAB', n: 'A'.repeat(171) }], '2,048'],
    [
      'two keys without an id',
      [
        { ...publicKey, kid: undefined },
        { ...publicKey, kid: undefined },
      ],
      'at most one key',
    ],
    ['half a key', [{ kty: 'EC', crv: 'P-256', x: 'AAAA' }], 'y: '],
  ] as const)('with %s is refused at publish and for accounts', async ([, keys, message], { expect }) => {
    expect(jwksProblems({ keys })[0]?.message).toContain(message);
    await using w = await world();
    const published = await w.publish('hello', undefined, { config: { auth: auth([...keys]) } });
    expect([published.status, published.body.code]).toEqual([422, 'config_invalid']);
    expect(published.body.detail).toContain(message);
    const authByPath = [{ path: '/admin/*', auth: auth([...keys]) }];
    const forPath = await w.publish('hello', undefined, { config: { authByPath } });
    expect([forPath.status, forPath.body.code]).toEqual([422, 'config_invalid']);
    expect(forPath.body.detail).toContain(message);
    const issuer = await w.call('PATCH', '/v1/accounts/default', {
      body: { issuer: { issuer: 'i', jwks: { keys } } },
    });
    expect([issuer.status, issuer.body['code']]).toEqual([422, 'config_invalid']);
  });
  test('may hold members and keys that nobody here knows', async ({ expect }) => {
    const set = {
      version: 2,
      keys: [
        { ...publicKey, x5c: ['A'.repeat(5_000)], future: { a: 1 } },
        { kty: 'AKP', kid: 'pq', pub: 'A'.repeat(9_000) },
      ],
    };
    expect(jwksProblems(set)).toEqual([]);
    expect(jwksSchema.parse(set).keys).toEqual([publicKey]);
    await using w = await world();
    const published = await w.publish('hello', undefined, { config: { auth: auth(set.keys) } });
    expect(published.status).toBe(201);
    expect(JSON.stringify(published.body)).not.toContain('AAAAAA');
  });
});

describe('the secret of an issuer', () => {
  const keys = [{ kty: 'oct', kid: 'hs', k: SECRET }];
  test('stands nowhere on the disk and in no answer', async ({ expect }) => {
    await using w = await world();
    const authByPath = [{ path: '/admin/*', auth: auth(keys) }];
    const published = await w.publish('hello', undefined, { config: { auth: auth(keys), authByPath } });
    const account = await w.call('PATCH', '/v1/accounts/default', {
      body: { issuer: { issuer: 'i', jwks: { keys } } },
    });
    const shown = [
      published,
      account,
      await w.call('GET', '/v1/accounts/default'),
      await w.call('GET', '/v1/accounts/default/functions/hello/versions'),
    ];
    expect(shown.map(({ status }) => status)).toEqual([201, 200, 200, 200]);
    // What was stored is there to be found.
    expect(await stored(w)).toContain('"kid":"hs"');
    const texts = [...shown.map(({ body }) => JSON.stringify(body)), await stored(w)];
    expect(texts.filter((text) => text.includes(SECRET))).toEqual([]);
    // Not even sealed: who may read configurations need not hold it.
    expect(texts.slice(0, -1).filter((text) => text.includes('sealed'))).toEqual([]);
    expect(texts[0]).toContain('"kid":"hs"');
  });
  test('that an earlier release stored in plain is sealed at the next start', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello', undefined, { config: { auth: auth([publicKey]) } });
    const plain = JSON.stringify({ compatibilityDate: '2026-11-01', auth: auth(keys) });
    await w.deps.db.write((tx) => tx.orm.run(`UPDATE version SET config = '${plain}'`).then(() => undefined));
    await sealStoredSecrets(w.deps.db, w.deps.kek);
    const rows = await w.deps.db.read((orm) => orm.run('SELECT config FROM version'));
    expect(JSON.stringify(rows.rows)).toContain('sealed');
    expect(JSON.stringify(rows.rows)).not.toContain(SECRET);
  });
});
