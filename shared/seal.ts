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

/** @param key32 - base64url of 32 random bytes. */
export async function importKeyEncryptionKey(key32: string): Promise<KeyEncryptionKey> {
  const raw = fromBase64Url(key32.trim());
  if (raw.byteLength !== 32) throw new PlatformError('internal', 'the key-encryption key must be 32 bytes');
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

export async function unseal(key: KeyEncryptionKey, sealed: string, context: string): Promise<Uint8Array> {
  if (!sealed.startsWith(PREFIX)) throw new PlatformError('internal', 'unknown form of sealed secret');
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
    throw new PlatformError('internal', `a sealed secret does not open (context ${context})`, {
      cause: thrown,
    });
  }
}
