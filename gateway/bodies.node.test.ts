/**
 * Bodies over real sockets: what a hostile account's callers send costs that account, holds no instance, and
 * leaves the other account's calls as they were. Scripted instances, real gateway.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, test } from 'vitest';
import { toBase64Url } from '#shared/encoding.ts';
import { importSigningKey, signRequest } from '#shared/signatures/sign.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { startHarness, type Harness } from './testing/harness.node.ts';
import { functionItems, keyItem } from './testing/items.ts';

const MIB = 1_048_576;
const pair = generateKeyPairSync('ed25519');
const signer = await importSigningKey({
  keyId: 'hostile-key',
  algorithm: 'ed25519',
  secret: toBase64Url(pair.privateKey.export({ format: 'der', type: 'pkcs8' })),
});

let harness: Harness;
const sockets: Socket[] = [];

beforeEach(async () => {
  harness = await startHarness([
    ...functionItems('shop', { account: 'good' }),
    ...functionItems('sink', {
      account: 'hostile',
      scaling: { maxInstances: 1, concurrency: 4, queueDepth: 0 },
    }),
    ...functionItems('vault', { account: 'hostile', auth: { mode: 'signed' } }),
    keyItem({
      id: 'hostile-key',
      account: 'hostile',
      material: { algorithm: 'ed25519', publicKey: pair.publicKey.export({ format: 'jwk' }).x ?? '' },
    }),
  ]);
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await harness[Symbol.asyncDispose]();
});

/** Opens a connection, writes and keeps it. @returns what came back so far. */
function hold(text: string): { readonly socket: Socket; readonly received: () => string } {
  const socket = harness.raw();
  sockets.push(socket);
  let received = '';
  socket.on('data', (chunk) => (received += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  socket.write(text, 'latin1');
  return { socket, received: () => received };
}

async function signedHead(bytes: number, nonce?: string): Promise<string> {
  const headers = await signRequest(
    { method: 'POST', url: 'http://vault.hostile.localhost/', body: randomBytes(16) },
    signer,
    { nowMs: Date.now(), ...(nonce === undefined ? {} : { nonce }) },
  );
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `POST / HTTP/1.1\r\nHost: vault.hostile.localhost\r\nContent-Length: ${bytes}\r\n${lines.join('')}\r\n`;
}

async function goodCall(): Promise<[number, string]> {
  const answer = await harness.request('shop.good.localhost', { method: 'POST', body: 'order' });
  return [answer.status, await answer.text()];
}

const echoes = (versionId: string, slots = 64) =>
  harness.instance((request, response) => void request.pipe(response), { versionId, slots });

describe('a hostile account', () => {
  test('that sends one signature a hundred times has no second body read', async ({ expect }) => {
    const head = await signedHead(8 * MIB - 1, 'spent');
    const calls = Array.from({ length: 100 }, () => hold(head + 'x'.repeat(10_000)));
    await waitFor(
      '99 refusals',
      () => calls.filter(({ received }) => received().includes('signature_replayed')).length === 99,
    );
    expect(harness.plane.shares.bodies.heldBy('hostile')).toBeLessThan(MIB);
  });

  test('that sends bodies to be digested holds half of all room, and the other account is served', async ({
    expect,
  }) => {
    await echoes('good/shop@1');
    const bodies = harness.plane.shares.bodies;
    const body = 'x'.repeat(7 * MIB);
    const calls: ReturnType<typeof hold>[] = [];
    for (let call = 0; call < 20; call += 1) calls.push(hold((await signedHead(8 * MIB - 1)) + body));
    await waitFor('the bound', () => calls.some(({ received }) => received().includes('share_full')));
    expect(bodies.heldBy('hostile')).toBeLessThanOrEqual(bodies.total / 2);
    expect(await goodCall()).toEqual([200, 'order']);
    for (const { socket } of calls) socket.destroy();
    await waitFor('all to be given back', () => bodies.used === 0);
  });

  test('that sends bodies in one-byte chunks pays for bytes, not for chunks', async ({ expect }) => {
    const head =
      'POST / HTTP/1.1\r\nHost: vault.hostile.localhost\r\nTransfer-Encoding: chunked\r\n' +
      (await signedHead(0)).split('\r\n').slice(3).join('\r\n');
    const { received } = hold(head + '1\r\nx\r\n'.repeat(500_000));
    const before = process.memoryUsage().heapUsed;
    await waitFor('the body', () => harness.plane.shares.bodies.heldBy('hostile') >= 500_000);
    expect(received()).toBe('');
    expect(harness.plane.shares.bodies.heldBy('hostile')).toBeLessThanOrEqual(MIB);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * MIB);
  });

  test('whose callers send their bodies slowly holds no instance, and they are let go', async ({
    expect,
  }) => {
    await echoes('hostile/sink@1', 4);
    const head = 'POST / HTTP/1.1\r\nHost: sink.hostile.localhost\r\nContent-Length: 2\r\n\r\n';
    const slow = Array.from({ length: 256 }, (_, index) => hold(index % 2 === 0 ? head : `${head}x`));
    await waitFor('all bodies', () => harness.plane.gateway.metrics.snapshot().inFlight === 256);
    expect(harness.script.acquires).toEqual([]);
    const other = await harness.request('sink.hostile.localhost', { method: 'POST', body: 'quick' });
    expect([other.status, await other.text()]).toEqual([200, 'quick']);
    await waitFor(
      'refusals',
      () => slow.every(({ received }) => received().includes('body_too_slow')),
      20_000,
    );
    expect(slow[0]?.received()).toMatch(/^HTTP\/1\.1 408 /);
    expect(harness.plane.shares.bodies.used).toBe(0);
  });

  test('at the bound of requests in hand leaves the other account its own', async ({ expect }) => {
    await echoes('good/shop@1');
    const { requests } = harness.plane.shares;
    while (requests.take('hostile', 1));
    const refused = await harness.request('sink.hostile.localhost');
    expect([refused.status, await refused.json()]).toMatchObject([429, { code: 'share_full' }]);
    expect(await goodCall()).toEqual([200, 'order']);
    requests.give('hostile', requests.heldBy('hostile'));
  });

  test('that signs as fast as it can fills its own share of nonces', async ({ expect }) => {
    await echoes('good/shop@1');
    const { nonces } = harness.plane.shares;
    while (nonces.take('hostile', 1_000));
    while (nonces.take('hostile', 1));
    const { received } = hold(await signedHead(0));
    await waitFor('a refusal', () => received().includes('replay_window_full'));
    expect(received()).toMatch(/^HTTP\/1\.1 503 .*retry-after/is);
    expect(nonces.roomOf('good')).toBeGreaterThan(nonces.total / 5);
  });
});

test('a signature whose call found no room at an instance may be used again', async ({ expect }) => {
  const url = 'http://vault.hostile.localhost/';
  const headers = await signRequest({ method: 'GET', url }, signer, { nowMs: Date.now() });
  const call = async (): Promise<number> => {
    const answer = await harness.request('vault.hostile.localhost', { headers });
    await answer.text();
    return answer.status;
  };
  expect(await call()).toBe(503);
  await echoes('hostile/vault@1');
  expect(await call()).toBe(200);
  expect(await call()).toBe(401);
});

test('one address keeps no other from connecting', async ({ expect }) => {
  const { connections } = harness.plane.shares;
  while (connections.take('127.0.0.1', 1));
  const { socket } = hold('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await waitFor('the close', () => socket.destroyed);
  expect(connections.take('127.0.0.2', 1)).toBe(true);
  connections.give('127.0.0.2', 1);
  connections.give('127.0.0.1', connections.heldBy('127.0.0.1'));
});
