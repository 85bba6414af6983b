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
import { parseVersionId } from '#shared/ids.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import { SharedCache } from '#shared/shared-cache.ts';
import { Shares } from '#shared/shares.ts';
import { toBase64Url } from '#shared/seal.ts';
import type { Call } from '../ports.ts';
import { JwtKeys, pickKey, type OpenJwk } from './jwt-keys.ts';
import type { AuthOutcome } from './outcome.ts';

const TOKEN_CHARACTERS_MAX = 8_192;
const BEARER = /^bearer +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)$/i;
/** Clocks of issuers differ; RFC 7519 allows a small leeway. */
const LEEWAY_S = 5;

interface Remembered {
  readonly outcome: Extract<AuthOutcome, { kind: 'verified' }>;
  readonly keys: Jwks;
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
    if (header === undefined) return refused('token_missing', 'no Authorization header');
    const keys: Jwks | undefined = auth.jwks ?? account?.issuer?.jwks;
    if (keys === undefined)
      return refused('token_invalid', 'neither the function nor its account has keys for tokens');
    const entry = `${version.id} ${header}`;
    const owner = parseVersionId(version.id).account;
    const known = this.#remembered.get(owner, entry);
    if (known !== undefined) {
      const nowMs = this.#clock.wallMs();
      if (known.keys === keys && nowMs < known.expiresMs && nowMs >= known.notBeforeMs) return known.outcome;
      this.#remembered.delete(owner, entry);
    }
    const token = header.length > TOKEN_CHARACTERS_MAX ? undefined : BEARER.exec(header)?.[1];
    if (token === undefined)
      return refused('token_invalid', 'the Authorization header holds no bearer token');
    const issuer = auth.issuer ?? (auth.jwks === undefined ? account?.issuer?.issuer : undefined);
    return this.#verify(token, { auth, keys, issuer, entry, owner });
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
      const outcome = {
        kind: 'verified',
        principal: payload.sub === undefined ? undefined : headerText(payload.sub),
        claims: toBase64Url(new TextEncoder().encode(JSON.stringify(payload))),
      } as const;
      this.#remembered.set(from.owner, from.entry, {
        outcome,
        keys: from.keys,
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

/** Subjects may hold any character; a header value may not. */
function headerText(text: string): string {
  return /^[\u0021-\u007e]{1,512}$/.test(text) ? text : encodeURIComponent(text).slice(0, 512);
}
