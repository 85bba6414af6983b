/**
 * Picks the key that must have signed a token. Pure but for the import of the key.
 *
 * The algorithm in a token's head is the attacker's word. It only selects among keys whose type fits
 * (HS256 needs an `oct` key, so a public key never serves as a shared secret), and `none` fits none.
 */
import { importJWK, type CryptoKey, type JWK, type JWTHeaderParameters } from 'jose';
import {
  algorithmsOf,
  plainSecretOf,
  type Jwk,
  type Jwks,
  type JwtAlgorithm,
} from '#shared/contracts/jwks.ts';

export type KeyPick =
  | { readonly kind: 'key'; readonly jwk: Jwk; readonly algorithm: JwtAlgorithm }
  | { readonly kind: 'refused'; readonly reason: string };

export function pickKey(
  set: Jwks,
  header: Pick<JWTHeaderParameters, 'alg' | 'kid'>,
  allowed: readonly JwtAlgorithm[],
): KeyPick {
  const algorithm = allowed.find((name) => name === header.alg);
  if (algorithm === undefined) return { kind: 'refused', reason: 'the algorithm is not allowed' };
  const candidates = set.keys.filter(
    (key) => (header.kid === undefined || key.kid === header.kid) && algorithmsOf(key).includes(algorithm),
  );
  const [jwk] = candidates;
  if (jwk === undefined)
    return {
      kind: 'refused',
      reason: header.kid === undefined ? 'no key fits the algorithm' : 'unknown kid',
    };
  if (candidates.length > 1)
    return { kind: 'refused', reason: 'several keys fit; the token must name a kid' };
  return { kind: 'key', jwk, algorithm };
}

type Imported = Promise<CryptoKey | Uint8Array | undefined>;

/** Opens the sealed secret of an account's key; undefined where the key-encryption key is not. */
export type OpenJwk = (account: string, sealed: string) => Promise<Uint8Array | undefined>;

/** One import per key and algorithm: a key of the Web Crypto API is bound to its hash. */
export class JwtKeys {
  readonly #open: OpenJwk;
  readonly #imported = new WeakMap<Jwk, Map<JwtAlgorithm, Imported>>();

  constructor(open: OpenJwk) {
    this.#open = open;
  }

  /** undefined: this gateway cannot check tokens of that key. */
  load(account: string, { jwk, algorithm }: Extract<KeyPick, { kind: 'key' }>): Imported {
    const known = this.#imported.get(jwk) ?? new Map<JwtAlgorithm, Imported>();
    this.#imported.set(jwk, known);
    let key = known.get(algorithm);
    if (key === undefined) {
      key = this.#import(account, jwk, algorithm);
      known.set(algorithm, key);
      // A failure may be the key file's; the next token tries again.
      key.catch(() => known.delete(algorithm));
    }
    return key;
  }

  async #import(account: string, jwk: Jwk, algorithm: JwtAlgorithm): Imported {
    if (jwk.kty !== 'oct') return importJWK(jwk as JWK, algorithm);
    return jwk.sealed === undefined ? plainSecretOf(jwk) : this.#open(account, jwk.sealed);
  }
}
