/**
 * Picks the key that must have signed a token. Pure but for the import of the key.
 *
 * The algorithm in a token's head is the attacker's word. It only selects among keys whose type fits
 * (HS256 needs an `oct` key, so a public key never serves as a shared secret), and `none` fits none.
 */
import { importJWK, type CryptoKey, type JWK, type JWTHeaderParameters } from 'jose';
import type { JWT_ALGORITHMS } from '#shared/contracts/config.ts';

export type JwtAlgorithm = (typeof JWT_ALGORITHMS)[number];
/** As the configuration holds it. */
export interface KeySet {
  readonly keys: readonly (Readonly<Record<string, unknown>> & { readonly kty: string })[];
}

const FIT: Record<JwtAlgorithm, { readonly kty: string; readonly crv?: string }> = {
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
  ES256: { kty: 'EC', crv: 'P-256' },
  RS256: { kty: 'RSA' },
  HS256: { kty: 'oct' },
};
/** Members of a private key. A key set that holds one by mistake still only verifies. */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth'] as const;
const imported = new WeakMap<object, Promise<CryptoKey | Uint8Array>>();

export type KeyPick =
  | { readonly kind: 'key'; readonly jwk: KeySet['keys'][number]; readonly algorithm: JwtAlgorithm }
  | { readonly kind: 'refused'; readonly reason: string };

export function pickKey(
  set: KeySet,
  header: Pick<JWTHeaderParameters, 'alg' | 'kid'>,
  allowed: readonly JwtAlgorithm[],
): KeyPick {
  const algorithm = allowed.find((name) => name === header.alg);
  if (algorithm === undefined) return { kind: 'refused', reason: 'the algorithm is not allowed' };
  const fit = FIT[algorithm];
  const candidates = set.keys.filter(
    (key) =>
      key.kty === fit.kty &&
      (fit.crv === undefined || key['crv'] === fit.crv) &&
      (key['alg'] === undefined || key['alg'] === algorithm) &&
      (key['use'] === undefined || key['use'] === 'sig') &&
      (header.kid === undefined || key['kid'] === header.kid),
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

export function loadKey(pick: Extract<KeyPick, { kind: 'key' }>): Promise<CryptoKey | Uint8Array> {
  const known = imported.get(pick.jwk);
  if (known !== undefined) return known;
  const publicPart: Record<string, unknown> = { ...pick.jwk };
  for (const member of PRIVATE_MEMBERS) delete publicPart[member];
  const key = importJWK(publicPart as JWK, pick.algorithm);
  imported.set(pick.jwk, key);
  return key;
}
