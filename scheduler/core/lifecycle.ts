/**
 * Lives of instances and leases, and how the two end.
 *
 * An idle instance is stopped in two steps, because a gateway may send a request in the very moment in
 * which the scheduler decides. First the leases are revoked: the gateway learns it in the answer to its
 * heartbeat, sends no new request, and leaves the lease out once nothing is in flight. Only when the
 * last lease was left out, or has expired (a gateway does not use a lease that it could not renew), is
 * the node told to stop. Until a gateway was answered, a revocation can be taken back: the heartbeat
 * that fetches it says first whether the lease was used meanwhile.
 *
 * An instance that a deploy, its age or its budget ends goes the same way, but not for ever: after drainMs the
 * node is told to stop it, whatever still runs there.
 *
 * Requests in the life of an instance are counted when they are allowed, not when they are sent: the sum of
 * what leases allow never exceeds what the version's scaling says, whoever sends them. What a lease leaves
 * over returns only with its holder's exact count.
 */
import type { VersionId } from '#shared/ids.ts';
import type { Endpoint } from '#shared/contracts/leases.ts';
import { concurrencyOf, requestsOf } from './scaling.ts';
import {
  endStart,
  randomId,
  setInstanceState,
  type DrainCause,
  type GatewayRecord,
  type Instance,
  type LeaseRecord,
  type Machine,
  type NodeRecord,
  type Version,
} from './state.ts';

const INSTANCE_PREFIX = 'i';

/**
 * The lease id carries what a restarted scheduler must know of a lease it did not grant; to gateways it
 * is opaque.
 */
function leaseIdFor(m: Machine, instanceId: string, slots: number): string {
  return `${instanceId}.${slots}.${randomId(m, '')}`;
}

export function parseLeaseId(id: string): { instanceId: string; slots: number } | undefined {
  const parts = /^([A-Za-z0-9_-]{1,100})\.([1-9][0-9]{0,5})\.[a-z0-9]+$/.exec(id);
  if (parts === null) return undefined;
  const [, instanceId, slots] = parts;
  if (instanceId === undefined || slots === undefined) return undefined;
  return { instanceId, slots: Number(slots) };
}

export function freeSlots(m: Machine, instance: Instance): number {
  if (instance.state !== 'ready' || instance.sealedUntilMs > m.nowMs) return 0;
  if (isTooOld(m, instance) || requestsLeft(instance) === 0) return 0;
  return Math.max(0, concurrencyOf(instance.version.scaling) - instance.slotsLeased);
}

/** Requests that further leases may allow; undefined: any number. */
export function requestsLeft(instance: Instance): number | undefined {
  const most = requestsOf(instance.version.scaling);
  if (most === undefined) return undefined;
  // What an adopted one has served is not known, and it must not serve more than it may.
  return instance.adopted ? 0 : Math.max(0, most - instance.requestsGranted);
}

/** It has served all that it may. */
export function isSpent(instance: Instance): boolean {
  return instance.leases.size === 0 && requestsLeft(instance) === 0;
}

export function isTooOld(m: Machine, instance: Instance): boolean {
  const { maxAgeMs } = instance.version.scaling;
  return maxAgeMs !== undefined && m.nowMs - instance.bornAtMs >= maxAgeMs;
}

/** Registers an instance; the caller says how it came to be. */
export function addInstance(
  m: Machine,
  id: string,
  version: Version,
  where: {
    readonly node: NodeRecord;
    readonly endpoint: Endpoint | undefined;
    readonly sealedUntilMs: number;
    readonly adopted: boolean;
  },
): Instance {
  const instance: Instance = {
    id,
    version,
    node: where.node,
    state: where.endpoint === undefined ? 'starting' : 'ready',
    sinceMs: m.nowMs,
    drainCause: undefined,
    stopGraceMs: m.config.stopGraceMs,
    endpoint: where.endpoint,
    bornAtMs: m.nowMs,
    readyAtMs: m.nowMs,
    busyAtMs: m.nowMs,
    sealedUntilMs: where.sealedUntilMs,
    adopted: where.adopted,
    session: undefined,
    requestsGranted: 0,
    listed: false,
    exit: undefined,
    leases: new Set(),
    slotsLeased: 0,
  };
  m.state.instances.set(id, instance);
  version.instances.add(instance);
  where.node.instances.add(instance);
  const siblings = m.state.accountInstances.get(version.account) ?? new Set();
  m.state.accountInstances.set(version.account, siblings.add(instance));
  if (instance.state === 'starting') where.node.starts.takeOrThrow(version.account, 1);
  return instance;
}

export function startInstance(m: Machine, version: Version, node: NodeRecord): Instance {
  const id = randomId(m, INSTANCE_PREFIX);
  const instance = addInstance(m, id, version, {
    node,
    endpoint: undefined,
    sealedUntilMs: 0,
    adopted: false,
  });
  m.effects.push({ type: 'start', nodeId: node.id, instanceId: id, versionId: version.id });
  return instance;
}

export function becameReady(m: Machine, instance: Instance, endpoint: Endpoint): void {
  setInstanceState(m, instance, 'ready');
  instance.endpoint = endpoint;
  instance.bornAtMs = m.nowMs;
  instance.readyAtMs = m.nowMs;
  instance.busyAtMs = m.nowMs;
  instance.version.startFailures = 0;
  instance.node.failures = 0;
  m.dirty.add(instance.version);
}

/** Forgets an instance whose process is gone, with its leases. */
export function removeInstance(m: Machine, instance: Instance): void {
  if (instance.state === 'starting') endStart(instance);
  for (const lease of instance.leases) {
    m.state.leases.delete(lease.id);
    m.state.gateways.get(lease.gatewayId)?.leases.delete(lease);
  }
  instance.leases.clear();
  instance.slotsLeased = 0;
  endSession(instance);
  const { account } = instance.version;
  const siblings = m.state.accountInstances.get(account);
  siblings?.delete(instance);
  if (siblings?.size === 0) m.state.accountInstances.delete(account);
  m.state.instances.delete(instance.id);
  instance.version.instances.delete(instance);
  instance.node.instances.delete(instance);
  m.dirty.add(instance.version);
  m.roomFreed = true;
}

/** The next request of the session begins a new one. */
function endSession(instance: Instance): void {
  const { session, version } = instance;
  if (session !== undefined && version.sessions.get(session) === instance) version.sessions.delete(session);
}

export function addLease(
  m: Machine,
  id: string,
  instance: Instance,
  holder: {
    readonly gateway: GatewayRecord;
    readonly slots: number;
    readonly requests?: number | undefined;
    readonly named: boolean;
  },
): LeaseRecord {
  const lease: LeaseRecord = {
    id,
    gatewayId: holder.gateway.id,
    instance,
    slots: holder.slots,
    requests: holder.requests,
    grantedAtMs: m.nowMs,
    named: holder.named,
    inFlight: 0,
    expiresAtMs: m.nowMs + m.config.leaseTtlMs + m.config.leaseMarginMs,
    revoked: false,
    revocationSent: false,
  };
  m.state.leases.set(id, lease);
  holder.gateway.leases.add(lease);
  instance.leases.add(lease);
  instance.slotsLeased += lease.slots;
  return lease;
}

export function grantLease(
  m: Machine,
  instance: Instance,
  gateway: GatewayRecord,
  allowed: { readonly slots: number; readonly requests: number | undefined },
): { leaseId: string; versionId: VersionId } {
  const id = leaseIdFor(m, instance.id, allowed.slots);
  addLease(m, id, instance, { gateway, ...allowed, named: false });
  instance.requestsGranted += allowed.requests ?? 0;
  instance.busyAtMs = m.nowMs;
  return { leaseId: id, versionId: instance.version.id };
}

export function revokeLease(lease: LeaseRecord): void {
  lease.revoked = true;
}

/** @param sent - requests sent on it, when its holder has counted them to the end. */
export function endLease(m: Machine, lease: LeaseRecord, sent?: number): void {
  const { instance } = lease;
  if (sent !== undefined && lease.requests !== undefined)
    instance.requestsGranted -= Math.max(0, lease.requests - sent);
  m.state.leases.delete(lease.id);
  m.state.gateways.get(lease.gatewayId)?.leases.delete(lease);
  instance.leases.delete(lease);
  instance.slotsLeased -= lease.slots;
  m.dirty.add(instance.version);
  if (instance.state === 'draining') stopWhenUnleased(m, instance);
  else if (instance.state === 'ready' && isSpent(instance)) drainInstance(m, instance, 'spent');
}

const UNHURRIED: ReadonlySet<DrainCause> = new Set(['departed', 'age', 'spent', 'yield']);

export function drainInstance(m: Machine, instance: Instance, cause: DrainCause): void {
  if (instance.state !== 'ready') return;
  setInstanceState(m, instance, 'draining');
  instance.drainCause = cause;
  if (cause !== 'idle') endSession(instance);
  for (const lease of instance.leases) revokeLease(lease);
  stopWhenUnleased(m, instance);
}

/** Takes an idle drain back. Revocations that were already sent stand: their slots return when dropped. */
export function resumeInstance(m: Machine, instance: Instance): void {
  setInstanceState(m, instance, 'ready');
  instance.drainCause = undefined;
  instance.busyAtMs = m.nowMs;
  for (const lease of instance.leases) if (!lease.revocationSent) lease.revoked = false;
  m.dirty.add(instance.version);
}

/** An instance on its way to an idle stop is the quickest room there is. False: there is none. */
export function resumeIdle(m: Machine, version: Version): boolean {
  for (const instance of version.instances) {
    if (instance.state !== 'draining' || instance.drainCause !== 'idle' || instance.node.draining) continue;
    resumeInstance(m, instance);
    return true;
  }
  return false;
}

/** Stops a draining instance once nobody holds a right to it. */
export function stopWhenUnleased(m: Machine, instance: Instance): void {
  // A sealed instance has holders that were not heard yet: they get the time to name their leases.
  if (instance.leases.size > 0 || instance.sealedUntilMs > m.nowMs) return;
  // Work may go on behind an answered request (waitUntil), and has what is left of the drain.
  const leftMs = isUnhurried(instance) ? drainMsOf(m, instance) - (m.nowMs - instance.sinceMs) : 0;
  stop(m, instance, Math.max(m.config.stopGraceMs, Math.ceil(leftMs)));
}

/** A drain that was to end has run out of its time. Gateways have heard of it, or their leases have expired. */
export function stopWhenOverdue(m: Machine, instance: Instance): void {
  if (!isUnhurried(instance)) return;
  const least = m.config.leaseTtlMs + m.config.leaseMarginMs;
  const heard = [...instance.leases].every((lease) => lease.revocationSent);
  const passedMs = m.nowMs - instance.sinceMs;
  if (passedMs < drainMsOf(m, instance) || (!heard && passedMs < least)) return;
  stop(m, instance, m.config.stopGraceMs);
}

/** Who has too much does not choose for how long others wait. */
function drainMsOf(m: Machine, { version, drainCause }: Instance): number {
  const { drainMs } = version.scaling;
  return drainCause === 'yield' ? Math.min(drainMs, m.config.yieldMsMax) : drainMs;
}

function isUnhurried({ drainCause }: Instance): boolean {
  return drainCause !== undefined && UNHURRIED.has(drainCause);
}

/** @param graceMs - whole ms, as the wire wants them. */
function stop(m: Machine, instance: Instance, graceMs: number): void {
  setInstanceState(m, instance, 'stopping');
  instance.stopGraceMs = graceMs;
  endSession(instance);
  m.effects.push({ type: 'stop', nodeId: instance.node.id, instanceId: instance.id, graceMs });
}
