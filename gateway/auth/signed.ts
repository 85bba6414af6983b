/** Mode `signed`: RFC 9421 message signatures by a key of the function's account. */
import type { FunctionItem, KeyItem } from '#shared/contracts/feed.ts';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import { principalOf } from './principal.ts';
import { normalAuthority, type RequestHead } from '#shared/signatures/components.ts';
import { mayHaveBeenUsed, SIGN_AGAIN_MS, type NonceCache } from '#shared/signatures/replay.ts';
import {
  digestMatches,
  parseSignatures,
  verifySignature,
  type ParsedSignature,
} from '#shared/signatures/verify.ts';
import type { Call } from '../ports.ts';
import { DEFAULT_ALIAS, hostName, readLabel } from '../routing/host.ts';
import type { KeyRing } from './keys.ts';
import type { AuthOutcome } from './outcome.ts';
import type { Hidden } from './token-places.ts';

export interface SignedDeps {
  readonly clock: Clock;
  readonly nonces: NonceCache;
  readonly keys: KeyRing;
  readonly findKey: (keyId: string) => KeyItem | undefined;
  /**
   * Wall time of this gateway's start, ms since the epoch. Nonces are kept in memory: what was signed in the second
   * of the start or before it may have been used already, and `created` is no finer than a second.
   */
  readonly startedMs: number;
}

/** What a caller must sign, in the form of RFC 9421 section 5.1. */
export const ACCEPT_SIGNATURE =
  'isoplane=("@method" "@authority" "@path" "@query" "content-digest");created;expires;nonce;keyid;alg';

const HOW_TO_CALL = {
  specification: 'RFC 9421 (HTTP Message Signatures), RFC 9530 (Content-Digest)',
  cover: ['@method', '@authority', '@path', '@query', 'content-digest (when there is a body)'],
  parameters: ['created', 'expires', 'nonce', 'keyid', 'alg'],
  algorithms: ['ed25519', 'hmac-sha256'],
};

/**
 * The command that makes this call. At a host of the function's own, which has its name already; behind a route the
 * caller learns no name.
 */
function commandFor({ host }: Pick<Call, 'host'>, called: Pick<FunctionItem, 'name'>): string {
  const { name, alias } = readLabel(hostName(host).split('.')[0] ?? '');
  if (name !== called.name) return 'isoplane invoke FUNCTION';
  return `isoplane invoke ${name}${alias === DEFAULT_ALIAS ? '' : ` --alias ${alias}`}`;
}

const SIGNATURE: Hidden = { kind: 'signature' };

type Refuse = (code: ErrorCode, detail: string, retryAfterMs?: number) => AuthOutcome;

function refused(command: string, code: ErrorCode, detail: string, retryAfterMs?: number): AuthOutcome {
  return {
    kind: 'refused',
    error: new PlatformError(code, `signature refused: ${detail}`, {
      publicDetail: detail,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(code === 'forbidden' || code === 'body_too_large'
        ? {}
        : { extensions: { howToCall: { command, ...HOW_TO_CALL } } }),
    }),
    challenge: code === 'forbidden' || code === 'body_too_large' ? 'none' : 'signature',
  };
}

function headOf(call: Call): RequestHead {
  return {
    method: call.method,
    scheme: call.scheme,
    authority: normalAuthority(call.host, call.scheme),
    target: call.target.raw,
    header: (name) => call.header(name),
  };
}

interface Signed {
  readonly deps: SignedDeps;
  readonly call: Call;
  readonly called: FunctionItem;
  readonly signature: ParsedSignature;
  readonly item: KeyItem;
  readonly refuse: Refuse;
}

/**
 * Order matters (shared/signatures/verify.ts): signature, permission, nonce, and only then the body. Nothing is awaited
 * that is there already.
 */
export function authenticateSigned(
  deps: SignedDeps,
  call: Call,
  called: FunctionItem,
): AuthOutcome | Promise<AuthOutcome> {
  const refuse: Refuse = (code, detail, retryAfterMs) =>
    refused(commandFor(call, called), code, detail, retryAfterMs);
  const nowMs = deps.clock.wallMs();
  const parsed = parseSignatures(headOf(call), nowMs);
  if (parsed.kind === 'refused') return refuse(parsed.code, parsed.reason);
  const signature =
    parsed.signatures.find(({ keyId }) => deps.findKey(keyId)?.account === called.account) ??
    parsed.signatures[0];
  if (signature === undefined) return refuse('signature_missing', 'there is no signature');
  if (mayHaveBeenUsed(signature, deps.startedMs))
    return refuse(
      'signature_expired',
      'it was signed before this gateway started; sign again',
      SIGN_AGAIN_MS,
    );
  const item = deps.findKey(signature.keyId);
  // One answer for unknown, foreign and expired keys: a stranger learns nothing about key ids.
  if (
    item === undefined ||
    item.account !== called.account ||
    (item.expiresAtMs !== undefined && item.expiresAtMs <= nowMs)
  )
    return refuse('signature_invalid', 'no valid key of this account has that keyid');
  const signed: Signed = { deps, call, called, signature, item, refuse };
  return after(deps.keys.get(item), (key) =>
    key === undefined
      ? { kind: 'deferred' }
      : after(verifySignature(signature, key), (valid) => judge(signed, valid)),
  );
}

function after<T, U>(value: T | Promise<T>, judging: (value: T) => U | Promise<U>): U | Promise<U> {
  return value instanceof Promise ? value.then(judging) : judging(value);
}

function judge(
  { deps, call, called, signature, item, refuse }: Signed,
  valid: boolean,
): AuthOutcome | Promise<AuthOutcome> {
  if (!valid) return refuse('signature_invalid', 'the signature does not match the request');
  if (item.functions !== undefined && !item.functions.includes(called.name))
    return refuse('forbidden', 'this key is not allowed to invoke this function');
  const claimed = claimNonce(deps, item, signature, refuse);
  if (claimed.kind !== 'verified' || (call.bodyBytes === 0 && !signature.coversDigest)) return claimed;
  return checkBody({ deps, call, called, signature, item, refuse }).then((refusal) => {
    if (refusal === undefined) return claimed;
    claimed.release?.();
    return refusal;
  });
}

async function checkBody({
  deps,
  call,
  called: { account },
  signature,
  refuse,
}: Signed): Promise<AuthOutcome | undefined> {
  if (!signature.coversDigest) return refuse('signature_invalid', 'the signature must cover content-digest');
  const tooLarge = `signed bodies are read whole to check their digest, so at most ${LIMITS.digestBodyBytesMax} bytes`;
  if (call.bodyBytes !== undefined && call.bodyBytes > LIMITS.digestBodyBytesMax)
    return refuse('body_too_large', tooLarge);
  const read = await call.buffer({ account, bytesMax: LIMITS.digestBodyBytesMax });
  if (read.kind === 'gone') return { kind: 'gone' };
  if (read.kind === 'failed') return { kind: 'refused', error: read.error, challenge: 'none' };
  if (read.kind !== 'body') return refuse('body_too_large', tooLarge);
  const header = call.header('content-digest');
  return header !== undefined && (await digestMatches(header, read.bytes, deps.keys.crypto))
    ? undefined
    : refuse('digest_mismatch', 'content-digest is not the sha-256 of the body');
}

function claimNonce(
  deps: SignedDeps,
  { account, id }: KeyItem,
  signature: ParsedSignature,
  refuse: Refuse,
): AuthOutcome {
  const claim = deps.nonces.claim({ account, keyId: id }, signature.nonce, signature.expiresMs);
  switch (claim.kind) {
    case 'fresh':
      return {
        kind: 'verified',
        principal: principalOf('key', signature.keyId),
        claims: undefined,
        hidden: SIGNATURE,
        release: claim.release,
      };
    case 'replayed':
      return refuse('signature_replayed', 'this nonce was used before');
    case 'too_old':
      return refuse('signature_expired', 'the signature has expired');
    case 'full':
      return {
        kind: 'refused',
        error: new PlatformError('replay_window_full', `the share of ${id} is used up`, {
          retryAfterMs: 5_000,
        }),
        challenge: 'none',
      };
  }
}
