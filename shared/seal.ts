/**
 * Secrets at rest: AES-256-GCM under the platform's key-encryption key. The sealed form is text:
 * `v1.` + base64url(12-byte nonce ‖ ciphertext ‖ 16-byte tag). `context` is authenticated with it, so a
 * sealed value cannot be moved to another record.
 */
import { fromBase64Url, toBase64Url } from './encoding.ts';
import { PlatformError } from './errors.ts';

const PREFIX = 'v1.';
const NONCE_BYTES = 12;

export type KeyEncryptionKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>;

/** A file that is lost or damaged may be restored at any time, so whoever calls may come again. */
export function secretUnavailable(message: string, cause?: unknown): PlatformError {
  return new PlatformError('secret_unavailable', message, { cause, retryAfterMs: 1_000 });
}

/**
 * @param key32 - base64url of 32 random bytes.
 * @throws {PlatformError} `secret_unavailable` when it is anything else.
 */
export async function importKeyEncryptionKey(key32: string): Promise<KeyEncryptionKey> {
  const text = key32.trim();
  // 32 bytes are 43 characters.
  if (!/^[\w-]{43}$/.test(text))
    throw secretUnavailable('a key-encryption key must be 32 bytes in base64url');
  const raw = fromBase64Url(text);
  return crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt', 'decrypt']);
}

export async function seal(key: KeyEncryptionKey, secret: Uint8Array, context: string): Promise<string> {
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const sealed = await crypto.subtle.encrypt(
    { name: 'AES-GCM', iv: nonce, additionalData: new TextEncoder().encode(context) },
    key,
    new Uint8Array(secret),
  );
  const joined = new Uint8Array(NONCE_BYTES + sealed.byteLength);
  joined.set(nonce);
  joined.set(new Uint8Array(sealed), NONCE_BYTES);
  return PREFIX + toBase64Url(joined);
}

/** @throws {PlatformError} `secret_unavailable` when another key, or another context, sealed it. */
export async function unseal(key: KeyEncryptionKey, sealed: string, context: string): Promise<Uint8Array> {
  if (!sealed.startsWith(PREFIX)) throw secretUnavailable('unknown form of sealed secret');
  const joined = fromBase64Url(sealed.slice(PREFIX.length));
  try {
    return new Uint8Array(
      await crypto.subtle.decrypt(
        {
          name: 'AES-GCM',
          iv: joined.slice(0, NONCE_BYTES),
          additionalData: new TextEncoder().encode(context),
        },
        key,
        joined.slice(NONCE_BYTES),
      ),
    );
  } catch (thrown) {
    throw secretUnavailable(`a sealed secret does not open (context ${context})`, thrown);
  }
}
