/** Puts a gateway together on Node: feed, leases, forwarding, server. */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { dirname, join } from 'node:path';
import { ASSET_DISK_BYTES_MAX, ASSET_MEMORY_BYTES_MAX, AssetLibrary } from '#shared/assets/library.node.ts';
import { Hono } from 'hono';
import { PlatformError, problemResponse } from '#shared/errors.ts';
import { processSamples, shareSamples } from '#shared/metrics/own.node.ts';
import { addMetrics } from '#shared/metrics/routes.ts';
import type { Sample } from '#shared/metrics/samples.ts';
import { startFeedConsumer, type FeedConsumer } from '#shared/feed/consumer.node.ts';
import { FeedState } from '#shared/feed/state.ts';
import { LIMITS } from '#shared/limits.ts';
import { importKeyEncryptionKey, secretUnavailable, type KeyEncryptionKey } from '#shared/seal.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { ensurePrivateFolder, ensureStateFolder, type Layout } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import { closeServer, peerOf, serveAt } from '#shared/runtime/transport.node.ts';
import type { Peer } from '#shared/runtime/peer.ts';
import { UsageReporter } from '#shared/usage/reporter.ts';
import { sendUsage } from '#shared/usage/send.node.ts';
import { Shares } from '#shared/shares.ts';
import { nodeCrypto } from '#shared/signatures/crypto.node.ts';
import { NonceCache } from '#shared/signatures/replay.ts';
import { createGateway, type Gateway, type Admitting } from './app.ts';
import { assetPort } from './assets/serve.node.ts';
import { createKeyRing } from './auth/keys.ts';
import { SocketClient } from '#shared/upstream/socket-client.node.ts';
import { Watch } from '#shared/carry/deadlines.ts';
import { createAgentClient, createSchedulerClient } from '#shared/leases/clients.node.ts';
import { LeaseManager } from '#shared/leases/manager.ts';
import type { TrustedProxies } from './forward/proxies.node.ts';
import { instancesBehind } from './invoke.ts';
import type { InstanceCall } from './ports.ts';
import { listenOn, type StrictServer } from '#shared/http/strict-server.node.ts';
import { createNodeServer, nodeCallOf, type NodeEnv } from './server.node.ts';

export interface GatewayPlaneOptions {
  readonly layout: Layout;
  readonly gatewayId: string;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly baseDomain: string;
  readonly reusePort: boolean;
  /** Whose word about clients is believed. */
  readonly proxies: TrustedProxies;
  /** Connections that may be open; default: as shared/shared-things.ts says. */
  readonly connectionsMax?: number;
  readonly noncesMax?: number;
  readonly log: Log;
  /** How long a client has for a request head. */
  readonly headMsMax?: number;
  /** Signatures older than this are refused; default: now. Wall time, ms since the epoch. */
  readonly startedMs?: number;
  readonly admitting?: Admitting;
  /** False: every request goes through Node's HTTP server, where it can be watched. Default: true. */
  readonly plain?: boolean;
}

/** 128 random bits. */
const newSessionId = (): string => randomBytes(16).toString('base64url');

/** Control may be away: then the journal has to do. */
const FIRST_STATE_MS_MAX = 1_000;

export interface GatewayPlane extends RunningPlane {
  readonly port: number;
  readonly gateway: Gateway<NodeEnv>;
  /** How full everything is that accounts share here. */
  readonly shares: Readonly<Record<'connections' | 'requests' | 'bodies' | 'nonces', Shares>>;
  readonly server: Server;
}

export async function startGateway(options: GatewayPlaneOptions): Promise<GatewayPlane> {
  const { layout, gatewayId, log } = options;
  const journalPath = layout.gatewaySnapshot(gatewayId);
  await ensureStateFolder(layout.dataDir);
  await ensurePrivateFolder(dirname(journalPath));

  const scheduler = createSchedulerClient({
    address: layout.sockets.scheduler,
    holderId: gatewayId,
    timers: systemTimers,
  });
  const agent = createAgentClient({ timers: systemTimers, log });
  const leases = new LeaseManager({ scheduler, clock: systemClock, timers: systemTimers, log });
  const client = new SocketClient(systemClock);
  let state = new FeedState();
  const shares = newShares(options);
  const controlPeer = peerOf(layout.sockets.control);
  const library = await openLibrary(options, controlPeer);
  const gateway = createGateway<NodeEnv, InstanceCall>({
    state: () => state,
    baseDomain: options.baseDomain,
    clock: systemClock,
    random: Math.random,
    newRequestId: randomUUID,
    nonces: new NonceCache({ clock: systemClock, shares: shares.nonces }),
    startedMs: options.startedMs ?? systemClock.wallMs(),
    requests: shares.requests,
    keys: createKeyRing(keyEncryptionKey(layout.keyEncryptionKey), nodeCrypto),
    assets: assetPort(library),
    callOf: callsBy(options, client, shares.bodies),
    behind: instancesBehind({ leases, agent, clock: systemClock, timers: systemTimers, newSessionId }),
    log,
    admitting: options.admitting,
  });
  const server = serverOf(options, gateway, shares.connections);
  const feed: FeedConsumer = await startFeedConsumer({
    peer: controlPeer,
    role: 'gateway',
    consumerId: gatewayId,
    journalPath,
    log,
    timers: systemTimers,
    onChange: (items, changed) => {
      state = changed;
      gateway.changed(items);
    },
  });
  const door = await openDoor(options, () => ownSamples(gateway, { leases, shares, state }));
  const port = await listenWhenReady(server, options, feed).catch(async (thrown: unknown) => {
    await Promise.all([feed.close(), leases.close(), closeServer(door, 0)]);
    throw thrown;
  });
  const usage = reportUsage(options, gateway, controlPeer);
  return {
    port,
    gateway,
    shares,
    server: server.server,
    addresses: { gateway: `http://${options.host}:${port}` },
    close: async (graceMs) => {
      await Promise.all([feed.close(), server.close(graceMs)]);
      await leases.close();
      await usage.close();
      await closeServer(door, 0);
      await Promise.all([client, scheduler, agent, controlPeer].map((each) => each.close()));
    },
  };
}

/** What operators ask, at a socket that clients cannot reach. */
async function openDoor(
  { layout, gatewayId }: GatewayPlaneOptions,
  samples: () => readonly Sample[],
): Promise<Server> {
  await ensurePrivateFolder(layout.runDir);
  const app = new Hono();
  addMetrics(app, () => ({
    plane: 'gateway',
    id: gatewayId,
    samples: [...processSamples(), ...samples()],
  }));
  app.notFound(() => problemResponse(new PlatformError('not_found', 'no such route')));
  return serveAt(layout.sockets.gateway(gatewayId), app.fetch);
}

function ownSamples(
  { metrics }: Gateway<NodeEnv>,
  parts: {
    readonly leases: LeaseManager;
    readonly shares: GatewayPlane['shares'];
    readonly state: FeedState;
  },
): Sample[] {
  const { leases, waiting } = parts.leases.counts();
  return [
    ...metrics.samples(),
    { name: 'isoplane_gateway_leases', value: leases },
    { name: 'isoplane_gateway_requests_waiting', value: waiting },
    { name: 'isoplane_feed_revision', value: parts.state.revision },
    ...shareSamples(Object.values(parts.shares)),
  ];
}

function reportUsage(
  { gatewayId, log }: GatewayPlaneOptions,
  gateway: Gateway<NodeEnv>,
  control: Peer,
): UsageReporter {
  return new UsageReporter({
    source: `gateway/${gatewayId}/${randomUUID()}`,
    sources: [() => gateway.usage.drain()],
    send: (report) => sendUsage(control, report),
    timers: systemTimers,
    log,
  });
}

/** Connections may be given to a gateway as soon as it listens: it must be able to serve then. */
async function listenWhenReady(
  { server }: StrictServer,
  options: GatewayPlaneOptions,
  feed: FeedConsumer,
): Promise<number> {
  await feed.settled(FIRST_STATE_MS_MAX);
  return listenOn(server, options, 'choose another with ISOPLANE_GATEWAY_PORT.');
}

function callsBy({ proxies }: GatewayPlaneOptions, client: SocketClient, bodies: Shares) {
  return nodeCallOf({ client, watch: new Watch(systemClock, systemTimers), bodies, proxies });
}

function serverOf(
  { proxies, headMsMax, plain }: GatewayPlaneOptions,
  { app }: Gateway<NodeEnv>,
  connections: Shares,
): StrictServer {
  return createNodeServer({
    app,
    newRequestId: randomUUID,
    connections,
    isProxy: (address) => proxies.trusts(address),
    plain: plain ?? true,
    clock: systemClock,
    timers: systemTimers,
    ...(headMsMax === undefined ? {} : { headMsMax }),
  });
}

function newShares({
  connectionsMax,
  noncesMax,
}: Pick<GatewayPlaneOptions, 'connectionsMax' | 'noncesMax'>): GatewayPlane['shares'] {
  return {
    connections: new Shares(
      'gateway.connections',
      connectionsMax === undefined ? {} : { total: connectionsMax },
    ),
    requests: new Shares('gateway.requests'),
    bodies: new Shares('gateway.bodies'),
    nonces: new Shares('gateway.nonces', noncesMax === undefined ? {} : { total: noncesMax }),
  };
}

/** Beside the journal: what was served once is served without control, as the rest is. */
function openLibrary({ layout, gatewayId, log }: GatewayPlaneOptions, control: Peer): Promise<AssetLibrary> {
  return AssetLibrary.open({
    folder: join(dirname(layout.gatewaySnapshot(gatewayId)), `${gatewayId}-assets`),
    diskBytesMax: ASSET_DISK_BYTES_MAX,
    memoryBytesMax: ASSET_MEMORY_BYTES_MAX,
    log,
    fetchBlob: (digest, account) =>
      control.bytes(`/internal/assets/${account}/${digest}`, LIMITS.assetBytesMax),
  });
}

/** Read at the first hmac signature: control may create the file after the gateway has started. */
function keyEncryptionKey(path: string): () => Promise<KeyEncryptionKey> {
  let key: Promise<KeyEncryptionKey> | undefined;
  return () => {
    if (key === undefined) {
      key = readFile(path, 'utf8').then(importKeyEncryptionKey, (thrown: unknown) => {
        throw secretUnavailable('the key-encryption key cannot be read', thrown);
      });
      key.catch(() => {
        key = undefined;
      });
    }
    return key;
  };
}
