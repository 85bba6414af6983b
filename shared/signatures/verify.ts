/**
 * Checks RFC 9421 signatures. Parsing and policy are pure; only the last step does cryptography.
 *
 * The caller goes through four steps and must not leave one out:
 *   1. {@link parseSignature} — shape, coverage and time;
 *   2. look the key up by `keyId` and {@link verifySignature};
 *   3. claim the nonce (replay.ts), after the signature, so that a forged request cannot burn someone's nonce,
 *      and before a byte of the body is read, so that a spent signature costs nothing;
 *   4. {@link digestMatches} when the request has a body.
 */
import { type InnerList, parseDictionary } from 'structured-headers';
import type { ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { fromBase64Url } from '../seal.ts';
import { type RequestHead, signatureBase } from './components.ts';
import { contentDigest, type SignatureAlgorithm } from './sign.ts';

export interface ParsedSignature {
  readonly keyId: string;
  /** As claimed; must equal the key's own algorithm. */
  readonly algorithm: string | undefined;
  readonly base: Uint8Array<ArrayBuffer>;
  readonly signature: Uint8Array<ArrayBuffer>;
  readonly nonce: string;
  /** ms since the epoch. */
  readonly createdMs: number;
  readonly expiresMs: number;
  readonly coversDigest: boolean;
}

interface SignatureRefusal {
  readonly kind: 'refused';
  readonly code: Extract<ErrorCode, `signature_${string}` | 'digest_mismatch'>;
  /** Safe to show: says what is wrong with the caller's own headers. */
  readonly reason: string;
}

export type ParseOutcome =
  | { readonly kind: 'parsed'; readonly signature: ParsedSignature }
  | SignatureRefusal;

export interface VerifyKey {
  readonly algorithm: SignatureAlgorithm;
  verify(data: Uint8Array<ArrayBuffer>, signature: Uint8Array<ArrayBuffer>): boolean | Promise<boolean>;
}

const HEADER_BYTES_MAX = 4_096;
const ALWAYS_COVERED = ['@method', '@authority'];

function refused(code: SignatureRefusal['code'], reason: string): SignatureRefusal {
  return { kind: 'refused', code, reason };
}

function readHeaders(head: RequestHead): { covered: InnerList; signature: ArrayBuffer } | SignatureRefusal {
  const inputHeader = head.header('signature-input');
  const signatureHeader = head.header('signature');
  if (inputHeader === undefined || signatureHeader === undefined)
    return refused('signature_missing', 'Signature-Input and Signature are both required');
  if (inputHeader.length > HEADER_BYTES_MAX || signatureHeader.length > HEADER_BYTES_MAX)
    return refused('signature_invalid', 'a signature header is too long');
  try {
    const inputs = parseDictionary(inputHeader);
    const signatures = parseDictionary(signatureHeader);
    // One signature: several would leave open which of them speaks for the request.
    if (inputs.size !== 1 || signatures.size !== 1)
      return refused('signature_invalid', 'send exactly one signature');
    const [label, covered] = [...inputs][0] ?? [];
    const bytes = label === undefined ? undefined : signatures.get(label)?.[0];
    if (covered === undefined || !Array.isArray(covered[0]))
      return refused('signature_invalid', 'Signature-Input must hold an inner list');
    if (!(bytes instanceof ArrayBuffer))
      return refused('signature_invalid', 'Signature must hold bytes under the label of Signature-Input');
    return { covered: covered as InnerList, signature: bytes };
  } catch {
    return refused('signature_invalid', 'a signature header is not a structured field');
  }
}

function coverageProblem(covered: InnerList, head: RequestHead): string | undefined {
  const names = new Set(covered[0].map(([name]) => name));
  const missing = ALWAYS_COVERED.filter((name) => !names.has(name));
  if (missing.length > 0) return `the signature must cover ${missing.join(' and ')}`;
  const coversTarget =
    names.has('@request-target') ||
    names.has('@target-uri') ||
    (names.has('@path') && (names.has('@query') || head.query === '?'));
  return coversTarget ? undefined : 'the signature must cover @path and @query, or @target-uri';
}

/**
 * Checks shape, coverage and time of a request's signature.
 *
 * @param nowMs - wall time, ms since the epoch. A signature may be dated up to LIMITS.signatureSkewMs
 *   ahead, and lives at most LIMITS.signatureAgeMsMax, whatever `expires` says.
 */
export function parseSignature(head: RequestHead, nowMs: number): ParseOutcome {
  const read = readHeaders(head);
  if ('kind' in read) return read;
  const { covered } = read;
  const parameters = covered[1];
  const [created, expires, nonce, keyId, algorithm] = ['created', 'expires', 'nonce', 'keyid', 'alg'].map(
    (name) => parameters.get(name),
  );
  if (typeof created !== 'number' || !Number.isInteger(created))
    return refused('signature_invalid', 'parameter created is required');
  if (expires !== undefined && (typeof expires !== 'number' || !Number.isInteger(expires)))
    return refused('signature_invalid', 'parameter expires must be an integer');
  if (typeof nonce !== 'string' || nonce === '' || nonce.length > LIMITS.nonceBytesMax)
    return refused(
      'signature_invalid',
      `parameter nonce is required, at most ${LIMITS.nonceBytesMax} characters`,
    );
  if (typeof keyId !== 'string' || keyId === '')
    return refused('signature_invalid', 'parameter keyid is required');
  if (algorithm !== undefined && typeof algorithm !== 'string')
    return refused('signature_invalid', 'parameter alg must be a string');
  const problem = coverageProblem(covered, head);
  if (problem !== undefined) return refused('signature_invalid', problem);
  const createdMs = created * 1000;
  const expiresMs = Math.min(
    typeof expires === 'number' ? expires * 1000 : Number.POSITIVE_INFINITY,
    createdMs + LIMITS.signatureAgeMsMax,
  );
  if (createdMs > nowMs + LIMITS.signatureSkewMs)
    return refused('signature_not_yet_valid', 'created lies in the future');
  if (nowMs >= expiresMs) return refused('signature_expired', 'the signature has expired');
  const built = signatureBase(head, covered);
  if ('problem' in built) return refused('signature_invalid', built.problem);
  return {
    kind: 'parsed',
    signature: {
      keyId,
      algorithm,
      base: new TextEncoder().encode(built.base),
      signature: new Uint8Array(read.signature),
      nonce,
      createdMs,
      expiresMs,
      coversDigest: covered[0].some(([name]) => name === 'content-digest'),
    },
  };
}

/** The key decides the algorithm; a signature that claims another one does not verify. */
export async function verifySignature(parsed: ParsedSignature, key: VerifyKey): Promise<boolean> {
  if (parsed.algorithm !== undefined && parsed.algorithm !== key.algorithm) return false;
  return key.verify(parsed.base, parsed.signature);
}

/** True when the `Content-Digest` field's sha-256 is the body's. */
export async function digestMatches(header: string, body: Uint8Array<ArrayBuffer>): Promise<boolean> {
  try {
    const claimed = parseDictionary(header).get('sha-256')?.[0];
    const actual = parseDictionary(await contentDigest(body)).get('sha-256')?.[0];
    if (!(claimed instanceof ArrayBuffer) || !(actual instanceof ArrayBuffer)) return false;
    return equalBytes(new Uint8Array(claimed), new Uint8Array(actual));
  } catch {
    return false;
  }
}

/** Constant time for equal lengths. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.byteLength !== right.byteLength) return false;
  let difference = 0;
  for (let index = 0; index < left.byteLength; index += 1)
    difference |= (left[index] ?? 0) ^ (right[index] ?? 0);
  return difference === 0;
}

/** @param publicKey - raw 32 bytes, base64url. */
export async function importEd25519(publicKey: string): Promise<VerifyKey> {
  const key = await crypto.subtle.importKey('raw', fromBase64Url(publicKey), 'Ed25519', false, ['verify']);
  return {
    algorithm: 'ed25519',
    verify: (data, signature) => crypto.subtle.verify('Ed25519', key, signature, data),
  };
}

export async function importHmac(secret: Uint8Array): Promise<VerifyKey> {
  const key = await crypto.subtle.importKey(
    'raw',
    new Uint8Array(secret),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['verify'],
  );
  // WebCrypto's HMAC verify compares in constant time.
  return {
    algorithm: 'hmac-sha256',
    verify: (data, signature) => crypto.subtle.verify('HMAC', key, signature, data),
  };
}
