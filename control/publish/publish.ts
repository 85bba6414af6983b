/**
 * Publishes uploads: plan, store, start once, then one transaction.
 *
 * Nothing that a client can see changes before the transaction, and an upload that is refused leaves no blob.
 * Uploads are read before; a permit is held only while code is stored and tried.
 */
import {
  layerMetadataSchema,
  publishMetadataSchema,
  type LayerVersionView,
  type PublishMetadata,
  type PublishReply,
} from '#shared/contracts/api.ts';
import type { AssetFile } from '#shared/contracts/assets.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import type { CheckReply } from '#shared/contracts/nodes.ts';
import { asPlatformError, PlatformError, type ErrorCode } from '#shared/errors.ts';
import type { Digest } from '#shared/ids.ts';
import type { KeyEncryptionKey } from '#shared/seal.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { Principal } from '../auth/authenticate.ts';
import { readAssets, requireAssets } from '../assets/publish.ts';
import type { AssetStore } from '../assets/store.ts';
import { sha256, type BlobLease, type BlobStore } from '../blobs/store.ts';
import { ceilingsOf } from '../db/accounts.ts';
import { touchAssets } from '../db/assets.ts';
import { recordBlobs, type BlobSize } from '../db/blobs.ts';
import { pruneVersions, withinCodeBytes } from '../db/ceilings.ts';
import type { Database, WriteTx } from '../db/database.ts';
import { ensureFunction, peekNumber, type FunctionRef } from '../db/functions.ts';
import { findLayerVersion, insertLayerVersion, layerVersionView, type LayerRef } from '../db/layers.ts';
import { listFunctionSecrets, secretsOfAccounts } from '../db/secrets.ts';
import {
  findByDigest,
  insertVersion,
  versionView,
  type NewVersion,
  type VersionRow,
} from '../db/versions.ts';
import { runnableItem } from '../feed/items.ts';
import { readMap, type MapIndex } from '../logs/map-index.ts';
import { mapStack, type MapLookup } from '../logs/source-maps.ts';
import { inTurns } from '../logs/turns.ts';
import type { NodePort } from '../nodes.ts';
import type { Permits } from '#shared/permits.ts';
import { parseOrRefuse } from '../validation.ts';
import { findThings } from './bindings.ts';
import { limitsGiven, lowerDefaults, overCeilings } from './ceilings.ts';
import { refuseBadOrigins } from './origins.ts';
import { moveAlias } from './move.ts';
import { refuseBadJwks, sealConfig } from './jwks.ts';
import { exportWarnings, withEntrypoints } from './exports.ts';
import { planLayer, planVersion, type ResolvedLayer, type UploadedPart } from './plan.ts';
import { requireGrants } from './require-grants.ts';
import type { Upload, UploadedBlob } from './upload.ts';

export interface PublishDeps {
  readonly db: Database;
  readonly blobs: BlobStore;
  readonly assets: AssetStore;
  readonly nodes: readonly NodePort[];
  /** Seals secrets of token issuers. */
  readonly kek: KeyEncryptionKey;
  readonly log: Log;
  readonly clock: Clock;
  /** YYYY-MM-DD. */
  readonly latestDate: string;
  readonly timers: Timers;
  readonly trials: Permits;
  /** Longest trial start, in ms. */
  readonly checkTimeoutMs: number;
}

function partOf(blob: UploadedBlob): UploadedPart {
  return { name: blob.name, digest: blob.digest, bytes: blob.bytes };
}

function digestOf(identity: string): Digest {
  return sha256(new TextEncoder().encode(identity));
}

/** One after the other: memory holds the largest of them. */
async function store(lease: BlobLease, parts: readonly UploadedBlob[]): Promise<void> {
  for (const part of parts) await lease.put(part.digest, await part.read());
}

async function resolveLayers(
  db: Database,
  ref: FunctionRef,
  metadata: PublishMetadata,
): Promise<readonly ResolvedLayer[]> {
  return db.read(async (orm) => {
    const resolved: ResolvedLayer[] = [];
    for (const { name, version } of metadata.config.layers) {
      const row = await findLayerVersion(orm, { account: ref.account, layer: name }, version);
      resolved.push({
        name,
        version,
        content: row === undefined ? undefined : { digest: row.digest, modules: row.modules },
      });
    }
    return resolved;
  });
}

/** Answers of a node that another node would repeat: the fault lies in what is stored here. */
const NOT_ABOUT_THE_NODE: ReadonlySet<ErrorCode> = new Set([
  'blob_corrupt',
  'blob_not_found',
  'storage_full',
]);

/** The trial ended for a cause outside the code (its process was killed), or the agent went away during it. */
const TRIAL_LOST: ReadonlySet<ErrorCode> = new Set(['instance_lost', 'internal']);
/** About as long as a supervisor takes to start an agent again. */
const REPEAT_AFTER_MS = 1_000;

/** Asks the nodes in turn, and those that lost the trial once more; the first that answers decides. */
async function startOnce(deps: PublishDeps, runnable: Runnable): Promise<CheckReply> {
  let last: unknown;
  const ask = async (nodes: readonly NodePort[]): Promise<CheckReply | readonly NodePort[]> => {
    const lost: NodePort[] = [];
    for (const node of nodes) {
      const limit = AbortSignal.timeout(deps.checkTimeoutMs);
      try {
        return await node.check(runnable, limit);
      } catch (thrown) {
        const { code } = asPlatformError(thrown);
        if (NOT_ABOUT_THE_NODE.has(code)) throw thrown;
        last = thrown;
        deps.log.warn('check_unreachable', { node: node.nodeId, error: thrown });
        // One that hangs has had its time.
        if (TRIAL_LOST.has(code) && !limit.aborted) lost.push(node);
      }
    }
    return lost;
  };
  const first = await ask(deps.nodes);
  if ('ok' in first) return first;
  if (first.length > 0) {
    await new Promise<void>((resolve) => deps.timers.after(REPEAT_AFTER_MS, resolve));
    const second = await ask(first);
    if ('ok' in second) return second;
  }
  const cause = asPlatformError(last);
  throw new PlatformError('node_unavailable', 'no node could try the code', {
    cause,
    retryAfterMs: 2_000,
  });
}

/** Each is read once, whatever the code said. */
function mapsOf(upload: Upload): MapLookup {
  const read = new Map<string, Promise<MapIndex | undefined>>();
  const readOne = async (name: string): Promise<MapIndex | undefined> => {
    const content = await upload.maps.find((map) => map.name === name)?.read();
    return content === undefined ? undefined : inTurns(readMap(content));
  };
  return (name) => {
    const known = read.get(name) ?? readOne(name);
    read.set(name, known);
    return known;
  };
}

type Started = Extract<CheckReply, { ok: true }>;

async function check(deps: PublishDeps, runnable: Runnable, upload: Upload): Promise<Started> {
  const reply = await startOnce(deps, runnable);
  if (reply.ok) return reply;
  const mapOf = mapsOf(upload);
  const stack = reply.stack === undefined ? undefined : await mapStack(reply.stack, mapOf);
  const logs: string[] = [];
  for (const text of reply.logs) logs.push(await mapStack(text, mapOf));
  throw new PlatformError('publish_startup_failed', 'the code did not start', {
    publicDetail: reply.message,
    extensions: {
      ...(stack === undefined ? {} : { stack }),
      logs,
    },
  });
}

interface Commit {
  readonly content: NewVersion;
  readonly metadata: PublishMetadata;
  readonly actor: Publisher;
  readonly files: readonly AssetFile[];
  readonly blobs: readonly BlobSize[];
}

/** Who publishes: a key, and the functions that it is limited to. */
type Publisher = Pick<Principal, 'keyId' | 'functions'>;

async function commit(
  tx: WriteTx,
  ref: FunctionRef,
  { content, metadata, actor, files, blobs }: Commit,
): Promise<PublishReply> {
  await ensureFunction(tx, ref);
  await requireGrants(tx.orm, ref, metadata.config, actor.functions);
  // Again: what is not used may have been removed meanwhile.
  await requireAssets(tx.orm, ref, files);
  await touchAssets(tx, ref.account, files);
  // Looked up again: an equal upload may have been committed while this one was checked.
  const existing = await findByDigest(tx.orm, ref, content.digest);
  if (existing === undefined) await recordBlobs(tx, blobs);
  const row: VersionRow = existing ?? (await insertVersion(tx, ref, content, actor.keyId));
  const deployment =
    metadata.alias === undefined
      ? undefined
      : await moveAlias(tx, ref, {
          alias: metadata.alias,
          weights: [{ version: row.number, weight: 100 }],
          reason: 'publish',
          message: metadata.message,
          actor: actor.keyId,
        });
  if (existing === undefined) await pruneVersions(tx, ref);
  return {
    version: versionView(row),
    created: existing === undefined,
    ...(deployment === undefined ? {} : { deployment }),
  };
}

interface Publishing {
  readonly by: Publisher;
  /** Fires when the client goes away: an upload that still waits for its turn is given up. */
  readonly signal: AbortSignal;
}

/** What the schemas of stored versions let be. */
function refuseAsGiven({ metadata }: Upload, { config }: PublishMetadata): void {
  refuseBadJwks((metadata as { readonly config: Parameters<typeof refuseBadJwks>[0] }).config);
  refuseBadOrigins(config);
}

export async function publishVersion(
  deps: PublishDeps,
  ref: FunctionRef,
  upload: Upload,
  { by, signal }: Publishing,
): Promise<PublishReply> {
  const wanted = parseOrRefuse(publishMetadataSchema, upload.metadata, 'config_invalid');
  refuseAsGiven(upload, wanted);
  const ceilings = await deps.db.read((orm) => ceilingsOf(orm, ref.account));
  const lowered = lowerDefaults(wanted.config, limitsGiven(upload.metadata), ceilings);
  const metadata = { ...wanted, config: lowered.config };
  const over = overCeilings(metadata.config, ceilings);
  if (over !== undefined) throw over;
  const layers = await resolveLayers(deps.db, ref, metadata);
  const own = await deps.db.read(async (orm) => {
    await requireGrants(orm, ref, metadata.config, by.functions);
    return listFunctionSecrets(orm, ref);
  });
  const things = await deps.db.read((orm) => findThings(orm, ref.account, metadata.config));
  const assets = readAssets(upload, metadata);
  const files = assets?.files ?? [];
  await deps.db.read((orm) => requireAssets(orm, ref, files));
  const planned = planVersion({
    metadata,
    assets: assets?.version.manifest,
    modules: upload.modules.map(partOf),
    maps: upload.maps.map(partOf),
    layers,
    things,
    ownSecrets: own.map(({ name }) => name),
    latestDate: deps.latestDate,
  });
  if (planned.kind === 'refused') throw planned.error;
  const { plan } = planned;
  const content: NewVersion = {
    digest: digestOf(plan.identity),
    main: metadata.main ?? '',
    assets: assets?.version ?? null,
    modules: plan.modules,
    maps: plan.maps,
    config: await sealConfig(deps.kek, ref.account, metadata.config),
    bindings: plan.bindings,
    message: metadata.message,
  };
  await using lease = deps.blobs.lease();
  for (const { digest } of plan.modules) await lease.hold(digest);
  const started = await deps.trials.run(ref.account, signal, async () => {
    // Also for content that is known: a damaged blob is healed by publishing again.
    await store(lease, [...upload.modules, ...upload.maps]);
    if (assets !== undefined) await deps.assets.put(ref.account, [assets.blob]);
    const { known, number } = await deps.db.read(async (orm) => ({
      known: await findByDigest(orm, ref, content.digest),
      number: await peekNumber(orm, ref),
    }));
    if (known !== undefined || metadata.main === undefined) return undefined;
    const row = { ...ref, ...content, number, createdAt: deps.clock.wallMs() };
    const secrets = await deps.db.read((orm) => secretsOfAccounts(orm, [ref]));
    return check(deps, runnableItem(row, secrets(ref), ceilings.tier), upload);
  });
  const whole = withEntrypoints(content, started?.exports);
  const blobs = [...plan.modules, ...upload.maps];
  const wanting = { content: whole, metadata, actor: by, files, blobs };
  const committed = deps.db.write((tx) => withinCodeBytes(tx, ref.account, () => commit(tx, ref, wanting)));
  const reply = await lease.keepWhen(committed);
  const warnings = [...lowered.warnings, ...exportWarnings(started?.exports)];
  return {
    ...reply,
    ...(started === undefined ? {} : { startMs: started.startMs }),
    ...(warnings.length === 0 ? {} : { warnings }),
  };
}

export async function publishLayer(
  deps: PublishDeps,
  ref: LayerRef,
  upload: Upload,
  { by, signal }: Publishing,
): Promise<LayerVersionView & { readonly created: boolean }> {
  const metadata = parseOrRefuse(layerMetadataSchema, upload.metadata, 'config_invalid');
  if (upload.maps.length > 0)
    throw new PlatformError('bad_request', 'layers take no source maps', {
      publicDetail: 'Layers take no source maps.',
    });
  const planned = planLayer(metadata, upload.modules.map(partOf));
  if (planned.kind === 'refused') throw planned.error;
  await using lease = deps.blobs.lease();
  await deps.trials.run(ref.account, signal, () => store(lease, upload.modules));
  const { modules, identity } = planned.plan;
  const content = { digest: digestOf(identity), modules, message: metadata.message };
  const { row, created } = await lease.keepWhen(
    deps.db.write((tx) =>
      withinCodeBytes(tx, ref.account, () => insertLayerVersion(tx, ref, content, by.keyId)),
    ),
  );
  return { ...layerVersionView(row), created };
}
