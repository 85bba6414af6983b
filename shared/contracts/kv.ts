/**
 * Values of KV namespaces as operators see them: the API's words, and the questions that control asks the node's
 * thread (`POST /v1/bindings/kv/ask`, contracts/nodes.ts). Functions ask in workerd's own words.
 */
import { z } from 'zod';
import { accountNameSchema } from '../ids.ts';

export const KV_LIMITS = {
  /** Of its UTF-8. */
  keyBytesMax: 512,
  valueBytesMax: 25 * 1_048_576,
  metadataBytesMax: 1_024,
  listMax: 1_000,
  bulkKeysMax: 100,
  expirationSecondsMin: 60,
  cacheTtlSecondsMin: 30,
} as const;

const ofKey = (what: string): z.ZodString =>
  z
    .string()
    .refine(
      (text) => new TextEncoder().encode(text).byteLength <= KV_LIMITS.keyBytesMax,
      `${what} has at most ${KV_LIMITS.keyBytesMax} bytes of UTF-8`,
    );
export const kvKeySchema = ofKey('a key').min(1);
/** A key in base64url. */
const cursorSchema = z.string().max(Math.ceil((KV_LIMITS.keyBytesMax * 4) / 3));

/**
 * Keys are any text, and clients normalise paths (`a/../b` is `b` before it is sent): they travel as a query
 * parameter, which nobody rewrites.
 */
export const kvKeyQuerySchema = z.object({ key: kvKeySchema });
export const kvKeysQuerySchema = z.object({
  prefix: ofKey('a prefix').default(''),
  limit: z.coerce.number().int().min(1).max(KV_LIMITS.listMax).default(100),
  cursor: cursorSchema.optional(),
});
export const kvKeysSchema = z.object({
  keys: z.array(z.object({ name: z.string(), expiresAtMs: z.number().optional() })),
  /** There are more keys: ask again with it. */
  cursor: z.string().optional(),
});
export const putKvValueSchema = z.strictObject({
  value: z.string(),
  /** Of `value`. */
  encoding: z.enum(['utf8', 'base64']).default('utf8'),
  /** The key is gone after this many seconds. */
  ttlSeconds: z.number().int().min(KV_LIMITS.expirationSecondsMin).optional(),
});

const inNamespace = z.object({ namespaceId: z.string().min(1).max(100) });
const ofValue = inNamespace.extend({ key: kvKeySchema });
/**
 * `get` is answered with the value's bytes or `not_found`, `list` with {@link kvKeysSchema}, the others with nothing.
 * `drop`: the namespace was deleted, and its values are removed in the background.
 */
export const kvQuestionSchema = z.discriminatedUnion('ask', [
  ofValue.extend({ ask: z.literal('get') }),
  ofValue.extend({ ask: z.literal('remove') }),
  /** `account`: whose quota it counts to. */
  ofValue.extend({ ask: z.literal('put'), account: accountNameSchema, ...putKvValueSchema.shape }),
  inNamespace.extend({ ask: z.literal('list'), ...kvKeysQuerySchema.shape }),
  inNamespace.extend({ ask: z.literal('drop') }),
]);

export type KvKeys = z.infer<typeof kvKeysSchema>;
export type PutKvValue = z.infer<typeof putKvValueSchema>;
export type KvQuestion = z.infer<typeof kvQuestionSchema>;
