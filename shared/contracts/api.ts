/**
 * The control API as its clients see it (`/v1`, published at `/openapi.json`). Control validates and
 * documents with these schemas; the CLI parses answers with them.
 *
 * Every call is signed (shared/signatures) or carries `Authorization: Bearer TOKEN`; lists are
 * `{ items, nextCursor? }`; failures are problem documents (shared/errors.ts). With A = `/v1/accounts/{account}`
 * and F = A`/functions/{function}`:
 *
 *   GET    /v1/accounts                          list            POST /v1/accounts {name}
 *   GET    A                                     AccountView     PATCH A {issuer?, ceilings?}
 *   GET    A/functions                           list            GET F · PATCH F {enabled} · DELETE F
 *   POST   F/versions     multipart/form-data    → 201 PublishReply (200 when identical content was published before)
 *            part `metadata`: JSON PublishMetadata; parts `module:NAME`: bytes; parts `map:NAME`: source map
 *            of module NAME (optional). Creates the function when it does not exist.
 *            part `assets` (optional): JSON AssetsUpload (contracts/assets.ts); its files were uploaded before:
 *   POST   F/assets/missing {files}              → {missing}: digests that the account has not uploaded yet
 *   POST   F/assets       multipart/form-data    → 204; part `metadata`: {}; parts `asset:DIGEST`: bytes
 *   GET    F/versions · GET F/versions/{n} · DELETE F/versions/{n}
 *   GET    F/aliases · PUT F/aliases/{alias} SetAlias → DeploymentView · DELETE F/aliases/{alias}
 *   GET    F/aliases/{alias}/provision · PUT Provision → ProvisionView · DELETE
 *   POST   F/aliases/{alias}/rollback {toVersion?} → DeploymentView
 *   GET    F/deployments?alias=live              history, newest first
 *   GET    F/logs?follow=0|1&tail=N              application/x-ndjson of LogEntry, stacks source-mapped
 *   GET    A/layers · POST A/layers/{layer}/versions (multipart as above, LayerMetadata) → LayerVersionView
 *   GET    A/layers/{layer}/versions · GET|DELETE A/layers/{layer}/versions/{n}
 *   GET    A/layers/{layer}/versions/{n}/modules/{path}   bytes
 *   GET    A/keys · POST A/keys CreateKey → CreatedKey · DELETE A/keys/{id}
 *   GET    A/secrets · PUT A/secrets/{secret} PutSecret → SecretView · DELETE A/secrets/{secret}
 *   GET    F/secrets · PUT F/secrets/{secret} {value} · DELETE F/secrets/{secret}   members of the function's `env`
 *   GET    A/routes · POST A/routes CreateRoute → RouteView · DELETE A/routes/{id}
 *   GET    A/usage?from&to&function&granularity=hour|day|total   list of UsageView
 *   GET    /v1/whoami                            → Whoami: the key of this call, and where functions answer
 *   GET    /v1/propagation?revision=N&waitMs=N   → Propagation; waits until every live consumer applied N
 *   GET    /v1/status                            → PlatformStatus
 */
import { z } from 'zod';
import {
  aliasNameSchema,
  digestSchema,
  functionNameSchema,
  kvNamespaceNameSchema,
  layerNameSchema,
  versionIdSchema,
  versionNumberSchema,
} from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { functionConfigSchema } from './config.ts';
import { skippedItemSchema } from './feed.ts';
import { moduleRefSchema, moduleTypeSchema } from './modules.ts';
import { nodeStatusSchema } from './nodes.ts';
import { provisionSchema } from './provision.ts';
import { grantedFunctionsSchema } from './secrets.ts';

/** RFC 3339 instant. */
const instant = z.iso.datetime();

export const listOf = <S extends z.ZodType>(
  item: S,
): z.ZodObject<{ items: z.ZodArray<S>; nextCursor: z.ZodOptional<z.ZodString> }> =>
  z.object({ items: z.array(item), nextCursor: z.string().optional() });

const publishedModules = z.array(z.strictObject({ name: z.string(), type: moduleTypeSchema }));
const uploadedModules = publishedModules.min(1);

export const publishMetadataSchema = z.strictObject({
  config: functionConfigSchema,
  /** Absent, with no modules: the version has static assets and no code. */
  main: z.string().min(1).optional(),
  modules: publishedModules,
  /** Alias to move to the new version once it has started well; undefined publishes without traffic. */
  alias: aliasNameSchema.optional(),
  message: z.string().max(1_000).optional(),
});

export const versionViewSchema = z.object({
  function: functionNameSchema,
  number: versionNumberSchema,
  /** sha-256 over code, resolved layers and config: equal content, equal digest. */
  digest: digestSchema,
  /** Absent: the version has no code. */
  main: z.string().optional(),
  modules: z.array(moduleRefSchema),
  assets: z.object({ files: z.number().int(), bytes: z.number().int() }).optional(),
  config: functionConfigSchema,
  createdAt: instant,
  createdBy: z.string(),
  message: z.string().optional(),
});

export const missingAssetsSchema = z.strictObject({
  files: z
    .array(z.strictObject({ digest: digestSchema, bytes: z.number().int().min(0) }))
    .max(LIMITS.assetsPerCheckMax),
});
export const missingAssetsReplySchema = z.object({ missing: z.array(digestSchema) });

export const weightsSchema = z
  .array(z.strictObject({ version: versionNumberSchema, weight: z.number().int().min(1).max(100) }))
  .min(1)
  .max(10)
  .refine(
    (weights) => weights.reduce((sum, entry) => sum + entry.weight, 0) === 100,
    'weights must add up to 100',
  )
  .refine(
    (weights) => new Set(weights.map((entry) => entry.version)).size === weights.length,
    'each version may appear once',
  );

export const deploymentViewSchema = z.object({
  id: z.string(),
  function: functionNameSchema,
  alias: aliasNameSchema,
  weights: weightsSchema,
  previous: weightsSchema.optional(),
  reason: z.enum(['publish', 'set', 'rollback']),
  message: z.string().optional(),
  createdAt: instant,
  createdBy: z.string(),
  /** Feed revision from which the change is visible; pass it to /v1/propagation. */
  revision: z.number().int(),
});

export const publishReplySchema = z.object({
  version: versionViewSchema,
  /** False when the same content was published before and that version is returned. */
  created: z.boolean(),
  /** Present when `alias` was given. */
  deployment: deploymentViewSchema.optional(),
  /** How long the trial start took, in ms. */
  startMs: z.number().optional(),
  /** Of what was accepted and will not do what it seems to. */
  warnings: z.array(z.string()).optional(),
});

export const setAliasSchema = z.strictObject({
  weights: weightsSchema,
  message: z.string().max(1_000).optional(),
});
export const rollbackSchema = z.strictObject({
  toVersion: versionNumberSchema.optional(),
  message: z.string().max(1_000).optional(),
});
export const aliasViewSchema = z.object({
  name: aliasNameSchema,
  weights: weightsSchema,
  provision: provisionSchema.optional(),
  updatedAt: instant,
});
export const provisionViewSchema = provisionSchema.extend({
  alias: aliasNameSchema,
  /** Instances asked for right now, and how many of them are ready; absent while the scheduler is not there. */
  target: z.number().int().optional(),
  ready: z.number().int().optional(),
});

/** A version of which no instance is started for now: quarantined, or its last start failed. */
const heldViewSchema = z.object({
  version: versionIdSchema,
  code: z.string(),
  /** Of a quarantine: how the last process ended. */
  reason: z.string().optional(),
  until: instant,
  /** How often in a row; the pause doubles each time. A new version starts from none. */
  count: z.number().int(),
});

export const functionViewSchema = z.object({
  name: functionNameSchema,
  enabled: z.boolean(),
  aliases: z.array(aliasViewSchema),
  latestVersion: versionNumberSchema.optional(),
  createdAt: instant,
  /** Absent in lists, and while the scheduler is not there. */
  held: z.array(heldViewSchema).optional(),
});

export const layerMetadataSchema = z.strictObject({
  modules: uploadedModules,
  message: z.string().max(1_000).optional(),
});
export const layerVersionViewSchema = z.object({
  layer: layerNameSchema,
  number: versionNumberSchema,
  digest: digestSchema,
  modules: z.array(moduleRefSchema),
  createdAt: instant,
  created: z.boolean().optional(),
});
export const layerViewSchema = z.object({
  name: layerNameSchema,
  latestVersion: versionNumberSchema,
  createdAt: instant,
});

export const createKvNamespaceSchema = z.strictObject({
  name: kvNamespaceNameSchema,
  /** Functions that may bind it. Absent: every function of the account, published with a key that is not limited. */
  functions: grantedFunctionsSchema.optional(),
});
/** Replaces the list of functions; null: every function. */
export const patchKvNamespaceSchema = z.strictObject({ functions: grantedFunctionsSchema.nullable() });
export const kvNamespaceViewSchema = z.object({
  name: kvNamespaceNameSchema,
  /** Random and never used again: a namespace that is made anew under a name is another one. */
  id: z.string(),
  functions: grantedFunctionsSchema.optional(),
  createdAt: instant,
});

export const createRouteSchema = z.strictObject({
  host: z.string().min(1).max(253),
  /** Exact path, or a prefix that ends in `/*`. */
  path: z.string().min(1).max(1_024).startsWith('/', 'a path starts with /'),
  function: functionNameSchema,
  alias: aliasNameSchema.default(aliasNameSchema.parse('live')),
});
export const routeViewSchema = createRouteSchema.extend({
  id: z.string(),
  alias: aliasNameSchema,
  createdAt: instant,
  revision: z.number().int().optional(),
});

export const patchFunctionSchema = z.strictObject({ enabled: z.boolean() });

export const propagationSchema = z.object({
  revision: z.number().int(),
  complete: z.boolean(),
  /** Live consumers (seen within LIMITS.memberDeadMs) and how many have applied the revision. */
  gateways: z.object({ total: z.number().int(), applied: z.number().int() }),
  nodes: z.object({ total: z.number().int(), applied: z.number().int() }),
  /** ms between the commit of the revision and the last acknowledgement; absent while incomplete. */
  elapsedMs: z.number().optional(),
});

export const USAGE_GRANULARITIES = ['hour', 'day', 'total'] as const;
export const usageViewSchema = z.object({
  function: functionNameSchema,
  /** Begin of the hour, of the day (UTC), or of the whole range. */
  start: instant,
  requests: z.number().int(),
  errors: z.number().int(),
  cpuMs: z.number(),
  /** Memory limit times life of the instances, in MB·ms; 1 GB·s is 1,000,000. */
  memoryMbMs: z.number(),
  requestBytes: z.number().int(),
  responseBytes: z.number().int(),
  egressRequests: z.number().int(),
  egressBytes: z.number().int(),
});

export const platformStatusSchema = z.object({
  revision: z.number().int(),
  consumers: z.array(
    z.object({
      consumer: z.string(),
      role: z.enum(['gateway', 'node', 'scheduler']),
      revision: z.number().int(),
      connected: z.boolean(),
      /** Items of the feed that it could not read: it serves without them, or with what they were before. */
      skipped: z.array(skippedItemSchema),
    }),
  ),
  nodes: z.array(nodeStatusSchema),
  /** Of the disk under the data folder. `full`: changes and KV puts are refused (storage_full), serving goes on. */
  storage: z
    .object({ freeBytes: z.number().int(), totalBytes: z.number().int(), full: z.boolean() })
    .optional(),
  /** Of the caller's account. Absent while the scheduler is not there. */
  held: z.array(heldViewSchema).optional(),
});

export type PublishMetadata = z.infer<typeof publishMetadataSchema>;
export type VersionView = z.infer<typeof versionViewSchema>;
export type Weights = z.infer<typeof weightsSchema>;
export type DeploymentView = z.infer<typeof deploymentViewSchema>;
export type PublishReply = z.infer<typeof publishReplySchema>;
export type FunctionView = z.infer<typeof functionViewSchema>;
export type HeldView = z.infer<typeof heldViewSchema>;
export type ProvisionView = z.infer<typeof provisionViewSchema>;
export type AliasView = z.infer<typeof aliasViewSchema>;
export type LayerMetadata = z.infer<typeof layerMetadataSchema>;
export type LayerVersionView = z.infer<typeof layerVersionViewSchema>;
export type LayerView = z.infer<typeof layerViewSchema>;
export type KvNamespaceView = z.infer<typeof kvNamespaceViewSchema>;
export type CreateRoute = z.infer<typeof createRouteSchema>;
export type RouteView = z.infer<typeof routeViewSchema>;
export type Propagation = z.infer<typeof propagationSchema>;
export type UsageGranularity = (typeof USAGE_GRANULARITIES)[number];
export type UsageView = z.infer<typeof usageViewSchema>;
export type PlatformStatus = z.infer<typeof platformStatusSchema>;
