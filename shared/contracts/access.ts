/** Who may do what in the control API (api.ts): keys, secrets, accounts. */
import { z } from 'zod';
import { accountNameSchema, functionNameSchema, secretNameSchema } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { ROLES } from './feed.ts';
import { givenJwksSchema, jwksSchema } from './jwks.ts';
import { ceilingsSchema } from './ceilings.ts';
import { grantedFunctionsSchema, grantedHostsSchema } from './secrets.ts';

/** RFC 3339 instant. */
const instant = z.iso.datetime();

export const createKeySchema = z.strictObject({
  name: z.string().min(1).max(100),
  role: z.enum(ROLES),
  /** `token` is a bearer token for this API only; the others sign API calls and invocations. */
  algorithm: z.enum(['ed25519', 'hmac-sha256', 'token']),
  /** ed25519 only: raw 32-byte public key, base64url. Absent: control makes a pair and returns the secret once. */
  publicKey: z.string().optional(),
  functions: z.array(functionNameSchema).max(100).optional(),
  expiresAt: instant.optional(),
});
export const keyViewSchema = z.object({
  id: z.string(),
  name: z.string(),
  role: z.enum(ROLES),
  algorithm: z.enum(['ed25519', 'hmac-sha256', 'token']),
  functions: z.array(functionNameSchema).optional(),
  expiresAt: instant.optional(),
  createdAt: instant,
});
/** `secret` is shown this once: PKCS #8 base64url (ed25519), base64url (hmac-sha256), or the token. */
export const createdKeySchema = keyViewSchema.extend({
  secret: z.string().optional(),
  revision: z.number().int(),
});

/** Open to every key: what a client needs to know before it can do anything else. */
export const whoamiSchema = z.object({
  account: accountNameSchema,
  key: keyViewSchema,
  gateway: z.object({
    /** As the platform itself knows it, which may be a loopback address behind a proxy; absent when it does not. */
    url: z.url().optional(),
    /** Functions answer at FUNCTION.BASE and FUNCTION.ACCOUNT.BASE. */
    baseDomain: z.string(),
  }),
});

const secretTextSchema = z
  .string()
  .min(1)
  .refine(
    (value) => new TextEncoder().encode(value).byteLength <= LIMITS.secretBytesMax,
    `a secret has at most ${LIMITS.secretBytesMax} bytes`,
  );

/** Never returned by any call. It has to fit into a header: other text is a secret of a function. */
export const putSecretSchema = z.strictObject({
  value: z
    .string()
    .min(1)
    .max(LIMITS.secretBytesMax)
    .regex(
      /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/,
      'use printable ASCII without line breaks, and no space at either end; a secret of one function may hold any text',
    ),
  /** Absent: as it was, or every function. null: every function. */
  functions: grantedFunctionsSchema.nullable().optional(),
  /** Absent: as it was, or any host. null: any host. */
  hosts: grantedHostsSchema.nullable().optional(),
});
export const secretViewSchema = z.object({
  name: secretNameSchema,
  updatedAt: instant,
  functions: grantedFunctionsSchema.optional(),
  hosts: grantedHostsSchema.optional(),
});
export const functionSecretViewSchema = z.object({ name: secretNameSchema, updatedAt: instant });
/** Of one function: text of any kind, as a member of its `env`. */
export const putFunctionSecretSchema = z.strictObject({ value: secretTextSchema });
export const putFunctionSecretReplySchema = functionSecretViewSchema.extend({
  revision: z.number().int(),
  /** False: it will be there from the function's first version on. */
  functionExists: z.boolean(),
});
export const putSecretReplySchema = secretViewSchema.extend({ revision: z.number().int() });

export const createAccountSchema = z.strictObject({ name: accountNameSchema });
const issuerSchema = z.strictObject({ issuer: z.string().min(1).max(1_024), jwks: jwksSchema });
const givenIssuerSchema = issuerSchema.extend({ jwks: givenJwksSchema });
/** `ceilings` replaces them all; null removes them. For the operator alone. */
export const patchAccountSchema = z.strictObject({
  issuer: givenIssuerSchema.nullable().optional(),
  ceilings: ceilingsSchema.nullable().optional(),
});
export const accountViewSchema = z.object({
  name: accountNameSchema,
  issuer: issuerSchema.optional(),
  ceilings: ceilingsSchema.optional(),
  /** Bytes that it keeps on control's disk, each file once: of code with source maps, and of static assets. */
  stored: z.object({ codeBytes: z.number().int().min(0), assetBytes: z.number().int().min(0) }).optional(),
  createdAt: instant,
});

export type CreateKey = z.infer<typeof createKeySchema>;
export type KeyView = z.infer<typeof keyViewSchema>;
export type CreatedKey = z.infer<typeof createdKeySchema>;
export type SecretView = z.infer<typeof secretViewSchema>;
export type AccountView = z.infer<typeof accountViewSchema>;
export type Whoami = z.infer<typeof whoamiSchema>;
