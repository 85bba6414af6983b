/**
 * Tables as Drizzle sees them. The SQL that creates them is in migrations/; a test compares the two.
 *
 * Instants are ms since the epoch. JSON columns hold values that were parsed by the shared schemas before
 * they were written, so they are typed, not parsed again.
 */
import { integer, primaryKey, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import type { AccountView } from '#shared/contracts/access.ts';
import type { Weights } from '#shared/contracts/api.ts';
import type { ResolvedBinding } from '#shared/contracts/bindings.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';
import type { FeedItem, Role } from '#shared/contracts/feed.ts';
import type { ModuleRef } from '#shared/contracts/modules.ts';
import type { Ceilings } from '#shared/contracts/ceilings.ts';
import type { Provision } from '#shared/contracts/provision.ts';
import type {
  AccountName,
  AliasName,
  Digest,
  FunctionName,
  KvNamespaceName,
  LayerName,
  SecretName,
} from '#shared/ids.ts';

const instantMs = (name: string) => integer(name).notNull();
const accountColumn = () => text('account').$type<AccountName>().notNull();
const functionColumn = () => text('function').$type<FunctionName>().notNull();

export const meta = sqliteTable('meta', { name: text('name').primaryKey(), value: text('value').notNull() });

export const accounts = sqliteTable('account', {
  name: text('name').$type<AccountName>().primaryKey(),
  issuer: text('issuer', { mode: 'json' }).$type<AccountView['issuer']>(),
  createdAt: instantMs('created_at'),
  ceilings: text('ceilings', { mode: 'json' }).$type<Ceilings>(),
});

export const functions = sqliteTable(
  'function',
  {
    account: accountColumn(),
    name: text('name').$type<FunctionName>().notNull(),
    enabled: integer('enabled', { mode: 'boolean' }).notNull(),
    createdAt: instantMs('created_at'),
  },
  (table) => [primaryKey({ columns: [table.account, table.name] })],
);

export const counters = sqliteTable(
  'counter',
  {
    kind: text('kind').$type<'function' | 'layer'>().notNull(),
    account: accountColumn(),
    name: text('name').notNull(),
    last: integer('last').notNull(),
  },
  (table) => [primaryKey({ columns: [table.kind, table.account, table.name] })],
);

export interface VersionAssets {
  readonly manifest: Digest;
  readonly manifestBytes: number;
  readonly files: number;
  readonly bytes: number;
}

export const versions = sqliteTable(
  'version',
  {
    account: accountColumn(),
    functionName: functionColumn(),
    number: integer('number').notNull(),
    digest: text('digest').$type<Digest>().notNull(),
    main: text('main').notNull(),
    modules: text('modules', { mode: 'json' }).$type<ModuleRef[]>().notNull(),
    /** Module name → digest of its source map. */
    maps: text('maps', { mode: 'json' }).$type<Record<string, Digest>>().notNull(),
    config: text('config', { mode: 'json' }).$type<FunctionConfig>().notNull(),
    message: text('message'),
    createdAt: instantMs('created_at'),
    createdBy: text('created_by').notNull(),
    /** Things that were looked up when it was published. */
    bindings: text('bindings', { mode: 'json' }).$type<ResolvedBinding[]>().notNull(),
    assets: text('assets', { mode: 'json' }).$type<VersionAssets>(),
  },
  (table) => [primaryKey({ columns: [table.account, table.functionName, table.number] })],
);

export const assets = sqliteTable(
  'asset',
  {
    account: accountColumn(),
    digest: text('digest').$type<Digest>().notNull(),
    bytes: integer('bytes').notNull(),
    uploadedAt: instantMs('uploaded_at'),
  },
  (table) => [primaryKey({ columns: [table.account, table.digest] })],
);

/** Bytes of code that versions and layer versions name. Those two tables' triggers keep the uses. */
export const blobs = sqliteTable('blob', {
  digest: text('digest').$type<Digest>().primaryKey(),
  bytes: integer('bytes').notNull(),
});

export const blobUses = sqliteTable(
  'blob_use',
  {
    account: accountColumn(),
    digest: text('digest').$type<Digest>().notNull(),
    uses: integer('uses').notNull(),
  },
  (table) => [primaryKey({ columns: [table.account, table.digest] })],
);

export const aliases = sqliteTable(
  'alias',
  {
    account: accountColumn(),
    functionName: functionColumn(),
    name: text('name').$type<AliasName>().notNull(),
    weights: text('weights', { mode: 'json' }).$type<Weights>().notNull(),
    updatedAt: instantMs('updated_at'),
    provision: text('provision', { mode: 'json' }).$type<Provision>(),
  },
  (table) => [primaryKey({ columns: [table.account, table.functionName, table.name] })],
);

export const deployments = sqliteTable('deployment', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  account: accountColumn(),
  functionName: functionColumn(),
  alias: text('alias').$type<AliasName>().notNull(),
  weights: text('weights', { mode: 'json' }).$type<Weights>().notNull(),
  previous: text('previous', { mode: 'json' }).$type<Weights>(),
  reason: text('reason').$type<'publish' | 'set' | 'rollback'>().notNull(),
  message: text('message'),
  revision: integer('revision').notNull(),
  createdAt: instantMs('created_at'),
  createdBy: text('created_by').notNull(),
});

export const layerVersions = sqliteTable(
  'layer_version',
  {
    account: accountColumn(),
    layer: text('layer').$type<LayerName>().notNull(),
    number: integer('number').notNull(),
    digest: text('digest').$type<Digest>().notNull(),
    modules: text('modules', { mode: 'json' }).$type<ModuleRef[]>().notNull(),
    message: text('message'),
    createdAt: instantMs('created_at'),
    createdBy: text('created_by').notNull(),
  },
  (table) => [primaryKey({ columns: [table.account, table.layer, table.number] })],
);

export const routes = sqliteTable('route', {
  id: text('id').primaryKey(),
  account: accountColumn(),
  host: text('host').notNull(),
  path: text('path').notNull(),
  functionName: functionColumn(),
  alias: text('alias').$type<AliasName>().notNull(),
  createdAt: instantMs('created_at'),
});

export const keys = sqliteTable('key', {
  id: text('id').primaryKey(),
  account: accountColumn(),
  name: text('name').notNull(),
  role: text('role').$type<Role>().notNull(),
  algorithm: text('algorithm').$type<'ed25519' | 'hmac-sha256' | 'token'>().notNull(),
  material: text('material').notNull(),
  functions: text('functions', { mode: 'json' }).$type<FunctionName[]>(),
  expiresAt: integer('expires_at'),
  createdAt: instantMs('created_at'),
  createdBy: text('created_by').notNull(),
});

export const secrets = sqliteTable(
  'secret',
  {
    account: accountColumn(),
    name: text('name').$type<SecretName>().notNull(),
    /** Under the nodes' key, context `secret/ACCOUNT/NAME`. */
    sealed: text('sealed').notNull(),
    updatedAt: instantMs('updated_at'),
    updatedBy: text('updated_by').notNull(),
    /** null: every function of the account. */
    functions: text('functions', { mode: 'json' }).$type<FunctionName[]>(),
    /** null: any host. */
    hosts: text('hosts', { mode: 'json' }).$type<string[]>(),
  },
  (table) => [primaryKey({ columns: [table.account, table.name] })],
);

export const functionSecrets = sqliteTable(
  'function_secret',
  {
    account: accountColumn(),
    functionName: functionColumn(),
    name: text('name').$type<SecretName>().notNull(),
    /** Under the nodes' key, context `secret/ACCOUNT/FUNCTION/NAME`. */
    sealed: text('sealed').notNull(),
    updatedAt: instantMs('updated_at'),
    updatedBy: text('updated_by').notNull(),
  },
  (table) => [primaryKey({ columns: [table.account, table.functionName, table.name] })],
);

export const kvNamespaces = sqliteTable('kv_namespace', {
  id: text('id').primaryKey(),
  account: accountColumn(),
  name: text('name').$type<KvNamespaceName>().notNull(),
  createdAt: instantMs('created_at'),
  createdBy: text('created_by').notNull(),
  /** null: every function of the account. */
  functions: text('functions', { mode: 'json' }).$type<FunctionName[]>(),
});

export const usage = sqliteTable(
  'usage',
  {
    account: accountColumn(),
    functionName: functionColumn(),
    hour: instantMs('hour'),
    requests: integer('requests').notNull(),
    errors: integer('errors').notNull(),
    cpuMs: real('cpu_ms').notNull(),
    memoryMbMs: real('memory_mb_ms').notNull(),
    requestBytes: integer('request_bytes').notNull(),
    responseBytes: integer('response_bytes').notNull(),
    egressRequests: integer('egress_requests').notNull(),
    egressBytes: integer('egress_bytes').notNull(),
  },
  (table) => [primaryKey({ columns: [table.account, table.functionName, table.hour] })],
);

export const usageSources = sqliteTable('usage_source', {
  source: text('source').primaryKey(),
  sequence: integer('sequence').notNull(),
  at: instantMs('at'),
});

export const audits = sqliteTable('audit', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  at: instantMs('at'),
  account: accountColumn(),
  actor: text('actor').notNull(),
  action: text('action').notNull(),
  target: text('target').notNull(),
  detail: text('detail', { mode: 'json' }).$type<Readonly<Record<string, unknown>>>(),
});

/**
 * `version` stands for both feed kinds of a version: `version` (gateways) and `runnable` (nodes); `function`
 * for `function` and `placement` (schedulers).
 */
export type ChangeKind = Exclude<FeedItem['kind'], 'runnable' | 'placement'>;

export const changes = sqliteTable('change', {
  revision: integer('revision').primaryKey({ autoIncrement: true }),
  kind: text('kind').$type<ChangeKind>().notNull(),
  key: text('key').notNull(),
  at: instantMs('at'),
});
