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
 * memory.
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
export const serviceBindingSchema = z.strictObject({
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
