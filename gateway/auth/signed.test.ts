/** Who gets in with a signature, and the code each refusal has. Time stands unless a test moves it. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, test } from 'vitest';
import type { FeedItem } from '#shared/contracts/feed.ts';
import { toBase64Url } from '#shared/encoding.ts';
import { LIMITS } from '#shared/limits.ts';
import { nodeCrypto } from '#shared/signatures/crypto.node.ts';
import { importSigningKey, signRequest, type SigningKey } from '#shared/signatures/sign.ts';
import { webCrypto } from '#shared/signatures/verify.ts';
import { setUp } from '../testing/authenticating.ts';
import { fakeCall, type FakeCallParts } from '../testing/fake-call.ts';
import { functionItems, keyItem } from '../testing/items.ts';
import { createKeyRing } from './keys.ts';

const pair = generateKeyPairSync('ed25519');
const publicKey = pair.publicKey.export({ format: 'jwk' }).x ?? '';
const signingKey: SigningKey = await importSigningKey({
  keyId: 'k1',
  algorithm: 'ed25519',
  secret: toBase64Url(pair.privateKey.export({ format: 'der', type: 'pkcs8' })),
});

const signedItems = (key: Partial<Parameters<typeof keyItem>[0]> = {}): FeedItem[] => [
  ...functionItems('hello', { auth: { mode: 'signed' } }),
  keyItem({ id: 'k1', material: { algorithm: 'ed25519', publicKey }, ...key }),
];

async function signed(
  nowMs: number,
  parts: FakeCallParts = {},
  options: { ttlMs?: number; nonce?: string } = {},
): Promise<FakeCallParts> {
  const url = parts.url ?? 'http://hello.localhost/';
  const headers = await signRequest(
    { method: parts.method ?? 'GET', url, ...(parts.body === undefined ? {} : { body: parts.body }) },
    signingKey,
    { nowMs, ...options },
  );
  return { ...parts, headers: { ...headers, ...parts.headers } };
}

describe.for([
  ['Node', nodeCrypto],
  ['the Web Crypto API', webCrypto],
] as const)('mode signed, verified by %s', ([, crypto]) => {
  const begin = (items: readonly FeedItem[], noncesMax?: number) =>
    setUp(
      items,
      noncesMax,
      createKeyRing(() => Promise.resolve(undefined), crypto),
    );

  test('accepts a fresh signature once and refuses its replay', async ({ expect }) => {
    const { clock, verdict } = begin(signedItems());
    const parts = await signed(clock.wallMs());
    expect(await verdict(fakeCall(parts))).toBe('verified key:k1');
    expect(await verdict(fakeCall(parts))).toBe('signature_replayed');
  });

  test('takes the first signature by a key of the account, whoever else signed before', async ({
    expect,
  }) => {
    const { clock, verdict } = begin([
      ...signedItems(),
      keyItem({ id: 'k2', account: 'other', material: { algorithm: 'ed25519', publicKey } }),
    ]);
    const parts = await signed(clock.wallMs());
    const { 'signature-input': input = '', signature = '' } = parts.headers ?? {};
    const headers = {
      'signature-input': `proxy=${input.slice(input.indexOf('=') + 1).replace('"k1"', '"k2"')}, ${input}`,
      signature: `proxy=:AAAA:, ${signature}`,
    };
    expect(await verdict(fakeCall({ ...parts, headers }))).toBe('verified key:k1');
  });

  test('refuses a replay after the clock has jumped back', async ({ expect }) => {
    const { clock, verdict } = begin(signedItems());
    const parts = await signed(clock.wallMs());
    expect(await verdict(fakeCall(parts))).toBe('verified key:k1');
    clock.advance(59_000);
    clock.jumpWall(-59_000);
    expect(await verdict(fakeCall(parts))).toBe('signature_replayed');
    clock.advance(3_600_000);
    expect(await verdict(fakeCall(await signed(clock.wallMs())))).toBe('verified key:k1');
    clock.jumpWall(-3_600_000);
    expect(await verdict(fakeCall(parts))).toBe('signature_expired');
  });

  test('refuses expired and not yet valid signatures', async ({ expect }) => {
    const { clock, verdict } = begin(signedItems());
    const parts = await signed(clock.wallMs(), {}, { ttlMs: 10_000 });
    clock.advance(10_000);
    expect(await verdict(fakeCall(parts))).toBe('signature_expired');
    const early = await signed(clock.wallMs() + LIMITS.signatureSkewMs + 1_000);
    expect(await verdict(fakeCall(early))).toBe('signature_not_yet_valid');
  });

  test.for([
    ['another path', { url: 'http://hello.localhost/other' }],
    ['another query', { url: 'http://hello.localhost/?a=1' }],
    ['another method', { method: 'DELETE' }],
  ] as const)('refuses a signature made for %s', async ([, changed], { expect }) => {
    const { clock, verdict } = begin(signedItems());
    const parts = await signed(clock.wallMs());
    expect(await verdict(fakeCall({ ...parts, ...changed }))).toBe('signature_invalid');
  });

  test.for([
    ['of another account', { account: 'other' }, 'signature_invalid'],
    ['that is unknown', { id: 'k2' }, 'signature_invalid'],
    ['that has expired', { expiresAtMs: 1 }, 'signature_invalid'],
    [
      'of another pair',
      { material: { algorithm: 'ed25519', publicKey: toBase64Url(randomBytes(32)) } },
      'signature_invalid',
    ],
    ['for other functions', { functions: ['world'] }, 'forbidden'],
  ] as const)('refuses a key %s', async ([, key, code], { expect }) => {
    const { clock, verdict } = begin(signedItems(key as unknown as Parameters<typeof signedItems>[0]));
    const answer = await verdict(fakeCall(await signed(clock.wallMs())));
    expect(answer).toBe(code);
  });

  test('checks the body against its digest and bounds it', async ({ expect }) => {
    const { clock, verdict } = begin(signedItems());
    const body = new TextEncoder().encode('payload');
    const parts = await signed(clock.wallMs(), { method: 'POST', body });
    expect(await verdict(fakeCall({ ...parts, body: new TextEncoder().encode('changed') }))).toBe(
      'digest_mismatch',
    );
    expect(await verdict(fakeCall({ ...parts, chunked: true }))).toBe('verified key:k1');
    const bare = await signed(clock.wallMs(), { method: 'POST' });
    expect(await verdict(fakeCall({ ...bare, body }))).toBe('signature_invalid');
    const bound = new Uint8Array(LIMITS.digestBodyBytesMax);
    expect(await verdict(fakeCall(await signed(clock.wallMs(), { method: 'POST', body: bound })))).toBe(
      'verified key:k1',
    );
    const over = new Uint8Array(LIMITS.digestBodyBytesMax + 1);
    for (const chunked of [false, true])
      expect(
        await verdict(fakeCall(await signed(clock.wallMs(), { method: 'POST', body: over, chunked }))),
      ).toBe('body_too_large');
  });

  test('refuses when no more nonces can be remembered, instead of forgetting one', async ({ expect }) => {
    const { clock, verdict } = begin(signedItems(), 1);
    expect(await verdict(fakeCall(await signed(clock.wallMs())))).toBe('verified key:k1');
    expect(await verdict(fakeCall(await signed(clock.wallMs())))).toBe('replay_window_full');
  });

  test('asks for a signature when there is none', async ({ expect }) => {
    const { verdict } = begin(signedItems());
    expect(await verdict(fakeCall())).toBe('signature_missing');
    expect(await verdict(fakeCall({ headers: { 'signature-input': 'x', signature: '' } }))).toBe(
      'signature_invalid',
    );
  });
});
