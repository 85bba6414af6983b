/** What a version is bound to beside its variables. A binding is the only way to reach a thing: nothing is ambient. */
import { z } from 'zod';
import { aliasNameSchema, functionNameSchema, kvNamespaceNameSchema } from '../ids.ts';
import { LIMITS } from '../limits.ts';

export const bindingNameSchema = z
  .string()
  .regex(
    /^[A-Za-z_][A-Za-z0-9_]{0,127}$/,
    'a binding name is a JavaScript identifier of at most 128 characters',
  )
  .refine((name) => name !== '__proto__', 'no object has a member of that name');

/** Names a kind of binding wherever one is spoken of: in the feed, to nodes and to their threads. */
const bindingKindSchema = z
  .string()
  .regex(/^[a-z][a-z-]{0,31}$/, 'a kind of binding is named by lower-case letters and hyphens');

/**
 * A binding as nodes are told of it: what the configuration names, looked up. What its kind alone understands is
 * in `terms`, so that a new kind passes from publish to agent without a word about it on the way.
 */
export const resolvedBindingSchema = z.object({
  kind: bindingKindSchema,
  /** Name in `env`. */
  name: bindingNameSchema,
  /** Of the thing that it leads to, as its kind names it. */
  id: z.string().max(300),
  terms: z.record(z.string(), z.unknown()).default({}),
});
export type ResolvedBinding = z.infer<typeof resolvedBindingSchema>;

/**
 * The version that runs, as `env.BINDING`: `{ id, tag, timestamp }`.
 *
 * @example { "binding": "VERSION" }
 */
export const versionMetadataSchema = z.strictObject({
  /** Name in `env`. */
  binding: bindingNameSchema,
});

const rateLimitSchema = z.strictObject({
  /** Name in `env`. */
  binding: bindingNameSchema,
  /** Calls of one key that succeed within a period. */
  limit: z.number().int().min(1).max(LIMITS.rateLimitMax),
  /** The period, in seconds: 10 or 60. */
  periodSeconds: z.union([z.literal(10), z.literal(60)]),
  /** Bindings of the account with the same namespace and period count together. Default: this binding alone. */
  namespace: z
    .string()
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/,
      'use 1 to 64 letters, digits, _ and -, beginning with a letter or digit',
    )
    .optional(),
});

/**
 * Rate limits that the code asks: `await env.BINDING.limit({ key })` is `{ success }`. Each node counts for itself, in
 * memory. An account that counts more keys than its share of 200,000 on a node forgets the oldest ones, those that have
 * reached their limit last.
 *
 * @example [{ "binding": "LOGINS", "limit": 5, "periodSeconds": 60 }]
 */
export const rateLimitsSchema = z.array(rateLimitSchema).max(LIMITS.bindingsMax);

/** Name of an exported class that extends WorkerEntrypoint. */
export const entrypointNameSchema = z
  .string()
  .regex(/^[A-Za-z_$][A-Za-z0-9_$]{0,127}$/, 'an entrypoint is the name of an exported class')
  .refine((name) => name !== 'default' && !name.startsWith('Isoplane'), "that name is the platform's own");

/** `env.BINDING.fetch()` and RPC to another function of the same account. */
const serviceBindingSchema = z.strictObject({
  /** Name in `env`. */
  binding: bindingNameSchema,
  /** To call; it must exist in the account. */
  function: functionNameSchema,
  /** Which of its aliases; each `fetch` follows it. */
  alias: aliasNameSchema.default(aliasNameSchema.parse('live')),
  /** A class (or object with `fetch`) that the other function exports. Default: its default export. */
  entrypoint: entrypointNameSchema.optional(),
});

/** `env.BINDING` is a Workers KV namespace. */
const kvBindingSchema = z.strictObject({
  /** Name in `env`. */
  binding: bindingNameSchema,
  /** Made by `isoplane kv create NAME`. */
  namespace: kvNamespaceNameSchema,
});

/**
 * Other functions of the account, called by `env.BINDING.fetch()` and RPC. The binding is the permission: the
 * target's `auth` is not asked.
 *
 * @example [{ "binding": "PRICES", "function": "prices" }]
 * @example [{ "binding": "ADMIN", "function": "prices", "alias": "beta", "entrypoint": "Admin" }]
 */
export const servicesSchema = z.array(serviceBindingSchema).max(LIMITS.bindingsMax);
/**
 * Workers KV namespaces, as `env.BINDING`.
 *
 * @example [{ "binding": "LINKS", "namespace": "links" }]
 */
export const kvBindingsSchema = z.array(kvBindingSchema).max(LIMITS.bindingsMax);

/** Of a resolved binding to a function; its `id` is `function@alias`. */
export const serviceTermsSchema = z.object({
  function: functionNameSchema,
  alias: aliasNameSchema,
  entrypoint: entrypointNameSchema.optional(),
});

/** Of a resolved rate limit; its `id` is the namespace, which is the account's. */
export const rateLimitTermsSchema = z.object({
  limit: z.number().int().min(1),
  periodSeconds: z.number().int().min(1),
});

type Fields = Readonly<Record<string, unknown>>;
const fields = (value: unknown): Fields =>
  typeof value === 'object' && value !== null ? (value as Fields) : {};

/** Earlier releases wrote a field for each kind, and journals of nodes still hold it. */
export function withBindings(runnable: unknown): unknown {
  const { services, kv, rateLimits, assetsBinding, ...rest } = fields(runnable);
  if (rest['bindings'] !== undefined || !Array.isArray(services) || !Array.isArray(kv)) return runnable;
  const bindings = [
    ...services.map(fields).map(({ binding, ...terms }) => ({
      kind: 'service',
      name: binding,
      id: `${String(terms['function'])}@${String(terms['alias'])}`,
      terms,
    })),
    ...kv.map(fields).map(({ binding, namespaceId }) => ({ kind: 'kv', name: binding, id: namespaceId })),
    ...(Array.isArray(rateLimits) ? rateLimits.map(fields) : []).map(({ binding, namespace, ...terms }) => ({
      kind: 'rate-limit',
      name: binding,
      id: namespace,
      terms,
    })),
  ];
  if (assetsBinding === undefined) return { ...rest, bindings };
  const { binding, served } = fields(assetsBinding);
  const assets = { kind: 'assets', name: binding, id: fields(served)['manifest'], terms: served };
  return { ...rest, bindings: [...bindings, assets] };
}
