/** Signs requests with RFC 9421 HTTP message signatures and RFC 9530 content digests. */
import { serializeDictionary, type InnerList } from 'structured-headers';
import { PlatformError } from '../errors.ts';
import { fromBase64Url, toBase64Url } from '../encoding.ts';
import { requestHead, signatureBase } from './components.ts';

export type SignatureAlgorithm = 'ed25519' | 'hmac-sha256';

export interface SigningKey {
  readonly keyId: string;
  readonly algorithm: SignatureAlgorithm;
  sign(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
}

export interface SignableRequest {
  readonly method: string;
  /** Absolute. A `host` header, when present, overrides the URL's host. */
  readonly url: string;
  /** Lower-case names. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer>;
}

const DEFAULT_TTL_MS = 60_000;
const COVERED = ['@method', '@authority', '@path', '@query'];
const NONCE_BYTES = 16;

/** @param secret - ed25519: PKCS #8, base64url; hmac-sha256: the shared secret, base64url. */
export async function importSigningKey(parts: {
  readonly keyId: string;
  readonly algorithm: SignatureAlgorithm;
  readonly secret: string;
}): Promise<SigningKey> {
  const raw = fromBase64Url(parts.secret);
  const key =
    parts.algorithm === 'ed25519'
      ? await crypto.subtle.importKey('pkcs8', raw, 'Ed25519', false, ['sign'])
      : await crypto.subtle.importKey('raw', raw, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const name = parts.algorithm === 'ed25519' ? 'Ed25519' : 'HMAC';
  return {
    keyId: parts.keyId,
    algorithm: parts.algorithm,
    sign: async (data) => new Uint8Array(await crypto.subtle.sign(name, key, data)),
  };
}

/** `sha-256=:…:` of a body (RFC 9530). */
export async function contentDigest(body: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', body);
  return serializeDictionary(new Map([['sha-256', [digest, new Map()]]]));
}

/**
 * Headers to add to the request: `signature-input`, `signature` and, with a body, `content-digest`.
 *
 * Covers method, authority, path, query and the digest, so a captured signature fits no other request.
 * Each call makes a fresh nonce; a repeated one is refused as a replay.
 *
 * @param options.nowMs - wall time, ms since the epoch.
 * @param options.ttlMs - validity, default one minute; the verifier's bound is LIMITS.signatureAgeMsMax.
 */
export async function signRequest(
  request: SignableRequest,
  key: SigningKey,
  options: {
    readonly nowMs: number;
    readonly nonce?: string;
    readonly ttlMs?: number;
    /** Components to cover; `content-digest` is added where there is a body. */
    readonly cover?: readonly string[];
  },
): Promise<Record<string, string>> {
  const added: Record<string, string> = {};
  const covered = [...(options.cover ?? COVERED)];
  if (request.body !== undefined && request.body.byteLength > 0) {
    added['content-digest'] = await contentDigest(request.body);
    covered.push('content-digest');
  }
  const created = Math.floor(options.nowMs / 1000);
  const parameters = new Map<string, string | number>([
    ['created', created],
    ['expires', created + Math.ceil((options.ttlMs ?? DEFAULT_TTL_MS) / 1000)],
    ['nonce', options.nonce ?? toBase64Url(crypto.getRandomValues(new Uint8Array(NONCE_BYTES)))],
    ['keyid', key.keyId],
    ['alg', key.algorithm],
  ]);
  const list: InnerList = [covered.map((name) => [name, new Map()]), parameters];
  const built = signatureBase(
    requestHead(request.method, request.url, { ...request.headers, ...added }),
    list,
  );
  if ('problem' in built) throw new PlatformError('bad_request', `cannot sign the request: ${built.problem}`);
  const signature = await key.sign(new TextEncoder().encode(built.base));
  added['signature-input'] = serializeDictionary(new Map([['isoplane', list]]));
  added['signature'] = serializeDictionary(new Map([['isoplane', [signature.buffer, new Map()]]]));
  return added;
}
