/** Composition root of the control plane: opens what it owns, in order, and closes it in reverse. */
import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { getRequestListener } from '@hono/node-server';
import { platformFileSchema } from '#shared/contracts/credentials.ts';
import { asPlatformError, PlatformError, problemResponse } from '#shared/errors.ts';
import { answer } from '#shared/http/answer.node.ts';
import { readHead } from '#shared/http/head.ts';
import { createStrictServer, listenOn, type StrictServer } from '#shared/http/strict-server.node.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { diskRoom } from '#shared/runtime/disk.node.ts';
import { ensurePrivateFolder, ensureStateFolder, type Layout } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import { Shares } from '#shared/shares.ts';
import { closeServer, keyOf, serveAt } from '#shared/runtime/transport.node.ts';
import type { ApiDeps } from './api/deps.ts';
import { ownSamples } from './api/metrics.ts';
import { createControl } from './app.ts';
import { AssetStore } from './assets/store.ts';
import { Authenticator } from './auth/authenticate.ts';
import { keepBlobsClean } from './blobs/clean.ts';
import { Bucket, type BucketOptions } from './blobs/bucket.ts';
import { BucketMedium, claimBucket } from './blobs/s3.ts';
import { BlobStore } from './blobs/store.ts';
import { ensureOwner, loadKeyEncryptionKey, readCluster, writeCluster } from './bootstrap.ts';
import { Database } from './db/database.ts';
import { Consumers } from './feed/consumers.ts';
import { FeedHub } from './feed/hub.ts';
import { Opening, type Whole } from './opening.ts';
import { createInternal } from './internal.ts';
import { StackMapper } from './logs/mapper.ts';
import { Metrics } from './metrics.ts';
import { nodeAt } from './nodes.ts';
import { planesAt } from './planes.ts';
import { LATEST_COMPATIBILITY_DATE } from '#shared/compatibility/flags.ts';
import { measureBlobs } from './blobs/measure.ts';
import { sealStoredSecrets } from './publish/stored-secrets.ts';
import { schedulerAt } from './scheduler.ts';
import { newShares, newTrials } from './shares.ts';
import { UsageLedger } from './usage/ledger.ts';

const CHECK_TIMEOUT_MS = 30_000;

/** Of a body, while it waits to be read: in chunks of one byte each byte is some 400 in memory. */
const UNREAD_BYTES_MAX = 16 * 1_024;

/** An upload of the largest bundle over a slow line. */
const REQUEST_MS_MAX = 900_000;

/** The public API takes requests from anybody, so it is as strict about their form as a gateway. */
function serverOf(
  handler: (request: Request) => Response | Promise<Response>,
  newRequestId: () => string,
): StrictServer {
  const listener = getRequestListener(handler, {
    overrideGlobalObjects: false,
    errorHandler: () =>
      problemResponse(new PlatformError('header_invalid', 'unusable host or target'), newRequestId()),
  });
  return createStrictServer({
    newRequestId,
    connections: new Shares('control.connections'),
    requestMsMax: REQUEST_MS_MAX,
    unreadBytesMax: UNREAD_BYTES_MAX,
    onRequest: (incoming, outgoing) => {
      try {
        readHead({
          httpVersion: incoming.httpVersion,
          target: incoming.url ?? '',
          rawHeaders: incoming.rawHeaders,
        });
      } catch (thrown) {
        const response = problemResponse(asPlatformError(thrown), newRequestId());
        response.headers.set('connection', 'close');
        return void answer(incoming, outgoing, response);
      }
      void listener(incoming, outgoing);
    },
  });
}

/** `isoplane up` writes the file once everything listens: later than this plane starts. */
async function readGatewayUrl(path: string): Promise<string | undefined> {
  try {
    return platformFileSchema.parse(JSON.parse(await readFile(path, 'utf8'))).gatewayUrl;
  } catch {
    return undefined;
  }
}

export type BucketSettings = Omit<BucketOptions, 'random' | 'timeoutMs'>;

/** The settings of a database that is on a server. */
interface DatabaseSettings {
  readonly url: string;
  readonly token: string | undefined;
}

async function openDatabase(
  { layout, database, log }: ControlPlaneOptions,
  isInUse: boolean,
): Promise<Database> {
  const cluster = await readCluster(layout.cluster);
  // Before the database knows it, so that no crash between the two makes it another's.
  if (cluster.isNew && database !== undefined) await writeCluster(layout.cluster, cluster.id);
  const db = await Database.open({
    path: layout.database,
    clock: systemClock,
    random: Math.random,
    randomId: () => crypto.randomUUID(),
    cluster: cluster.id,
    expected: isInUse,
    ...(database === undefined ? {} : { server: { ...database, timers: systemTimers, log } }),
  });
  // The one in the file holds: it may be a backup's. A full disk keeps nobody from starting.
  if (database === undefined && (cluster.isNew || db.cluster !== cluster.id))
    await writeCluster(layout.cluster, db.cluster).catch(() => undefined);
  return db;
}

/** Code, and files. Only what is being uploaded lies in folders when there is a bucket. */
async function openStores(
  { layout, bucket: settings, log }: ControlPlaneOptions,
  db: Database,
  isInUse: boolean,
): Promise<{ readonly blobs: BlobStore; readonly assets: AssetStore }> {
  const all = { folder: layout.assets, db, clock: systemClock, log };
  if (settings === undefined)
    return { blobs: await BlobStore.open(layout.blobs), assets: new AssetStore(all) };
  const bucket = new Bucket({ ...settings, random: Math.random });
  await claimBucket(bucket, db.cluster, isInUse);
  return {
    blobs: await BlobStore.open(layout.blobs, { medium: new BucketMedium(bucket, 'blobs/') }),
    assets: new AssetStore({
      ...all,
      mediumOf: (account) => new BucketMedium(bucket, `assets/${account}/`),
    }),
  };
}

export interface ControlPlaneOptions {
  readonly layout: Layout;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Further names by which clients call it. */
  readonly names: readonly string[];
  /** Whose agents are asked. */
  readonly nodeIds: readonly string[];
  readonly baseDomain: string;
  /** undefined: a file of the data folder. */
  readonly database?: DatabaseSettings | undefined;
  /** undefined: folders of the data folder. */
  readonly bucket?: BucketSettings | undefined;
  readonly log: Log;
  /** Signatures that are not younger are refused. Wall time, ms since the epoch. */
  readonly startedMs: number;
}

/** @param port - at which the API listens by the time it is asked. */
async function openWhole(options: ControlPlaneOptions, isInUse: boolean, port: () => number): Promise<Whole> {
  const { layout, host, log, startedMs } = options;
  await using opened = new AsyncDisposableStack();
  const clock = systemClock;
  const timers = systemTimers;
  const db = await openDatabase(options, isInUse);
  opened.defer(() => db.close());
  const { blobs, assets } = await openStores(options, db, isInUse);
  const kek = await loadKeyEncryptionKey(layout.keyEncryptionKey);
  const nodeKey = await loadKeyEncryptionKey(layout.nodeKey);
  await ensureOwner(layout, db, kek, log);
  await sealStoredSecrets(db, kek);
  await measureBlobs({ db, blobs, log });
  const nodes = options.nodeIds.map((id) => nodeAt(id, layout.sockets.node(id)));
  opened.defer(() => Promise.all(nodes.map((node) => node.close())).then(() => undefined));
  const scheduler = schedulerAt(layout.sockets.scheduler, log);
  opened.defer(() => scheduler.close());
  const consumers = new Consumers(clock, timers);
  const hub = new FeedHub({ db, consumers, timers, log });
  const cleaning = keepBlobsClean({ db, blobs, log }, timers);
  opened.defer(() => cleaning.cancel());
  const deps: ApiDeps = {
    db,
    blobs,
    assets,
    nodes,
    log,
    kek,
    nodeKey,
    consumers,
    scheduler,
    clock,
    timers,
    latestDate: LATEST_COMPATIBILITY_DATE,
    checkTimeoutMs: CHECK_TIMEOUT_MS,
    authenticator: new Authenticator({ db, kek, clock, startedMs }),
    shares: newShares(),
    metrics: new Metrics(),
    planes: planesAt(layout.sockets, options.nodeIds),
    trials: newTrials(),
    mapper: new StackMapper({ db, blobs, clock, log }),
    baseDomain: options.baseDomain,
    gatewayUrl: () => readGatewayUrl(layout.platformFile),
    ownNames: () => ({ host, port: port(), names: options.names }),
    disk: () => diskRoom(layout.dataDir),
    requestId: newRequestId,
  };
  const usage = new UsageLedger(db, clock);
  const internal = createInternal({ ...deps, hub, usage, samples: () => ownSamples(deps) });
  const resources = opened.move();
  return {
    endStreams: () => hub.close(),
    api: createControl(deps).fetch,
    internal: internal.fetch,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

const newRequestId = (): string => crypto.randomUUID();

export async function startControl(options: ControlPlaneOptions): Promise<RunningPlane> {
  const { layout, host } = options;
  await using opened = new AsyncDisposableStack();
  await ensureStateFolder(layout.dataDir);
  for (const folder of [layout.runDir, layout.blobs, layout.assets]) await ensurePrivateFolder(folder);
  let { port } = options;
  const opening = opened.use(
    new Opening({
      // Written after the first commit of the database.
      mayWait: existsSync(layout.credentials),
      open: (isInUse) => openWhole(options, isInUse, () => port),
      timers: systemTimers,
      log: options.log,
      newRequestId,
    }),
  );
  await opening.begin();
  const internal = await serveAt(layout.sockets.control, opening.internal);
  opened.defer(() => closeServer(internal, 0));
  const server = serverOf(opening.api, newRequestId);
  port = await listenOn(server.server, options, 'choose another with ISOPLANE_CONTROL_PORT.');
  const resources = opened.move();
  return {
    addresses: { api: `http://${host}:${port}`, internal: keyOf(layout.sockets.control) },
    close: async (graceMs) => {
      opening.endStreams();
      await server.close(graceMs);
      await resources.disposeAsync();
    },
  };
}
