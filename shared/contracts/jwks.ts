/**
 * Key sets that verify tokens: what is taken of them, and which key can verify what.
 *
 * Members and keys that this platform does not know are left out (RFC 7517 section 5), so that a provider's own
 * document can be pasted. What can never be right is refused when it is given: private keys, secrets that are too short, a set
 * in which no key verifies anything, several keys without an id.
 */
import { z } from 'zod';
import { fromBase64Url } from '../encoding.ts';

/** `Ed25519` is the name that RFC 9864 gives to what issuers mostly still call `EdDSA`. */
export const JWT_ALGORITHMS = [
  'EdDSA',
  'Ed25519',
  'ES256',
  'ES384',
  'ES512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'HS256',
  'HS384',
  'HS512',
] as const;
export type JwtAlgorithm = (typeof JWT_ALGORITHMS)[number];

const FIT: Readonly<
  Record<JwtAlgorithm, { readonly kty: string; readonly crv?: string; readonly keyBytesMin?: number }>
> = {
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
  Ed25519: { kty: 'OKP', crv: 'Ed25519' },
  ES256: { kty: 'EC', crv: 'P-256' },
  ES384: { kty: 'EC', crv: 'P-384' },
  ES512: { kty: 'EC', crv: 'P-521' },
  RS256: { kty: 'RSA' },
  RS384: { kty: 'RSA' },
  RS512: { kty: 'RSA' },
  PS256: { kty: 'RSA' },
  PS384: { kty: 'RSA' },
  PS512: { kty: 'RSA' },
  // RFC 7518 section 3.2: a key of at least the size of the hash.
  HS256: { kty: 'oct', keyBytesMin: 32 },
  HS384: { kty: 'oct', keyBytesMin: 48 },
  HS512: { kty: 'oct', keyBytesMin: 64 },
};

const KEYS_MAX = 20;
const SECRET_BYTES_MIN = 32;
/** RFC 7518 sections 3.3 and 3.5. */
const RSA_BYTES_MIN = 256;
/** 8,192 bits: what signs today has at most half of that, and a longer modulus costs CPU at each token. */
const RSA_BYTES_MAX = 1_024;
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth'] as const;

const base64Url = (max: number): z.ZodString =>
  z
    .string()
    .max(max)
    .regex(/^[A-Za-z0-9_-]+$/, 'use base64url');
const common = {
  kid: z.string().max(256).optional(),
  alg: z.string().max(32).optional(),
  use: z.string().max(32).optional(),
};
const jwkSchema = z.discriminatedUnion('kty', [
  z.object({ ...common, kty: z.literal('OKP'), crv: z.string().max(32), x: base64Url(200) }),
  z.object({
    ...common,
    kty: z.literal('EC'),
    crv: z.string().max(32),
    x: base64Url(200),
    y: base64Url(200),
  }),
  z.object({ ...common, kty: z.literal('RSA'), n: base64Url(1_400), e: base64Url(16) }),
  z.object({
    ...common,
    kty: z.literal('oct'),
    /** The secret, as it is given. It is sealed before it is stored, and no call shows it. */
    k: base64Url(1_400).optional(),
    /** Under the platform's key-encryption key, context {@link jwkContext}. Never taken from outside. */
    sealed: z.string().max(2_000).optional(),
  }),
]);
export type Jwk = z.infer<typeof jwkSchema>;
export interface Jwks {
  readonly keys: readonly Jwk[];
}

export const jwkContext = (account: string): string => `jwk/${account}`;

/** base64url text without padding → how many bytes. */
const bytesOf = (text: string): number => Math.floor((text.length * 3) / 4);

/** Which algorithms the key can verify. Without `alg`, all that its type fits. */
export function algorithmsOf(key: Jwk): readonly JwtAlgorithm[] {
  if (key.use !== undefined && key.use !== 'sig') return [];
  if (key.kty === 'RSA' && (bytesOf(key.n) < RSA_BYTES_MIN || bytesOf(key.n) > RSA_BYTES_MAX)) return [];
  return JWT_ALGORITHMS.filter((name) => {
    const { kty, crv, keyBytesMin } = FIT[name];
    if (key.kty !== kty || (crv !== undefined && 'crv' in key && key.crv !== crv)) return false;
    if (key.kty === 'oct' && key.k !== undefined && bytesOf(key.k) < (keyBytesMin ?? 0)) return false;
    return key.alg === undefined || sameAlgorithm(key.alg, name);
  });
}

/** Two names for one algorithm are the same. */
function sameAlgorithm(left: string, right: string): boolean {
  const plain = (name: string): string => (name === 'Ed25519' ? 'EdDSA' : name);
  return plain(left) === plain(right);
}

const TYPES = new Set<unknown>(['OKP', 'EC', 'RSA', 'oct']);

function keysOf(set: unknown): readonly unknown[] | undefined {
  if (typeof set !== 'object' || set === null || !('keys' in set)) return undefined;
  return Array.isArray(set.keys) ? (set.keys as unknown[]) : undefined;
}

/** The keys that this platform can read; whether the set will do is said by {@link jwksProblems} when it is given. */
export const jwksSchema = z.preprocess(
  (set) => {
    const keys = keysOf(set);
    // A set beyond the bound is refused as it is, before each key is looked at.
    if (keys === undefined || keys.length > KEYS_MAX) return set;
    return { keys: keys.filter((key) => jwkSchema.safeParse(key).success) };
  },
  z.object({
    /** Public JSON Web Keys, or secrets of type `oct` (RFC 7517). */
    keys: z.array(jwkSchema).max(KEYS_MAX),
  }),
);

interface JwksProblem {
  /** From the set down. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Why a key as it was given is no key of the set. Keys of unknown types are nobody's business. */
function keyProblem(key: unknown): string | undefined {
  if (typeof key !== 'object' || key === null) return 'a key is an object (RFC 7517)';
  const { kty, k, ...members } = key as Readonly<Record<string, unknown>>;
  if (!TYPES.has(kty)) return typeof kty === 'string' ? undefined : 'a key names its type in `kty`';
  const secret = PRIVATE_MEMBERS.find((name) => name in members);
  if (secret !== undefined && kty !== 'oct')
    return `this is a private key (it has the member \`${secret}\`); paste its public part only`;
  if (kty === 'oct' && 'sealed' in members) return "the member `sealed` is the platform's own";
  if (kty === 'oct' && typeof k !== 'string')
    return 'a key of type `oct` holds its secret in `k`, as base64url';
  if (typeof k === 'string' && kty === 'oct' && bytesOf(k) < SECRET_BYTES_MIN)
    return `the secret has ${bytesOf(k)} bytes; the least that HS256 allows are ${SECRET_BYTES_MIN} (RFC 7518 section 3.2)`;
  const parsed = jwkSchema.safeParse(key);
  const [issue] = parsed.error?.issues ?? [];
  return issue === undefined ? undefined : `${issue.path.join('.')}: ${issue.message}`;
}

/** What is wrong with a key set that somebody gives. Pure; judges members that {@link jwksSchema} drops. */
export function jwksProblems(given: unknown): readonly JwksProblem[] {
  const keys = keysOf(given);
  if (keys === undefined) return [{ path: [], message: 'a key set is an object with an array `keys`' }];
  if (keys.length > KEYS_MAX) return [{ path: ['keys'], message: `at most ${KEYS_MAX} keys` }];
  const problems = keys.flatMap((key, index) => {
    const message = keyProblem(key);
    return message === undefined ? [] : [{ path: ['keys', index], message }];
  });
  if (problems.length > 0) return problems;
  const usable = jwksSchema.parse(given).keys.filter((key) => algorithmsOf(key).length > 0);
  if (usable.length === 0)
    return [
      {
        path: ['keys'],
        message: `no key of the set can verify a token; supported are ${JWT_ALGORITHMS.join(', ')}, with RSA keys of 2,048 to 8,192 bits`,
      },
    ];
  if (usable.filter((key) => key.kid === undefined).length > 1)
    return [
      {
        path: ['keys'],
        message: 'at most one key may be without a `kid`: a token could not say which of them signed it',
      },
    ];
  return [];
}

/** For what callers give; the same as {@link jwksSchema} but that it refuses what has problems. */
export const givenJwksSchema = z.preprocess((given, context) => {
  for (const { path, message } of jwksProblems(given))
    context.addIssue({ code: 'custom', path: [...path], message });
  return given;
}, jwksSchema);

/** @returns the secret of an `oct` key that was given in plain. */
export function plainSecretOf(key: Jwk): Uint8Array<ArrayBuffer> | undefined {
  return key.kty === 'oct' && key.k !== undefined ? fromBase64Url(key.k) : undefined;
}
