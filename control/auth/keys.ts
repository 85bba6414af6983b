/** Makes keys and checks what they prove. Secrets leave here once, towards the caller who asked. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { CreatedKey, CreateKey } from '#shared/contracts/access.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName } from '#shared/ids.ts';
import { fromBase64Url, toBase64Url } from '#shared/encoding.ts';
import { seal, unseal, type KeyEncryptionKey } from '#shared/seal.ts';
import { nodeCrypto } from '#shared/signatures/crypto.node.ts';
import { importEd25519, type VerifyKey } from '#shared/signatures/verify.ts';
import type { KeyRow } from '../db/keys.ts';

const TOKEN_PREFIX = 'iso_';
const SECRET_BYTES = 32;

export function newId(prefix: string): string {
  return `${prefix}-${Buffer.from(crypto.getRandomValues(new Uint8Array(10))).toString('hex')}`;
}

function tokenHash(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** The key id in `iso_KEYID_SECRET`, or undefined when it has another shape. */
export function tokenKeyId(token: string): string | undefined {
  return /^iso_(key-[0-9a-f]{20})_[A-Za-z0-9_-]{43}$/.exec(token)?.[1];
}

export function tokenMatches(row: KeyRow | undefined, token: string): boolean {
  const expected = row?.algorithm === 'token' ? row.material : '0'.repeat(64);
  // Compared also when there is no such key, so that the time tells nothing.
  const equal = timingSafeEqual(Buffer.from(tokenHash(token)), Buffer.from(expected));
  return equal && row?.algorithm === 'token';
}

interface Material {
  readonly material: string;
  readonly secret: string | undefined;
}

async function ed25519Pair(): Promise<{ readonly publicKey: string; readonly secret: string }> {
  const pair = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
  if (!('privateKey' in pair)) throw new PlatformError('internal', 'Ed25519 gave no pair');
  return {
    publicKey: toBase64Url(new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey))),
    secret: toBase64Url(new Uint8Array(await crypto.subtle.exportKey('pkcs8', pair.privateKey))),
  };
}

async function checkedPublicKey(publicKey: string): Promise<string> {
  try {
    await importEd25519(publicKey);
    return toBase64Url(fromBase64Url(publicKey));
  } catch (thrown) {
    throw new PlatformError('config_invalid', 'not an Ed25519 public key', {
      cause: thrown,
      publicDetail: 'publicKey must be a raw 32-byte Ed25519 public key, base64url.',
      extensions: { problems: [{ path: 'publicKey', message: 'is not an Ed25519 public key' }] },
    });
  }
}

async function makeMaterial(wanted: CreateKey, id: string, kek: KeyEncryptionKey): Promise<Material> {
  switch (wanted.algorithm) {
    case 'ed25519': {
      if (wanted.publicKey !== undefined)
        return { material: await checkedPublicKey(wanted.publicKey), secret: undefined };
      const { publicKey, secret } = await ed25519Pair();
      return { material: publicKey, secret };
    }
    case 'hmac-sha256': {
      const secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
      return { material: await seal(kek, secret, id), secret: toBase64Url(secret) };
    }
    case 'token': {
      const random = toBase64Url(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
      const token = `${TOKEN_PREFIX}${id}_${random}`;
      return { material: tokenHash(token), secret: token };
    }
  }
}

export interface MadeKey {
  readonly row: Omit<KeyRow, 'createdAt'>;
  readonly secret: CreatedKey['secret'];
}

export async function makeKey(
  account: AccountName,
  wanted: CreateKey,
  actor: string,
  kek: KeyEncryptionKey,
): Promise<MadeKey> {
  if (wanted.publicKey !== undefined && wanted.algorithm !== 'ed25519')
    throw new PlatformError('config_invalid', 'publicKey without ed25519', {
      publicDetail: 'publicKey goes with algorithm ed25519 only.',
      extensions: { problems: [{ path: 'publicKey', message: 'goes with algorithm ed25519 only' }] },
    });
  const id = newId('key');
  const { material, secret } = await makeMaterial(wanted, id, kek);
  return {
    row: {
      id,
      account,
      name: wanted.name,
      role: wanted.role,
      algorithm: wanted.algorithm,
      material,
      functions: wanted.functions ?? null,
      expiresAt: wanted.expiresAt === undefined ? null : Date.parse(wanted.expiresAt),
      createdBy: actor,
    },
    secret,
  };
}

/** Undefined for tokens, which sign nothing. */
export async function verifyKeyOf(row: KeyRow, kek: KeyEncryptionKey): Promise<VerifyKey | undefined> {
  switch (row.algorithm) {
    case 'ed25519':
      return nodeCrypto.ed25519(row.material);
    case 'hmac-sha256':
      return nodeCrypto.hmac(await unseal(kek, row.material, row.id));
    case 'token':
      return undefined;
  }
}
