/** Both implementations of the port judge alike. */
import { createHash, createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { describe, test } from 'vitest';
import { nodeCrypto } from './crypto.node.ts';
import { digestMatches, webCrypto, type VerifyKey } from './verify.ts';
import { contentDigest } from './sign.ts';

const DATA = new TextEncoder().encode('"@method": GET');
const OTHER = new TextEncoder().encode('"@method": PUT');

describe.for([
  ['the Web Crypto API', webCrypto],
  ['Node', nodeCrypto],
] as const)('signatures verified by %s', ([, crypto]) => {
  const judged = async (key: VerifyKey, right: Uint8Array<ArrayBuffer>): Promise<boolean[]> => {
    const flipped = new Uint8Array(right);
    flipped.set([(right[0] ?? 0) ^ 1]);
    const wrong = [flipped, right.slice(1), new Uint8Array([...right, 0]), new Uint8Array()];
    const answers = [await key.verify(DATA, right), await key.verify(OTHER, right)];
    for (const signature of wrong) answers.push(await key.verify(DATA, signature));
    return answers;
  };
  const RIGHT_ALONE = [true, false, false, false, false, false];

  test('ed25519', async ({ expect }) => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const key = await crypto.ed25519(publicKey.export({ format: 'jwk' }).x ?? '');
    expect(key.algorithm).toBe('ed25519');
    expect(await judged(key, new Uint8Array(sign(null, DATA, privateKey)))).toEqual(RIGHT_ALONE);
  });

  test('ed25519 by a key that is no point of the curve, and by none', async ({ expect }) => {
    const noPoint = Buffer.alloc(32, 0xff).toString('base64url');
    const answer = async (): Promise<boolean> =>
      (await crypto.ed25519(noPoint)).verify(DATA, new Uint8Array(64));
    await expect(answer()).resolves.toBe(false);
    const short = async (): Promise<VerifyKey> => crypto.ed25519('AAAA');
    await expect(short()).rejects.toThrow();
  });

  test('hmac-sha256', async ({ expect }) => {
    const secret = randomBytes(32);
    const key = await crypto.hmac(secret);
    expect(key.algorithm).toBe('hmac-sha256');
    const mac = createHmac('sha256', secret).update(DATA).digest();
    expect(await judged(key, new Uint8Array(mac))).toEqual(RIGHT_ALONE);
  });

  test.for([0, 1, 65_536, 65_537, 1_000_000])('digests of %d bytes', async (length, { expect }) => {
    const body = new Uint8Array(randomBytes(length));
    const sha512 = createHash('sha512').update(body).digest('base64');
    const header = `${await contentDigest(body)}, sha-512=:${sha512}:`;
    expect(await digestMatches(header, body, crypto)).toBe(true);
    expect(await digestMatches(header, new Uint8Array([...body, 1]), crypto)).toBe(false);
  });
});
