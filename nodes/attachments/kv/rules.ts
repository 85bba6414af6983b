/** What a KV call may say. Pure. Refusals are worded for the developer: they arrive in the rejected promise. */
import { KV_LIMITS } from '#shared/contracts/kv.ts';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';

export interface KvEntry {
  readonly value: Uint8Array;
  /** JSON. */
  readonly metadata: string | undefined;
  /** Second of the epoch. */
  readonly expires: number | undefined;
}

function refuse(detail: string, code: ErrorCode = 'kv_invalid'): never {
  throw new PlatformError(code, detail, { publicDetail: detail });
}

/** UTF-8 of a key. */
export function keyBytes(key: string): Uint8Array {
  if (key === '') refuse('A key is not empty.');
  if (key === '.' || key === '..') refuse(`A key is not ${key}.`);
  return boundedKey(key);
}

function prefixBytes(prefix: string): Uint8Array {
  return boundedKey(prefix);
}

function boundedKey(key: string): Uint8Array {
  const bytes = new TextEncoder().encode(key);
  if (bytes.byteLength > KV_LIMITS.keyBytesMax)
    refuse(`A key has at most ${KV_LIMITS.keyBytesMax} bytes, this one ${bytes.byteLength}.`);
  return bytes;
}

function integer(name: string, text: string): number {
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text) || !Number.isSafeInteger(value)) refuse(`${name} is a whole number above 0.`);
  return value;
}

/** Second of the epoch from which the key is gone; undefined: it stays. */
export function expiryOf(query: URLSearchParams, nowSeconds: number): number | undefined {
  const ttl = query.get('expiration_ttl');
  const at = query.get('expiration');
  if (ttl === null && at === null) return undefined;
  const expires = ttl === null ? integer('expiration', at ?? '') : nowSeconds + integer('expirationTtl', ttl);
  if (expires < nowSeconds + KV_LIMITS.expirationSecondsMin)
    refuse(`A key lives for at least ${KV_LIMITS.expirationSecondsMin} seconds.`);
  return expires;
}

export function metadataOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  // Node reads header bytes as Latin-1; workerd writes UTF-8.
  const text = Buffer.from(header, 'latin1').toString('utf8');
  const bytes = Buffer.byteLength(text);
  if (bytes > KV_LIMITS.metadataBytesMax)
    refuse(
      `Metadata has at most ${KV_LIMITS.metadataBytesMax} bytes as JSON, this one ${bytes}.`,
      'kv_value_too_large',
    );
  try {
    JSON.parse(text);
  } catch {
    refuse('Metadata is JSON.');
  }
  return text;
}

export function checkCacheTtl(text: string | null): void {
  if (text !== null && integer('cacheTtl', text) < KV_LIMITS.cacheTtlSecondsMin)
    refuse(`cacheTtl is at least ${KV_LIMITS.cacheTtlSecondsMin} seconds.`);
}

export interface ListRequest {
  readonly prefix: Uint8Array;
  readonly limit: number;
  /** The list goes on after this key. */
  readonly after: Uint8Array | undefined;
}

/** What workerd asks. */
export function listRequestOf(query: URLSearchParams): ListRequest {
  const text = query.get('key_count_limit');
  const limit = text === null ? KV_LIMITS.listMax : integer('limit', text);
  if (limit < 1 || limit > KV_LIMITS.listMax) refuse(`limit is between 1 and ${KV_LIMITS.listMax}.`);
  return listRequest({ prefix: query.get('prefix') ?? '', limit, cursor: query.get('cursor') ?? '' });
}

/** @param asked - `cursor` is empty for the first keys. */
export function listRequest(asked: {
  readonly prefix: string;
  readonly limit: number;
  readonly cursor: string;
}): ListRequest {
  return {
    prefix: prefixBytes(asked.prefix),
    limit: asked.limit,
    after: asked.cursor === '' ? undefined : readCursor(asked.cursor),
  };
}

/** Opaque to callers: the last key that was listed. */
export function cursorOf(key: Uint8Array): string {
  return Buffer.from(key).toString('base64url');
}

function readCursor(cursor: string): Uint8Array {
  const key = Buffer.from(cursor, 'base64url');
  if (!/^[A-Za-z0-9_-]+$/.test(cursor) || key.byteLength > KV_LIMITS.keyBytesMax)
    refuse('The cursor is not one of a list before.');
  return key;
}

export interface BulkRequest {
  readonly keys: readonly string[];
  readonly type: 'text' | 'json';
  readonly withMetadata: boolean;
}

export function bulkRequestOf(text: string): BulkRequest {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    refuse('The body is JSON.');
  }
  const value = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  const { keys, type = 'text', withMetadata } = value;
  if (!Array.isArray(keys) || keys.length < 1 || keys.length > KV_LIMITS.bulkKeysMax)
    refuse(`Between 1 and ${KV_LIMITS.bulkKeysMax} keys can be read at once.`);
  if (!keys.every((key): key is string => typeof key === 'string')) refuse('Keys are strings.');
  if (type !== 'text' && type !== 'json') refuse('Several keys are read as text or json.');
  return { keys, type, withMetadata: withMetadata === true };
}

/** Smallest byte string that is greater than all that begin with `prefix`; undefined: there is none. */
export function afterPrefix(prefix: Uint8Array): Uint8Array | undefined {
  for (let index = prefix.byteLength - 1; index >= 0; index -= 1) {
    const byte = prefix[index] ?? 0;
    if (byte === 0xff) continue;
    const after = prefix.slice(0, index + 1);
    after[index] = byte + 1;
    return after;
  }
  return undefined;
}
