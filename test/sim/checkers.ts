/**
 * What must hold at every moment, told from messages and from the members' own truth. Nothing here is
 * shared with the code under test but its constants.
 */
import type { VersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Effect, SchedulerEvent } from '#scheduler/core/events.ts';
import type { State } from '#scheduler/core/state.ts';
import { TICK_MS, type SimFunction, type SimNode, type SimVersion } from './actors.ts';
import type { Right, Sent, SimGateway } from './gateway.ts';
import { Violation, type World } from './world.ts';

function must(condition: boolean, law: string): asserts condition {
  if (!condition) throw new Violation(law);
}

/** Each acquire is answered at most once, and no later than its deadline and one tick. */
export class AnswerChecker {
  readonly #outstanding = new Map<string, number>();
  readonly #answered = new Set<string>();
  answers = 0;

  restart(): void {
    this.#outstanding.clear();
  }

  observe(event: SchedulerEvent, effects: readonly Effect[]): void {
    if (event.type === 'acquire') {
      const { deadlineMs, scaling } = event.request;
      this.#outstanding.set(event.requestId, event.atMs + Math.min(deadlineMs, scaling.queueTimeoutMs));
    }
    if (event.type === 'acquireCancelled') this.#outstanding.delete(event.requestId);
    for (const effect of effects) {
      if (effect.type !== 'grant' && effect.type !== 'refuse') continue;
      must(!this.#answered.has(effect.requestId), `${effect.requestId} is answered twice`);
      must(this.#outstanding.has(effect.requestId), `${effect.requestId} is answered but does not wait`);
      this.#answered.add(effect.requestId);
      this.#outstanding.delete(effect.requestId);
      this.answers += 1;
    }
    for (const [requestId, deadlineAtMs] of this.#outstanding)
      must(event.atMs <= deadlineAtMs + TICK_MS, `${requestId} waits past its deadline`);
  }
}

interface Believed {
  readonly versionId: VersionId;
  readonly nodeId: string;
  readonly sinceMs: number;
  /** Named in a list: absence then means the end. */
  listed: boolean;
  answered: boolean;
}

/**
 * No start beyond maxInstances, a node's capacity or the account's ceiling, counting everything that the messages so far say
 * may exist: starts under way, and instances that were told to stop but are not reported gone.
 */
export class StartChecker {
  readonly #believed = new Map<string, Believed>();
  readonly #heardAtMs = new Map<string, number>();
  readonly #capacity = new Map<string, number>();
  readonly #versions: ReadonlyMap<VersionId, SimVersion>;
  /** Of the one account. */
  readonly #ceiling: number | undefined;
  starts = 0;

  constructor(versions: ReadonlyMap<VersionId, SimVersion>, ceiling: number | undefined) {
    this.#versions = versions;
    this.#ceiling = ceiling;
  }

  restart(): void {
    this.#believed.clear();
    this.#heardAtMs.clear();
  }

  observe(event: SchedulerEvent, effects: readonly Effect[]): void {
    if (event.type === 'startFailed') this.#believed.delete(event.instanceId);
    if (event.type === 'startSucceeded') {
      const known = this.#believed.get(event.instanceId);
      if (known !== undefined && !known.answered)
        this.#believed.set(event.instanceId, { ...known, answered: true, sinceMs: event.atMs });
    }
    if (event.type === 'nodeHeartbeat') this.#hear(event);
    for (const effect of effects) {
      if (effect.type === 'nodeForgotten') this.#forget(effect.nodeId, event.atMs);
      if (effect.type === 'start') this.#started(effect, event.atMs);
    }
  }

  #hear(event: Extract<SchedulerEvent, { type: 'nodeHeartbeat' }>): void {
    const { nodeId, heartbeat, atMs } = event;
    this.#heardAtMs.set(nodeId, atMs);
    this.#capacity.set(nodeId, heartbeat.capacity);
    const listed = new Map(heartbeat.instances.map((entry) => [entry.instanceId, entry.versionId]));
    const exited = new Set(heartbeat.exits.map((exit) => exit.instanceId));
    for (const [id, versionId] of listed) {
      const known = this.#believed.get(id);
      if (known !== undefined) {
        known.listed = true;
        known.answered = true;
      } else if (!exited.has(id))
        this.#believed.set(id, { versionId, nodeId, sinceMs: atMs, listed: true, answered: true });
    }
    for (const [id, known] of this.#believed) {
      if (known.nodeId !== nodeId || listed.has(id)) continue;
      const old = known.answered && (known.listed || atMs - known.sinceMs >= 2 * LIMITS.heartbeatMs);
      if (old || exited.has(id)) this.#believed.delete(id);
    }
  }

  #forget(nodeId: string, atMs: number): void {
    const silentMs = atMs - (this.#heardAtMs.get(nodeId) ?? -Infinity);
    must(silentMs >= LIMITS.memberDeadMs, `${nodeId} is forgotten after ${silentMs} ms`);
    for (const [id, known] of this.#believed) if (known.nodeId === nodeId) this.#believed.delete(id);
  }

  #started(effect: Extract<Effect, { type: 'start' }>, atMs: number): void {
    const { instanceId, nodeId, versionId } = effect;
    must(!this.#believed.has(instanceId), `${instanceId} is started twice`);
    this.#believed.set(instanceId, { versionId, nodeId, sinceMs: atMs, listed: false, answered: false });
    this.starts += 1;
    let ofVersion = 0;
    let onNode = 0;
    for (const known of this.#believed.values()) {
      if (known.versionId === versionId) ofVersion += 1;
      if (known.nodeId === nodeId) onNode += 1;
    }
    const { maxInstances } = this.#versions.get(versionId)!.scaling;
    must(ofVersion <= maxInstances, `${versionId} has ${ofVersion} instances of ${maxInstances}`);
    const capacity = this.#capacity.get(nodeId) ?? 0;
    must(onNode <= capacity, `${nodeId} has ${onNode} instances of ${capacity}`);
    const most = this.#ceiling ?? Number.POSITIVE_INFINITY;
    must(this.#believed.size <= most, `the account has ${this.#believed.size} instances of ${most}`);
  }
}

/**
 * Requests that gateways really sent, counted at the instance: never more than it may serve in its life, never
 * of two sessions. And a lease on an instance that is too old, or was told to stop, is never granted.
 */
export class LifeChecker {
  readonly #versions: ReadonlyMap<VersionId, SimVersion>;
  readonly #sent = new Map<string, number>();
  readonly #sessions = new Map<string, string>();
  readonly #readyAtMs = new Map<string, number>();
  /** With the node that was told: what comes back with a node that was given up has not heard of it. */
  readonly #stopped = new Map<string, string>();

  constructor(versions: ReadonlyMap<VersionId, SimVersion>) {
    this.#versions = versions;
  }

  sent({ lease, session }: Sent): void {
    const { instanceId, versionId } = lease;
    const { isolation, maxRequests } = this.#versions.get(versionId)!.scaling;
    const sent = (this.#sent.get(instanceId) ?? 0) + 1;
    this.#sent.set(instanceId, sent);
    const most = isolation === 'request' ? 1 : (maxRequests ?? Number.POSITIVE_INFINITY);
    must(sent <= most, `${instanceId} was sent ${sent} requests of ${most}`);
    if (session === undefined) return;
    const owner = this.#sessions.get(instanceId) ?? session;
    must(owner === session, `${instanceId} of session ${owner} was given to ${session}`);
    this.#sessions.set(instanceId, session);
  }

  restart(): void {
    this.#stopped.clear();
    // An adopted instance counts its age from its adoption.
    this.#readyAtMs.clear();
  }

  observe(event: SchedulerEvent, effects: readonly Effect[]): void {
    if (event.type === 'startSucceeded' && !this.#readyAtMs.has(event.instanceId))
      this.#readyAtMs.set(event.instanceId, event.atMs);
    for (const effect of effects) {
      // After a failed start the stop is a precaution.
      if (effect.type === 'stop' && event.type !== 'startFailed')
        this.#stopped.set(effect.instanceId, effect.nodeId);
      if (effect.type === 'nodeForgotten') this.#forget(effect.nodeId);
      if (effect.type === 'grant') this.#granted(effect.lease, event.atMs);
    }
  }

  #forget(node: string): void {
    this.#readyAtMs.clear();
    for (const [id, nodeId] of this.#stopped) if (nodeId === node) this.#stopped.delete(id);
  }

  #granted({ instanceId, versionId }: Sent['lease'], atMs: number): void {
    must(!this.#stopped.has(instanceId), `${instanceId} is leased after its stop`);
    const { maxAgeMs } = this.#versions.get(versionId)!.scaling;
    const readyAtMs = this.#readyAtMs.get(instanceId);
    if (maxAgeMs === undefined || readyAtMs === undefined) return;
    must(atMs - readyAtMs < maxAgeMs, `${instanceId} is leased at ${atMs - readyAtMs} ms of ${maxAgeMs}`);
  }
}

/** Without load: what is provisioned really runs, as far as there is room for all of it, and nothing else. */
export function checkProvisioned(
  cluster: {
    readonly functions: readonly SimFunction[];
    readonly nodes: readonly SimNode[];
    readonly ceiling: number | undefined;
  },
  state: State,
): void {
  const { functions, nodes, ceiling } = cluster;
  const capacity = nodes.reduce((sum, node) => sum + node.capacity, 0);
  const wanted = functions.reduce((sum, target) => sum + target.provisioned, 0);
  for (const { version, provisioned } of functions) {
    const standing = [...(state.versions.get(version.id)?.instances ?? [])].filter(
      ({ state: phase }) => phase === 'ready' || phase === 'starting',
    ).length;
    must(standing <= provisioned, `${version.id} keeps ${standing} instances of ${provisioned}`);
    if (wanted > Math.min(capacity, ceiling ?? capacity)) continue;
    // Those that grow old or fail to start are replaced, one start after the other.
    if (version.startFailProbability > 0 || version.scaling.maxAgeMs !== undefined) continue;
    const real = nodes
      .flatMap((node) => [...node.instances.values()])
      .filter((id) => id === version.id).length;
    must(real >= provisioned, `${version.id} really has ${real} instances of ${provisioned} provisioned`);
  }
}

/** What gateways hold on an instance and could use right now. */
function usable(world: World, gateways: readonly SimGateway[], instanceId: string): readonly Right[] {
  return gateways
    .flatMap((gateway) => [...gateway.rights])
    .filter((right) => right.lease.instanceId === instanceId && right.usableUntilMs > world.nowMs);
}

const concurrencyOf = ({ scaling }: SimVersion): number =>
  scaling.isolation === 'request' ? 1 : scaling.concurrency;

/** The leases that gateways could use right now never allow more than an instance's concurrency. */
export function checkSlots(
  world: World,
  gateways: readonly SimGateway[],
  instanceId: string,
  version: SimVersion,
): void {
  const concurrency = concurrencyOf(version);
  const slots = usable(world, gateways, instanceId).reduce((sum, { lease }) => sum + lease.slots, 0);
  must(slots <= concurrency, `${instanceId}: ${slots} slots are held of ${concurrency}`);
}

/**
 * Requests on leases that their holders may use never exceed an instance's concurrency. Where no message is lost
 * they find it running, too.
 */
export function checkFlight(
  world: World,
  gateways: readonly SimGateway[],
  instanceId: string,
  version: SimVersion,
): void {
  const concurrency = concurrencyOf(version);
  const requests = usable(world, gateways, instanceId).reduce((sum, { inFlight }) => sum + inFlight, 0);
  must(requests <= concurrency, `${instanceId} has ${requests} requests of ${concurrency}`);
}

export function checkReached(gateways: readonly SimGateway[]): void {
  for (const { id, counts } of gateways)
    must(counts.unreachable === 0, `${id} sent a request to an instance that had been stopped`);
}

/** Without faults between the parties, what really runs keeps the bounds too. */
export function checkReality(nodes: readonly SimNode[], versions: ReadonlyMap<VersionId, SimVersion>): void {
  const count = new Map<VersionId, number>();
  for (const node of nodes) {
    must(node.capacityRefusals === 0, `${node.id} was asked for more than it holds`);
    for (const versionId of node.instances.values()) count.set(versionId, (count.get(versionId) ?? 0) + 1);
  }
  for (const [versionId, real] of count) {
    const { maxInstances } = versions.get(versionId)!.scaling;
    must(real <= maxInstances, `${versionId} really has ${real} instances of ${maxInstances}`);
  }
}

/** The sums that the state keeps beside its records agree with them. */
export function checkConsistency(state: State): void {
  let waiters = 0;
  for (const version of state.versions.values()) {
    let waiting = 0;
    for (const waiter of version.queue.values()) waiting += waiter.waiting;
    waiters += version.queue.size;
    must(waiting === version.waiting, `${version.id} counts ${version.waiting} waiting, has ${waiting}`);
    must(state.queued.has(version) === version.queue.size > 0, `${version.id} is in the wrong list`);
    for (const instance of version.instances)
      must(state.instances.get(instance.id) === instance, `${instance.id} is not in the index`);
  }
  for (const [account, counted] of state.accountInstances) {
    const real = [...state.instances.values()].filter(({ version }) => version.account === account).length;
    must(real === counted.size, `${account} counts ${counted.size} instances, has ${real}`);
  }
  must(waiters === state.waiters.size, 'a waiter is in no queue');
  for (const instance of state.instances.values()) {
    let slots = 0;
    for (const lease of instance.leases) {
      slots += lease.slots;
      must(state.leases.get(lease.id) === lease, `${lease.id} is not in the index`);
      must(state.gateways.get(lease.gatewayId)?.leases.has(lease) === true, `${lease.id} has no holder`);
    }
    must(slots === instance.slotsLeased, `${instance.id} counts ${instance.slotsLeased} slots, has ${slots}`);
    must(state.versions.get(instance.version.id) === instance.version, `${instance.id} has a lost version`);
    must(state.nodes.get(instance.node.id) === instance.node, `${instance.id} is on a lost node`);
  }
  for (const node of state.nodes.values()) {
    const starting = [...node.instances].filter((instance) => instance.state === 'starting').length;
    must(starting === node.starts.used, `${node.id} counts ${node.starts.used} starting, has ${starting}`);
  }
}

/** Nothing runs and nothing is remembered but the members that still beat and trouble not yet forgiven. */
export function checkAtRest(state: State, nodes: readonly SimNode[]): void {
  for (const node of nodes) must(node.instances.size === 0, `${node.id} still runs ${node.instances.size}`);
  must(state.instances.size === 0, `${state.instances.size} instances are remembered`);
  must(state.leases.size === 0, `${state.leases.size} leases are remembered`);
  must(state.waiters.size === 0, `${state.waiters.size} waiters are remembered`);
  must(state.queued.size === 0, `${state.queued.size} queues are remembered`);
  must(state.departed.size === 0, `${state.departed.size} versions are remembered as left`);
  must(state.accountInstances.size === 0, 'an account is remembered');
}
