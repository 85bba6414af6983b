/** Proofs of identity, tried through the API so that nothing of the path is left out. */
import { describe, test } from 'vitest';
import type { CreatedKey } from '#shared/contracts/access.ts';
import type { Problem } from '#shared/errors.ts';
import { importSigningKey, signRequest } from '#shared/signatures/sign.ts';
import { ORIGIN, world, type World } from '../testing/world.ts';

const PATH = '/v1/accounts/default/functions';
const BODY = new TextEncoder().encode('{"name":"team"}');

async function createKey(w: World, algorithm: string): Promise<CreatedKey> {
  const { body } = await w.call<CreatedKey>('POST', '/v1/accounts/default/keys', {
    body: { name: algorithm, role: 'owner', algorithm },
  });
  return body;
}

async function send(w: World, headers: Record<string, string>, body?: Uint8Array<ArrayBuffer>) {
  const method = body === undefined ? 'GET' : 'POST';
  const path = body === undefined ? PATH : '/v1/accounts';
  const response = await w.app.request(ORIGIN + path, {
    method,
    headers: { host: new URL(ORIGIN).host, ...headers },
    ...(body === undefined ? {} : { body }),
  });
  return { status: response.status, problem: (await response.json()) as Problem };
}

describe('authenticate', () => {
  test('keys of all three kinds open the API, and stop when they are revoked', async ({ expect }) => {
    await using w = await world();
    for (const algorithm of ['ed25519', 'hmac-sha256', 'token'] as const) {
      const key = await createKey(w, algorithm);
      const secret = key.secret ?? '';
      const as =
        algorithm === 'token'
          ? { token: secret }
          : { as: await importSigningKey({ keyId: key.id, algorithm, secret }) };
      expect((await w.call('GET', PATH, as)).status).toBe(200);
      expect((await w.call('DELETE', `/v1/accounts/default/keys/${key.id}`)).status).toBe(204);
      expect((await w.call('GET', PATH, as)).status).toBe(401);
    }
  });

  test('secrets are not in the database file', async ({ expect }) => {
    await using w = await world();
    const secrets = [];
    for (const algorithm of ['ed25519', 'hmac-sha256', 'token'])
      secrets.push((await createKey(w, algorithm)).secret ?? '?');
    const { readFile } = await import('node:fs/promises');
    for (const file of ['control.db', 'control.db-wal']) {
      const text = await readFile(`${w.folder}/${file}`, 'latin1');
      for (const secret of secrets) expect(text.includes(secret.slice(-20))).toBe(false);
    }
  });

  test('a signature is accepted once', async ({ expect }) => {
    await using w = await world();
    const headers = await signRequest({ method: 'GET', url: ORIGIN + PATH }, w.owner, { nowMs: Date.now() });
    expect((await send(w, headers)).status).toBe(200);
    expect((await send(w, headers)).problem.code).toBe('signature_replayed');
  });

  test('expired, future and foreign signatures are refused with their own codes', async ({ expect }) => {
    await using w = await world();
    const at = async (nowMs: number) =>
      send(w, await signRequest({ method: 'GET', url: ORIGIN + PATH }, w.owner, { nowMs }));
    expect((await at(Date.now() - 600_000)).problem.code).toBe('signature_expired');
    expect((await at(Date.now() + 600_000)).problem.code).toBe('signature_not_yet_valid');
    const other = await signRequest({ method: 'GET', url: `${ORIGIN}/v1/status` }, w.owner, {
      nowMs: Date.now(),
    });
    expect((await send(w, other)).problem.code).toBe('signature_invalid');
  });

  test('what was signed before the start, or in its second, is refused: its nonce may have been used', async ({
    expect,
  }) => {
    const startedMs = 1_000 * Math.floor(Date.now() / 1_000) + 900;
    await using w = await world({ startedMs });
    const at = async (nowMs: number) =>
      w.app.request(ORIGIN + PATH, {
        headers: {
          host: new URL(ORIGIN).host,
          ...(await signRequest({ method: 'GET', url: ORIGIN + PATH }, w.owner, { nowMs })),
        },
      });
    for (const nowMs of [startedMs - 20_000, startedMs - 900, startedMs + 50]) {
      const refused = await at(nowMs);
      expect([refused.status, refused.headers.get('retry-after')]).toEqual([401, '1']);
      expect(((await refused.json()) as Problem).code).toBe('signature_expired');
    }
    expect((await at(startedMs + 100)).status).toBe(200);
  });

  test('a body that was changed, or that the signature does not cover, changes nothing', async ({
    expect,
  }) => {
    await using w = await world();
    const request = { method: 'POST', url: `${ORIGIN}/v1/accounts` };
    const covered = await signRequest({ ...request, body: BODY }, w.owner, { nowMs: Date.now() });
    const other = new TextEncoder().encode('{"name":"evil"}');
    expect((await send(w, covered, other)).problem.code).toBe('digest_mismatch');
    const bare = await signRequest(request, w.owner, { nowMs: Date.now() });
    expect((await send(w, bare, BODY)).problem.code).toBe('signature_invalid');
    const accounts = await w.call<{ items: unknown[] }>('GET', '/v1/accounts');
    expect(accounts.body.items.length).toBe(1);
    // The refused attempt did not use up the nonce.
    expect((await send(w, covered, BODY)).status).toBe(201);
  });

  test('wrong and expired tokens are told apart only when the secret was right', async ({ expect }) => {
    await using w = await world();
    const { body } = await w.call<CreatedKey>('POST', '/v1/accounts/default/keys', {
      body: { name: 't', role: 'owner', algorithm: 'token', expiresAt: '2020-01-01T00:00:00Z' },
    });
    const token = body.secret ?? '';
    const code = async (value: string) => (await w.call<Problem>('GET', PATH, { token: value })).body.code;
    expect(await code(token)).toBe('token_expired');
    expect(await code(`${token.slice(0, -4)}AAAA`)).toBe('token_invalid');
    expect(await code('nonsense')).toBe('token_invalid');
    expect(await code(`iso_${w.owner.keyId}_${'A'.repeat(43)}`)).toBe('token_invalid');
  });
});
