/**
 * The change feed: how desired state reaches gateways and nodes.
 *
 * Conversation (over the control plane's internal Unix socket):
 *   GET  /internal/feed?consumer=ID&role=gateway|node|scheduler&from=REVISION&epoch=EPOCH
 *        → application/x-ndjson, one FeedLine a line, kept open. The first line is `snapshot` when `from`
 *          is 0, unknown, compacted, or of another epoch; otherwise deltas follow. A `bookmark` comes
 *          every LIMITS.feedBookmarkMs, so silence means a dead connection.
 *   POST /internal/feed/ack   FeedAck → 204. The consumer has applied and persisted that revision.
 *          It names items that it could not read: those are skipped, never a reason to stop.
 *   GET  /internal/assets/ACCOUNT/DIGEST → bytes of a file or manifest of that account's static assets
 *   GET  /internal/blobs/DIGEST → bytes (404 blob_not_found). The reader verifies the digest.
 *
 * State is a map from `kind/key` to a value; a delta sets or deletes whole values, so applying one twice
 * is harmless. The epoch changes when a database is restored, so a revision that goes back forces a
 * snapshot. Consumers persist (epoch, revision, items) atomically and serve from it when control is gone.
 */
import { z } from 'zod';
import {
  accountNameSchema,
  aliasNameSchema,
  functionNameSchema,
  secretNameSchema,
  versionIdSchema,
  versionNumberSchema,
} from '../ids.ts';
import { servedAssetsSchema } from './assets.ts';
import { bindingNameSchema, entrypointNameSchema, resolvedBindingSchema, withBindings } from './bindings.ts';
import {
  authByPathSchema,
  authSchema,
  hooksSchema,
  limitsSchema,
  scalingSchema,
  STYLES,
  TIERS,
  varsSchema,
} from './config.ts';
import { corsSchema } from './cors.ts';
import { egressRulesSchema } from './egress.ts';
import { jwksSchema } from './jwks.ts';
import { moduleRefSchema } from './modules.ts';
import { ceilingsSchema } from './ceilings.ts';
import { provisionSchema } from './provision.ts';
import { sealedBindingSchema } from './secrets.ts';

/** Function and where its aliases point. Key: `account/name`. */
const functionItemSchema = z.object({
  account: accountNameSchema,
  name: functionNameSchema,
  enabled: z.boolean(),
  /** Weights are shares of traffic that add up to 100. */
  aliases: z.record(
    aliasNameSchema,
    z.array(z.object({ version: versionNumberSchema, weight: z.number().int().min(1).max(100) })).min(1),
  ),
});

/** What a gateway must know of a version that an alias points at. Key: version id. */
const versionItemSchema = z.object({
  id: versionIdSchema,
  style: z.enum(STYLES),
  auth: authSchema,
  authByPath: authByPathSchema.default([]),
  cors: corsSchema.optional(),
  defaultHost: z.boolean().default(true),
  limits: limitsSchema,
  scaling: scalingSchema,
  assets: servedAssetsSchema.optional(),
});

const runnableFieldsSchema = z.object({
  id: versionIdSchema,
  style: z.enum(STYLES),
  /** Name of the entry module among `modules`. */
  main: z.string(),
  /** Own modules and, under `opt/`, the layers' modules after shadowing. */
  modules: z.array(moduleRefSchema).min(1),
  compatibilityDate: z.string(),
  compatibilityFlags: z.array(z.string()),
  vars: varsSchema,
  limits: limitsSchema,
  scaling: scalingSchema,
  egress: egressRulesSchema,
  bindings: z.array(resolvedBindingSchema),
  /** A value like a variable: it leads to nothing. `timestamp`: when it was published, as ISO 8601. */
  versionMetadata: z.object({ binding: bindingNameSchema, timestamp: z.string() }).optional(),
  secrets: z.array(sealedBindingSchema),
  entrypoints: z.array(entrypointNameSchema),
  hooks: hooksSchema,
  tier: z.enum(TIERS),
});
/** What a node must know to run it. Key: version id. Only versions that an alias points at. */
export const runnableItemSchema = z.preprocess(withBindings, runnableFieldsSchema);

/** Key: `account/name`. For nodes, which put the value on outbound requests (contracts/egress.ts). */
const secretItemSchema = z.object({
  account: accountNameSchema,
  name: secretNameSchema,
  /** Sealed with shared/seal.ts under the nodes' key, context `secret/ACCOUNT/NAME`. */
  sealed: z.string(),
});

/** What a scheduler must know of a function before any request came. Key: `account/name`. */
const placementItemSchema = z.object({
  account: accountNameSchema,
  name: functionNameSchema,
  enabled: z.boolean(),
  aliases: z.array(
    z.object({
      name: aliasNameSchema,
      weights: z.array(z.object({ version: versionNumberSchema, weight: z.number().int().min(1).max(100) })),
      provision: provisionSchema.optional(),
    }),
  ),
  /** Of each version that an alias points at. */
  versions: z.array(z.object({ id: versionIdSchema, scaling: scalingSchema })),
});

/** Key: route id. `path` is a prefix pattern: `/api/*`, or an exact path; `host` is lower case. */
const routeItemSchema = z.object({
  id: z.string(),
  account: accountNameSchema,
  host: z.string(),
  path: z.string(),
  functionName: functionNameSchema,
  alias: aliasNameSchema,
});

export const ROLES = ['owner', 'deployer', 'invoker', 'observer'] as const;

/** A key that may sign invocations. Key: key id. Revoked keys are deleted from the feed. */
const keyItemSchema = z.object({
  id: z.string(),
  account: accountNameSchema,
  role: z.enum(ROLES),
  /** Names of functions it may invoke; undefined = every function of the account. */
  functions: z.array(functionNameSchema).optional(),
  material: z.discriminatedUnion('algorithm', [
    /** Raw 32-byte public key, base64url. */
    z.object({ algorithm: z.literal('ed25519'), publicKey: z.string() }),
    /** Sealed with shared/seal.ts under the platform's key-encryption key: never plain on disk or wire. */
    z.object({ algorithm: z.literal('hmac-sha256'), sealedSecret: z.string() }),
  ]),
  /** ms since the epoch. */
  expiresAtMs: z.number().optional(),
});

/** Key: account name. */
const accountItemSchema = z.object({
  name: accountNameSchema,
  issuer: z.object({ issuer: z.string(), jwks: jwksSchema }).optional(),
  /** Absent: the platform's own limits alone. */
  ceilings: ceilingsSchema.optional(),
});

export const feedItemSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('account'), key: z.string(), value: accountItemSchema.nullable() }),
  z.object({ kind: z.literal('function'), key: z.string(), value: functionItemSchema.nullable() }),
  z.object({ kind: z.literal('version'), key: z.string(), value: versionItemSchema.nullable() }),
  z.object({ kind: z.literal('runnable'), key: z.string(), value: runnableItemSchema.nullable() }),
  z.object({ kind: z.literal('route'), key: z.string(), value: routeItemSchema.nullable() }),
  z.object({ kind: z.literal('key'), key: z.string(), value: keyItemSchema.nullable() }),
  z.object({ kind: z.literal('secret'), key: z.string(), value: secretItemSchema.nullable() }),
  z.object({ kind: z.literal('placement'), key: z.string(), value: placementItemSchema.nullable() }),
]);

/** An item that a consumer could not apply, and why. It serves all others, and what it knew of this one before. */
export const skippedItemSchema = z.object({ kind: z.string(), key: z.string(), reason: z.string() });

/** How many skipped items one acknowledgement names. */
export const SKIPPED_REPORTED_MAX = 20;

export const feedAckSchema = z.object({
  consumer: z.string().min(1).max(200),
  role: z.enum(['gateway', 'node', 'scheduler']),
  revision: z.number().int().min(0),
  /** Items that the consumer goes without, the first few of them. */
  skipped: z.array(skippedItemSchema).max(SKIPPED_REPORTED_MAX).default([]),
});

/** Kinds that each role receives. */
export const FEED_KINDS = {
  gateway: ['account', 'function', 'version', 'route', 'key'],
  /** `function`: service bindings follow aliases. `account`: the quota of KV alone, no issuer. */
  node: ['runnable', 'function', 'secret', 'account'],
  scheduler: ['placement', 'account'],
} as const satisfies Record<string, readonly FeedItem['kind'][]>;

export type FunctionItem = z.infer<typeof functionItemSchema>;
export type VersionItem = z.infer<typeof versionItemSchema>;
export type Runnable = z.infer<typeof runnableItemSchema>;
export type SecretItem = z.infer<typeof secretItemSchema>;
export type PlacementItem = z.infer<typeof placementItemSchema>;
export type RouteItem = z.infer<typeof routeItemSchema>;
export type KeyItem = z.infer<typeof keyItemSchema>;
export type AccountItem = z.infer<typeof accountItemSchema>;
export type FeedItem = z.infer<typeof feedItemSchema>;
export type SkippedItem = z.infer<typeof skippedItemSchema>;
/** A line as it was read: see shared/feed/read.ts. */
export type FeedLine =
  | {
      readonly type: 'snapshot';
      readonly epoch: string;
      readonly revision: number;
      readonly items: readonly FeedItem[];
      readonly skipped?: readonly SkippedItem[] | undefined;
    }
  | {
      readonly type: 'delta';
      readonly revision: number;
      readonly items: readonly FeedItem[];
      readonly skipped?: readonly SkippedItem[] | undefined;
    }
  | { readonly type: 'bookmark'; readonly revision: number };
export type FeedAck = z.infer<typeof feedAckSchema>;
export type FeedRole = keyof typeof FEED_KINDS;
export type Role = (typeof ROLES)[number];
