/**
 * Mode `jwt`: bearer tokens, verified once and then remembered until they expire.
 *
 * A remembered token is one map lookup and four comparisons; verifying one costs more than the rest of
 * the gateway (docs/SPECIFICATION.md). An entry is bound to the key set object it was verified with, so
 * it ends with the keys.
 */
import { decodeProtectedHeader, errors, jwtVerify } from 'jose';
import type { JwtAuth } from '#shared/contracts/config.ts';
import { JWT_ALGORITHMS, type Jwks } from '#shared/contracts/jwks.ts';
import type { AccountItem, VersionItem } from '#shared/contracts/feed.ts';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import { principalOf } from './principal.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import { SharedCache } from '#shared/shared-cache.ts';
import { Shares } from '#shared/shares.ts';
import { toBase64Url } from '#shared/encoding.ts';
import type { Call } from '../ports.ts';
import { JwtKeys, pickKey, type OpenJwk } from './jwt-keys.ts';
import type { AuthOutcome } from './outcome.ts';
import { findToken } from './token-places.ts';

const TOKEN_CHARACTERS_MAX = 8_192;
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
/** Clocks of issuers differ; RFC 7519 allows a small leeway. */
const LEEWAY_S = 5;

type Verified = Extract<AuthOutcome, { kind: 'verified' }>;

interface Remembered {
  readonly outcome: Verified;
  readonly keys: Jwks;
  /** A version may have several rules, for different paths. */
  readonly auth: JwtAuth;
  readonly notBeforeMs: number;
  readonly expiresMs: number;
}

function refused(code: ErrorCode, detail: string): AuthOutcome {
  return {
    kind: 'refused',
    error: new PlatformError(code, `token refused: ${detail}`, { publicDetail: detail }),
    challenge: 'bearer',
  };
}

export class JwtAuthenticator {
  readonly #clock: Clock;
  /** By version, because versions differ in audience and issuer. */
  readonly #remembered = new SharedCache<Remembered>(new Shares('gateway.tokens'));

  readonly #keys: JwtKeys;

  constructor(clock: Clock, open: OpenJwk) {
    this.#clock = clock;
    this.#keys = new JwtKeys(open);
  }

  get size(): number {
    return this.#remembered.size;
  }

  authenticate(
    call: Call,
    version: VersionItem,
    auth: JwtAuth,
    account: AccountItem | undefined,
  ): AuthOutcome | Promise<AuthOutcome> {
    const header = call.header('authorization');
    const keys: Jwks | undefined = auth.jwks ?? account?.issuer?.jwks;
    const entry = header === undefined ? undefined : `${version.id} ${header}`;
    // On the path of every request, so the id is not parsed.
    const owner = version.id.slice(0, version.id.indexOf('/'));
    const known = entry === undefined ? undefined : this.#recall(entry, { owner, auth, keys });
    if (known !== undefined) return known;
    const place = findToken(call, auth, header);
    if (place.kind === 'missing') return refused('token_missing', 'no Authorization header');
    if (keys === undefined)
      return refused('token_invalid', 'neither the function nor its account has keys for tokens');
    if (place.kind === 'other')
      return refused('token_invalid', 'the Authorization header holds no bearer token');
    const { token, hidden } = place;
    if (token.length > TOKEN_CHARACTERS_MAX)
      return refused('token_invalid', `the token is too long: at most ${TOKEN_CHARACTERS_MAX} characters`);
    if (!COMPACT.test(token)) return refused('token_invalid', 'the token is not a JWT in compact form');
    const issuer = auth.issuer ?? (auth.jwks === undefined ? account?.issuer?.issuer : undefined);
    const from = { auth, keys, issuer, entry: entry ?? `${version.id} bearer ${token}`, owner };
    const remembered = this.#recall(from.entry, from);
    const outcome = remembered ?? this.#verify(token, from);
    if (hidden === undefined) return outcome;
    return Promise.resolve(outcome).then((judged) =>
      judged.kind === 'verified' ? { ...judged, hidden } : judged,
    );
  }

  #recall(
    entry: string,
    {
      owner,
      auth,
      keys,
    }: { readonly owner: string; readonly auth: JwtAuth; readonly keys: Jwks | undefined },
  ): Verified | undefined {
    const known = this.#remembered.get(owner, entry);
    if (known === undefined) return undefined;
    const nowMs = this.#clock.wallMs();
    if (known.keys === keys && known.auth === auth && nowMs < known.expiresMs && nowMs >= known.notBeforeMs)
      return known.outcome;
    this.#remembered.delete(owner, entry);
    return undefined;
  }

  async #verify(
    token: string,
    from: { auth: JwtAuth; keys: Jwks; issuer: string | undefined; entry: string; owner: string },
  ): Promise<AuthOutcome> {
    try {
      const pick = pickKey(
        from.keys,
        decodeProtectedHeader(token) as { alg: string },
        from.auth.algorithms ?? JWT_ALGORITHMS,
      );
      if (pick.kind === 'refused') return refused('token_invalid', pick.reason);
      const key = await this.#keys.load(from.owner, pick);
      if (key === undefined) return { kind: 'deferred' };
      const { payload } = await jwtVerify(token, key, {
        algorithms: [pick.algorithm],
        audience: from.auth.audience,
        ...(from.issuer === undefined ? {} : { issuer: from.issuer }),
        currentDate: new Date(this.#clock.wallMs()),
        clockTolerance: LEEWAY_S,
        // A token that never expires could never be taken back.
        requiredClaims: ['exp'],
      });
      // jose types it, and does not check it.
      const subject: unknown = payload.sub;
      if (subject !== undefined && typeof subject !== 'string')
        return refused('token_invalid', 'claim sub is not text');
      const principal = subject === undefined ? undefined : principalOf('token', subject);
      if (subject !== undefined && principal === undefined)
        return refused(
          'token_invalid',
          `claim sub is too long: its encoded form has at most ${LIMITS.principalBytesMax} characters`,
        );
      const outcome = {
        kind: 'verified',
        principal,
        claims: toBase64Url(new TextEncoder().encode(JSON.stringify(payload))),
      } as const;
      this.#remembered.set(from.owner, from.entry, {
        outcome,
        keys: from.keys,
        auth: from.auth,
        notBeforeMs: ((payload.nbf ?? 0) - LEEWAY_S) * 1000,
        expiresMs: ((payload.exp ?? 0) + LEEWAY_S) * 1000,
      });
      return outcome;
    } catch (thrown) {
      return refusal(thrown);
    }
  }
}

function refusal(thrown: unknown): AuthOutcome {
  if (thrown instanceof errors.JWTExpired) return refused('token_expired', 'the token has expired');
  if (thrown instanceof errors.JWTClaimValidationFailed)
    return refused('token_invalid', `claim ${thrown.claim} is missing or does not fit`);
  if (thrown instanceof errors.JWSSignatureVerificationFailed)
    return refused('token_invalid', 'the signature does not verify');
  // Malformed tokens and unusable keys of the account: either way the token cannot be accepted.
  return refused('token_invalid', 'the token cannot be verified');
}
