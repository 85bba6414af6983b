/**
 * Checks RFC 9421 signatures. Parsing and policy are pure; only the last step does cryptography.
 *
 * The caller goes through four steps and must not leave one out:
 *   1. {@link parseSignatures} — shape, coverage and time;
 *   2. look the key up by `keyId` and {@link verifySignature};
 *   3. claim the nonce (replay.ts), after the signature, so that a forged request cannot burn someone's nonce,
 *      and before a byte of the body is read, so that a spent signature costs nothing;
 *   4. {@link digestMatches} when the request has a body.
 */
import { type InnerList, parseDictionary } from 'structured-headers';
import type { ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { fromBase64Url } from '../encoding.ts';
import { queryComponent, type RequestHead, signatureBase } from './components.ts';
import { readPlainInput, readPlainSignature } from './plain.ts';
import type { SignatureAlgorithm } from './sign.ts';

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
  /** Not empty, in the order of Signature-Input. The first by a known key speaks for the request. */
  { readonly kind: 'parsed'; readonly signatures: readonly ParsedSignature[] } | SignatureRefusal;

export interface VerifyKey {
  readonly algorithm: SignatureAlgorithm;
  verify(data: Uint8Array<ArrayBuffer>, signature: Uint8Array<ArrayBuffer>): boolean | Promise<boolean>;
}

const HEADER_BYTES_MAX = 4_096;
/** Each may cost a verification. */
const SIGNATURES_MAX = 4;
const ALWAYS_COVERED = ['@method', '@authority'];
const encoder = new TextEncoder();

function refused(code: SignatureRefusal['code'], reason: string): SignatureRefusal {
  return { kind: 'refused', code, reason };
}

interface Labelled {
  readonly covered: InnerList;
  /** `covered` serialised; undefined where that is still to be done. */
  readonly text: string | undefined;
  readonly signature: Uint8Array<ArrayBuffer>;
}

/** Signatures of one request by label, those of proxies among them (RFC 9421 section 4.3). */
function readHeaders(head: RequestHead): readonly Labelled[] | SignatureRefusal {
  const inputHeader = head.header('signature-input');
  const signatureHeader = head.header('signature');
  if (inputHeader === undefined || signatureHeader === undefined)
    return refused('signature_missing', 'Signature-Input and Signature are both required');
  if (inputHeader.length > HEADER_BYTES_MAX || signatureHeader.length > HEADER_BYTES_MAX)
    return refused('signature_invalid', 'a signature header is too long');
  const plain = readPlainInput(inputHeader);
  const signature = plain && readPlainSignature(signatureHeader, plain.label);
  if (plain !== undefined && signature !== undefined) return [{ ...plain, signature }];
  try {
    const inputs = parseDictionary(inputHeader);
    const signatures = parseDictionary(signatureHeader);
    if (inputs.size === 0) return refused('signature_missing', 'Signature-Input holds no signature');
    if (inputs.size > SIGNATURES_MAX)
      return refused('signature_invalid', `send at most ${SIGNATURES_MAX} signatures`);
    const read: Labelled[] = [];
    for (const [label, covered] of inputs) {
      const bytes = signatures.get(label)?.[0];
      if (!Array.isArray(covered[0]))
        return refused('signature_invalid', 'Signature-Input must hold inner lists');
      if (!(bytes instanceof ArrayBuffer))
        return refused('signature_invalid', 'Signature must hold bytes under each label of Signature-Input');
      read.push({ covered: covered as InnerList, text: undefined, signature: new Uint8Array(bytes) });
    }
    return read;
  } catch {
    return refused('signature_invalid', 'a signature header is not a structured field');
  }
}

/** Key ids that the signatures of a request name. Empty when there are none that could be read. */
export function signingKeyIds(head: Pick<RequestHead, 'header'>): readonly string[] {
  const input = head.header('signature-input');
  if (input === undefined || input.length > HEADER_BYTES_MAX) return [];
  const plain = readPlainInput(input)?.covered[1].get('keyid');
  if (typeof plain === 'string') return [plain];
  try {
    return [...parseDictionary(input).values()].flatMap(([, parameters]) => {
      const keyId = parameters.get('keyid');
      return typeof keyId === 'string' ? [keyId] : [];
    });
  } catch {
    return [];
  }
}

function covers([items]: InnerList, wanted: string): boolean {
  return items.some(([name]) => name === wanted);
}

function coverageProblem(covered: InnerList, head: RequestHead): string | undefined {
  const missing = ALWAYS_COVERED.filter((name) => !covers(covered, name));
  if (missing.length > 0) return `the signature must cover ${missing.join(' and ')}`;
  const coversTarget =
    covers(covered, '@request-target') ||
    covers(covered, '@target-uri') ||
    (covers(covered, '@path') && (covers(covered, '@query') || queryComponent(head) === '?'));
  return coversTarget ? undefined : 'the signature must cover @path and @query, or @target-uri';
}

/**
 * Checks shape, coverage and time of a request's signatures; those that fail are left out as long as one is right.
 *
 * @param nowMs - wall time, ms since the epoch. A signature may be dated up to LIMITS.signatureSkewMs
 *   ahead, and lives at most LIMITS.signatureAgeMsMax, whatever `expires` says.
 */
export function parseSignatures(head: RequestHead, nowMs: number): ParseOutcome {
  const read = readHeaders(head);
  if ('kind' in read) return read;
  const signatures: ParsedSignature[] = [];
  let refusal: SignatureRefusal | undefined;
  for (const labelled of read) {
    const parsed = parseOne(head, labelled, nowMs);
    if ('kind' in parsed) refusal ??= parsed;
    else signatures.push(parsed);
  }
  if (signatures.length === 0 && refusal !== undefined) return refusal;
  return { kind: 'parsed', signatures };
}

function parseOne(
  head: RequestHead,
  { covered, text, signature }: Labelled,
  nowMs: number,
): ParsedSignature | SignatureRefusal {
  const parameters = covered[1];
  const created = parameters.get('created');
  const expires = parameters.get('expires');
  const nonce = parameters.get('nonce');
  const keyId = parameters.get('keyid');
  const algorithm = parameters.get('alg');
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
  const built = signatureBase(head, covered, text);
  if ('problem' in built) return refused('signature_invalid', built.problem);
  return {
    keyId,
    algorithm,
    base: encoder.encode(built.base),
    signature,
    nonce,
    createdMs,
    expiresMs,
    coversDigest: covers(covered, 'content-digest'),
  };
}

/** The key decides the algorithm; a signature that claims another one does not verify. */
export function verifySignature(parsed: ParsedSignature, key: VerifyKey): boolean | Promise<boolean> {
  if (parsed.algorithm !== undefined && parsed.algorithm !== key.algorithm) return false;
  return key.verify(parsed.base, parsed.signature);
}

const DIGESTS = { 'sha-256': 'SHA-256', 'sha-512': 'SHA-512' } as const;
export type DigestAlgorithm = keyof typeof DIGESTS;

/**
 * Digests of a `Content-Digest` field by the active algorithms of RFC 9530; others are ignored, as it asks.
 * Empty when there is none that can be checked.
 */
export function claimedDigests(header: string | undefined): ReadonlyMap<DigestAlgorithm, Uint8Array> {
  const claimed = new Map<DigestAlgorithm, Uint8Array>();
  if (header === undefined) return claimed;
  try {
    const fields = parseDictionary(header);
    for (const name of ['sha-256', 'sha-512'] as const) {
      const value: unknown = fields.get(name)?.[0];
      if (value instanceof ArrayBuffer) claimed.set(name, new Uint8Array(value));
      else if (value !== undefined) return new Map();
    }
  } catch {
    return new Map();
  }
  return claimed;
}

/** True when the field holds digests that can be checked, and each is the body's. */
export async function digestMatches(
  header: string,
  body: Uint8Array<ArrayBuffer>,
  calculator: Pick<SignatureCrypto, 'digest'> = webCrypto,
): Promise<boolean> {
  const claimed = claimedDigests(header);
  for (const [name, bytes] of claimed)
    if (!equalBytes(bytes, await calculator.digest(name, body))) return false;
  return claimed.size > 0;
}

/** Constant time for equal lengths. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.byteLength !== right.byteLength) return false;
  let difference = 0;
  for (let index = 0; index < left.byteLength; index += 1)
    difference |= (left[index] ?? 0) ^ (right[index] ?? 0);
  return difference === 0;
}

/** What a host runtime calculates: keys by which signatures are verified, digests of bodies. */
export interface SignatureCrypto {
  /** @param publicKey - raw 32 bytes, base64url. */
  ed25519(publicKey: string): VerifyKey | Promise<VerifyKey>;
  hmac(secret: Uint8Array): VerifyKey | Promise<VerifyKey>;
  digest(algorithm: DigestAlgorithm, body: Uint8Array<ArrayBuffer>): Uint8Array | Promise<Uint8Array>;
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

/** Wherever there is the Web Crypto API. */
export const webCrypto: SignatureCrypto = {
  ed25519: importEd25519,
  hmac: importHmac,
  digest: async (algorithm, body) => new Uint8Array(await crypto.subtle.digest(DIGESTS[algorithm], body)),
};
