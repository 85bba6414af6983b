/**
 * Everything bounded that accounts share, in one place: how much there is, and how it is divided. A bound in
 * the code that stands neither here nor among those of one account, one request or one process fails
 * test/architecture/bounds.test.ts; a thing here without an attack fails test/hostile/shares.test.ts.
 */
import type { ErrorCode } from './errors.ts';

interface SharedThing {
  /** For whom who reads a refusal: "The share of this account is used up: WHAT." */
  readonly what: string;
  readonly unit: 'bytes' | 'entries';
  readonly total: number;
  /** A holder that has no more than this may take while anything is free; see shares.ts. */
  readonly floor: number;
  readonly fullCode: ErrorCode;
}

const KIB = 1_024;
const MIB = 1_024 * KIB;

const entries = (total: number, what: string, floor = 1): SharedThing => ({
  what,
  unit: 'entries',
  total,
  floor,
  fullCode: 'share_full',
});
const bytes = (total: number, what: string, floor = 64 * KIB): SharedThing => ({
  ...entries(total, what, floor),
  unit: 'bytes',
});

export const SHARED = {
  // Gateway
  /** Held by client addresses: whose a connection is shows only with its first request. */
  'gateway.connections': entries(32_768, 'connections of this address'),
  'gateway.requests': entries(32_768, 'requests in hand at a gateway'),
  /** With what Node keeps unread of them (shared/carry/intake.node.ts); and of nodes for calls between functions. */
  'gateway.bodies': bytes(96 * MIB, 'bytes of request bodies that a gateway holds'),
  'gateway.nonces': {
    ...entries(2_000_000, 'signatures that are remembered so that none is used twice'),
    fullCode: 'replay_window_full',
  },
  /** Of gateways, and of nodes for calls between functions. */
  'leases.acquires': entries(512, 'calls that wait for an instance at the scheduler'),
  'gateway.tokens': entries(10_000, 'verified tokens that are remembered'),

  // Scheduler
  'scheduler.waiters': {
    ...entries(20_000, 'places in the queues of the scheduler'),
    fullCode: 'queue_full',
  },
  /** Of each node: instances that it was told to start and has not said to be ready. Their `init` may wait. */
  'scheduler.starts': entries(256, 'instances that start at a node'),

  // Nodes
  /** Starts that compute. A node with more than two cores has more. */
  'node.starts': entries(4, 'instances that start at once'),
  'node.startPlaces': entries(512, 'starts that wait at a node'),
  /** Each saves a start some 25 ms; so one account may have most of them, and some are left for others. */
  'node.slots': entries(48, 'slots that wait ready'),
  /** In UTF-16 units. */
  'node.logs': bytes(16 * MIB, 'log lines of a node that wait for the disk'),
  'kv.requests': entries(1_024, 'KV requests in hand at a node'),
  'kv.bodies': bytes(128 * MIB, 'bytes of KV values in hand at a node', 1 * MIB),
  'node.cache': bytes(64 * MIB, 'bytes of responses that functions keep in the cache of a node', 1 * MIB),
  'cache.bodies': bytes(64 * MIB, 'bytes of responses that are being put into the cache of a node', 1 * MIB),
  'cache.requests': entries(1_024, 'cache requests in hand at a node'),
  'rateLimits.keys': entries(200_000, 'keys that the rate limits of a node count'),
  'egress.connections': {
    ...entries(10_000, 'outbound connections of a node'),
    fullCode: 'connections_exceeded',
  },
  'egress.lookups': entries(1_000, 'names that a node looks up'),
  'egress.names': entries(10_000, 'names that are remembered with their addresses'),
  'node.programs': bytes(128 * MIB, 'bytes of encoded programs'),

  // Static assets, at a gateway and in a node's thread
  'assets.loading': bytes(256 * MIB, 'bytes of assets that are being read', 64 * MIB),
  'assets.sending': bytes(64 * MIB, 'bytes of assets that slow readers hold'),

  // Control
  /** Held by client addresses. */
  'control.connections': entries(4_096, 'connections of this address'),
  'control.requests': entries(512, 'API requests in hand'),
  'control.bodies': bytes(64 * MIB, 'bytes of API requests in hand', 2 * MIB),
  'control.maps': bytes(64 * MIB, 'bytes of source maps that are remembered'),
  /** Each holds a whole map, of up to 32 MiB, while it is read. */
  'control.mapReads': entries(2, 'source maps that are read at once'),
  'control.mapReadPlaces': entries(64, 'source maps that wait to be read'),
  /** On disk. */
  'control.uploads': bytes(1_024 * MIB, 'bytes of uploads in hand', 0),
  /** Code that is started once, or stored: both hold the largest blobs of an upload in memory. */
  'control.trials': entries(4, 'uploads that are tried at once'),
  'control.trialPlaces': entries(64, 'uploads that wait to be tried'),
  'control.nonces': {
    ...entries(200_000, 'signatures that are remembered so that none is used twice'),
    fullCode: 'replay_window_full',
  },
} as const satisfies Record<string, SharedThing>;

export type SharedName = keyof typeof SHARED;
