/**
 * Everything the scheduler knows. It is memory only: a restarted scheduler hears it again from the
 * heartbeats of nodes and gateways, and what is wanted from the journal of the feed.
 *
 * The records point at each other and are changed in place by step(): one owner, no copies. Must hold
 * (test/sim checks it): an account's instances are those of its versions; `slotsLeased` is the sum over `leases`; a version's `waiting` is the sum over
 * its queue; every instance is in its version, its node and the index, or in none of them.
 */
import { parseVersionId, type AccountName, type VersionId } from '#shared/ids.ts';
import { scalingSchema, type Scaling } from '#shared/contracts/config.ts';
import type { PlacementItem } from '#shared/contracts/feed.ts';
import type { Endpoint } from '#shared/contracts/leases.ts';
import type { ExitReason } from '#shared/contracts/nodes.ts';
import type { CoreConfig } from './config.ts';
import type { Effect, Fault } from './events.ts';
import { Shares } from '#shared/shares.ts';
import { Work } from './work.ts';

export interface Waiter {
  readonly requestId: string;
  readonly gatewayId: string;
  readonly version: Version;
  readonly waiting: number;
  readonly sinceMs: number;
  readonly deadlineAtMs: number;
  readonly session: string | undefined;
}

/** No instance is started before `untilMs`; `fault` is what callers hear when there is none to serve them. */
export interface Hold {
  readonly untilMs: number;
  readonly fault: Fault;
  /** Of a quarantine: how the last process ended. */
  readonly reason?: ExitReason;
}

export interface Version {
  readonly id: VersionId;
  readonly account: AccountName;
  /** `account/function`: the key of its placement. */
  readonly functionKey: string;
  readonly number: number;
  scaling: Scaling;
  /** False for a version known only from a node's list: its limits come with the first acquire. */
  scalingKnown: boolean;
  /** First come, first served: a Map keeps the order and lets a cancelled one leave in O(1). */
  readonly queue: Map<string, Waiter>;
  waiting: number;
  readonly instances: Set<Instance>;
  /** With isolation `session`: the one instance of each. */
  readonly sessions: Map<string, Instance>;
  hold: Hold | undefined;
  startFailures: number;
  /** Killed instances and good requests of late. */
  readonly work: Work;
  quarantines: number;
  /** When trouble was last seen; the counters are forgotten some time after it. */
  troubleAtMs: number;
}

/** Why an instance is drained; only a drain for idleness can be taken back. `yield`: for another account. */
export type DrainCause = 'idle' | 'departed' | 'age' | 'spent' | 'room' | 'yield' | 'node';

/**
 * `starting` → `ready` → `draining` (no new lease, held ones revoked) → `stopping` (the node was told).
 * All four count against maxInstances and the node's capacity: the process may exist in each of them.
 */
export const INSTANCE_STATES = ['starting', 'ready', 'draining', 'stopping'] as const;
export type InstanceState = (typeof INSTANCE_STATES)[number];

export interface Instance {
  readonly id: string;
  readonly version: Version;
  readonly node: NodeRecord;
  state: InstanceState;
  /** When `state` last changed. */
  sinceMs: number;
  drainCause: DrainCause | undefined;
  /** What the node was told with its stop. */
  stopGraceMs: number;
  endpoint: Endpoint | undefined;
  bornAtMs: number;
  readyAtMs: number;
  busyAtMs: number;
  sealedUntilMs: number;
  /** Known from a list, not from our own start: what it has served, and whom, is not known. */
  readonly adopted: boolean;
  /** Whose instance it is, for its whole life. */
  session: string | undefined;
  /** Requests that leases on it allow or allowed, less those that were given back unused. */
  requestsGranted: number;
  /** The node's list has named it: from then on, absence means that it is gone. */
  listed: boolean;
  /** The node reported the end of an instance whose start it has not answered yet. */
  exit: ExitReason | undefined;
  readonly leases: Set<LeaseRecord>;
  slotsLeased: number;
}

export interface LeaseRecord {
  readonly id: string;
  readonly gatewayId: string;
  readonly instance: Instance;
  readonly slots: number;
  /** Requests that it allows; undefined: any number, or what is left is not known. */
  readonly requests: number | undefined;
  readonly grantedAtMs: number;
  /** The gateway has named it in a heartbeat: from then on, absence means release. */
  named: boolean;
  inFlight: number;
  expiresAtMs: number;
  revoked: boolean;
  /** The gateway has been answered that it is revoked: too late to change one's mind. */
  revocationSent: boolean;
}

export interface GatewayRecord {
  readonly id: string;
  heardAtMs: number;
  readonly leases: Set<LeaseRecord>;
}

export interface NodeRecord {
  readonly id: string;
  heardAtMs: number;
  capacity: number;
  freeSlots: number;
  draining: boolean;
  /** Not heard for `memberDeadMs`: what it runs is used, and nothing is started there. */
  silent: boolean;
  readonly instances: Set<Instance>;
  /** Instances that start there, by account. */
  readonly starts: Shares;
  failures: number;
  avoidUntilMs: number;
}

/** Who waits for room that others have too much of, and how much is enough for everybody. */
export interface Hunger {
  readonly accounts: ReadonlySet<string>;
  /** Instances that an account may have while others want room: the nodes' capacity by the accounts that use it. */
  readonly part: number;
}

export const NO_HUNGER: Hunger = { accounts: new Set(), part: 0 };

export interface State {
  nowMs: number;
  /** Until then the picture may be incomplete: nodes and gateways have not all been heard. */
  readonly recoveringUntilMs: number;
  /** When a node that could take instances was heard last. */
  nodeHeardAtMs: number;
  readonly versions: Map<VersionId, Version>;
  readonly instances: Map<string, Instance>;
  readonly leases: Map<string, LeaseRecord>;
  readonly gateways: Map<string, GatewayRecord>;
  readonly nodes: Map<string, NodeRecord>;
  readonly waiters: Map<string, Waiter>;
  /** One for each waiter, by account. */
  readonly places: Shares;
  /** Versions with a queue, in the order in which they began to wait. */
  readonly queued: Set<Version>;
  /** What control wants, by `account/function`. */
  readonly functions: Map<string, PlacementItem>;
  /** Functions of late: a gateway may not have heard of it yet. Of what is forgotten instances end when they are idle. */
  readonly deleted: Set<string>;
  /** Those of `functions` with a provision that is not empty. */
  readonly provisioned: Set<string>;
  /** Scaling of each version that an alias of an enabled function points at. */
  readonly live: Map<VersionId, Scaling>;
  /** Instances to keep ready, at least 1. */
  targets: Map<VersionId, number>;
  /** The minute of wall time for which `targets` was made. */
  targetsMinute: number;
  /** When the last alias left a version that may still have instances. */
  readonly departed: Map<VersionId, number>;
  /** Most instances of all functions of an account. */
  readonly ceilings: Map<string, number>;
  readonly accountInstances: Map<string, Set<Instance>>;
  /** As of the last tick. */
  hunger: Hunger;
}

/** What one step works with. */
export interface Machine {
  readonly state: State;
  readonly config: CoreConfig;
  /** Numbers in [0, 1); ids need enough of them to be unique across restarts. */
  readonly random: () => number;
  readonly nowMs: number;
  readonly effects: Effect[];
  /** Versions whose queue may move, and whether room on a node appeared: settled once at the end. */
  readonly dirty: Set<Version>;
  roomFreed: boolean;
}

export function createState(startMs: number, config: CoreConfig): State {
  return {
    nowMs: startMs,
    recoveringUntilMs: startMs + config.memberDeadMs,
    // The one that was heard before this start may be starting anew, too.
    nodeHeardAtMs: startMs,
    versions: new Map(),
    instances: new Map(),
    leases: new Map(),
    gateways: new Map(),
    nodes: new Map(),
    waiters: new Map(),
    places: new Shares('scheduler.waiters', { total: config.waitersMax }),
    queued: new Set(),
    functions: new Map(),
    deleted: new Set(),
    provisioned: new Set(),
    live: new Map(),
    targets: new Map(),
    targetsMinute: -1,
    departed: new Map(),
    ceilings: new Map(),
    accountInstances: new Map(),
    hunger: NO_HUNGER,
  };
}

/** Undefined at the bound. */
export function versionOf(m: Machine, id: VersionId): Version | undefined {
  const known = m.state.versions.get(id);
  if (known !== undefined) return known;
  if (m.state.versions.size >= m.config.versionsMax) return undefined;
  const live = m.state.live.get(id);
  const { account, functionName, number } = parseVersionId(id);
  const version: Version = {
    id,
    account,
    functionKey: `${account}/${functionName}`,
    number,
    scaling: live ?? scalingSchema.parse({}),
    scalingKnown: live !== undefined,
    queue: new Map(),
    waiting: 0,
    instances: new Set(),
    sessions: new Map(),
    hold: undefined,
    startFailures: 0,
    work: new Work(m.config.workWindowMs),
    quarantines: 0,
    troubleAtMs: 0,
  };
  m.state.versions.set(id, version);
  return version;
}

/** Instances that serve, or will once started. */
export function standing(version: Version): number {
  let count = 0;
  for (const instance of version.instances)
    if (instance.state === 'ready' || instance.state === 'starting') count += 1;
  return count;
}

/** Undefined at the bound. */
export function gatewayOf(m: Machine, id: string): GatewayRecord | undefined {
  let gateway = m.state.gateways.get(id);
  if (gateway === undefined) {
    if (m.state.gateways.size >= m.config.gatewaysMax) return undefined;
    gateway = { id, heardAtMs: m.nowMs, leases: new Set() };
    m.state.gateways.set(id, gateway);
  }
  gateway.heardAtMs = m.nowMs;
  return gateway;
}

interface Member {
  readonly heardAtMs: number;
}

export function isAliveAt({ heardAtMs }: Member, nowMs: number, memberDeadMs: number): boolean {
  return nowMs - heardAtMs < memberDeadMs;
}

export function isAlive(m: Machine, member: Member): boolean {
  return isAliveAt(member, m.nowMs, m.config.memberDeadMs);
}

export function liveGateways(m: Machine): number {
  let live = 0;
  for (const gateway of m.state.gateways.values()) if (isAlive(m, gateway)) live += 1;
  return live;
}

export function setInstanceState(m: Machine, instance: Instance, state: InstanceState): void {
  if (instance.state === 'starting' && state !== 'starting') endStart(instance);
  instance.state = state;
  instance.sinceMs = m.nowMs;
}

/** It starts no more, however that came. */
export function endStart({ node, version }: Instance): void {
  node.starts.give(version.account, 1);
}

export function randomId(m: Machine, prefix: string): string {
  // Two draws of 31 bits: short enough for a socket path, unique beside the ids of earlier runs.
  const part = (): string =>
    Math.floor(m.random() * 2_147_483_648)
      .toString(36)
      .padStart(6, '0');
  return `${prefix}${part()}${part()}`;
}

/** Exponential pause: `baseMs` after the first failure, doubling to `maxMs`. */
export function backoffMs(failures: number, baseMs: number, maxMs: number): number {
  return Math.min(maxMs, baseMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
}
