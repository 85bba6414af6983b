/**
 * Acquires: granted at once, or queued first come, first served until an instance has room, the deadline
 * passes, nobody can serve them or the client leaves.
 *
 * A lease is a share, ceil(concurrency / live gateways), so that one gateway's first request does not
 * take the instance from the others; what is left may be less. How many instances are started follows
 * from the requests that wait beyond the room of those that start already. With isolation `session` each
 * waits for its own instance (sessions.ts).
 */
import type { AcquireRequest } from '#shared/contracts/leases.ts';
import type { Fault } from './events.ts';
import { activeHold } from './health.ts';
import { mayGetRoom } from './evict.ts';
import { freeSlots, grantLease, requestsLeft, resumeIdle, revokeLease, startInstance } from './lifecycle.ts';
import { placeInstance, someNodeAlive, underCeiling } from './placement.ts';
import { noteUnserved } from './provision.ts';
import { concurrencyOf, roomOf } from './scaling.ts';
import { instanceFor, waitingForRoom } from './sessions.ts';
import {
  gatewayOf,
  liveGateways,
  standing,
  versionOf,
  type GatewayRecord,
  type Instance,
  type LeaseRecord,
  type Machine,
  type Version,
  type Waiter,
} from './state.ts';

const AT_CEILING: Fault = {
  code: 'no_capacity',
  detail: 'The account has as many instances as it may have.',
};

export function onAcquire(m: Machine, requestId: string, request: AcquireRequest): void {
  const gateway = gatewayOf(m, request.holderId);
  const version = versionOf(m, request.versionId);
  if (gateway === undefined || version === undefined || !m.state.places.take(version.account, 1)) {
    const code = gateway === undefined || version === undefined ? 'scheduler_unavailable' : 'queue_full';
    m.effects.push({ type: 'refuse', requestId, fault: { code }, retryAfterMs: laterMs(m) });
    return;
  }
  version.scaling = request.scaling;
  version.scalingKnown = true;
  // A gateway that the move has not reached still needs it.
  if (m.state.departed.has(version.id)) m.state.departed.set(version.id, m.nowMs);
  else noteUnserved(m, version);
  const waiter: Waiter = {
    requestId,
    gatewayId: gateway.id,
    version,
    waiting: request.waiting,
    sinceMs: m.nowMs,
    session: request.session,
    deadlineAtMs: m.nowMs + Math.min(request.deadlineMs, request.scaling.queueTimeoutMs),
  };
  version.queue.set(requestId, waiter);
  version.waiting += waiter.waiting;
  m.state.waiters.set(requestId, waiter);
  m.state.queued.add(version);
  pump(m, version);
  if (!m.state.waiters.has(requestId)) return;
  // Requests for which an instance is being started are not a queue: with queueDepth 0 a function that
  // is scaled to zero must still be reachable.
  if (beyondRoom(version) > version.scaling.queueDepth) refuse(m, waiter, { code: 'queue_full' }, laterMs(m));
}

export function onCancelled(m: Machine, requestId: string): void {
  const waiter = m.state.waiters.get(requestId);
  if (waiter !== undefined) dequeue(m, waiter);
}

function beyondRoom(version: Version): number {
  return version.scaling.isolation === 'session'
    ? waitingForRoom(version)
    : version.waiting - pendingRoom(version);
}

function pendingRoom(version: Version): number {
  let starting = 0;
  for (const instance of version.instances) if (instance.state === 'starting') starting += 1;
  return starting * roomOf(version.scaling);
}

/** Moves a version's queue as far as it goes now. */
export function pump(m: Machine, version: Version): void {
  if (version.queue.size === 0) return;
  if (version.scaling.isolation === 'session') grantSessions(m, version);
  else grantWaiting(m, version);
  if (version.queue.size === 0) return;
  const hold = activeHold(m, version);
  if (hold === undefined && version.scaling.isolation !== 'session') startForWaiting(m, version);
  if (standing(version) > 0) {
    rebalance(version);
    return;
  }
  if (hold !== undefined) {
    refuseAll(m, version, hold.fault, Math.max(1, hold.untilMs - m.nowMs));
    return;
  }
  if (!mayGetRoom(m, version)) {
    refuseAll(m, version, AT_CEILING, laterMs(m));
    return;
  }
  const mayAppear =
    m.nowMs < m.state.recoveringUntilMs || m.nowMs - m.state.nodeHeardAtMs < m.config.nodeReturnMs;
  if (!mayAppear && !someNodeAlive(m)) refuseAll(m, version, { code: 'no_capacity' }, laterMs(m));
}

function roomiest(m: Machine, version: Version): Instance | undefined {
  let best: Instance | undefined;
  let most = 0;
  for (const instance of version.instances) {
    const free = freeSlots(m, instance);
    if (free === 0) continue;
    // Of a node that is silent last: nobody enforces limits there, and nobody says when an instance ends.
    const first = best === undefined || (best.node.silent && !instance.node.silent);
    if (first || (free > most && instance.node.silent === best?.node.silent)) {
      best = instance;
      most = free;
    }
  }
  return best;
}

function grantWaiting(m: Machine, version: Version): void {
  for (const waiter of version.queue.values()) {
    if (waiter.deadlineAtMs <= m.nowMs) {
      timeOut(m, waiter);
      continue;
    }
    let instance = roomiest(m, version);
    while (instance === undefined && resumeIdle(m, version)) instance = roomiest(m, version);
    const gateway = m.state.gateways.get(waiter.gatewayId);
    if (instance?.endpoint === undefined || gateway === undefined) return;
    grant(m, waiter, gateway, instance);
  }
}

/** Each waiter goes to the instance of its session, which is started when there is none. */
function grantSessions(m: Machine, version: Version): void {
  const hold = activeHold(m, version);
  for (const waiter of version.queue.values()) {
    if (waiter.deadlineAtMs <= m.nowMs) {
      timeOut(m, waiter);
      continue;
    }
    const instance = instanceFor(m, waiter);
    if (instance === undefined) {
      if (hold !== undefined) refuse(m, waiter, hold.fault, Math.max(1, hold.untilMs - m.nowMs));
      continue;
    }
    const gateway = m.state.gateways.get(waiter.gatewayId);
    if (gateway !== undefined && freeSlots(m, instance) > 0) grant(m, waiter, gateway, instance);
  }
}

function startForWaiting(m: Machine, version: Version): void {
  const { maxInstances } = version.scaling;
  const missing = Math.ceil((version.waiting - pendingRoom(version)) / roomOf(version.scaling));
  const count = Math.min(missing, maxInstances - version.instances.size);
  for (let started = 0; started < count; started += 1) {
    const node = underCeiling(m, version) ? placeInstance(m, version) : undefined;
    if (node === undefined) return;
    startInstance(m, version, node);
  }
}

/**
 * All instances are leased and no other may start, while a gateway waits that holds less than its part:
 * the one that holds most above it gives a lease back. Where requests are counted, one that is not in use
 * comes first: its holder may need what is left of it later than those who wait. One at a time, because each
 * takes a heartbeat.
 */
function rebalance(version: Version): void {
  const [head] = version.queue.values();
  if (head === undefined || pendingRoom(version) > 0) return;
  const held = new Map<string, LeaseRecord[]>([[head.gatewayId, []]]);
  let slots = 0;
  for (const instance of version.instances) {
    if (instance.state !== 'ready') return;
    for (const lease of instance.leases) {
      if (lease.revoked) return;
      held.set(lease.gatewayId, [...(held.get(lease.gatewayId) ?? []), lease]);
      slots += lease.slots;
    }
  }
  const unused = unusedBudget(version, head.gatewayId);
  if (unused !== undefined) return revokeLease(unused);
  const fair = slots / held.size;
  const sum = (leases: readonly LeaseRecord[]): number => leases.reduce((all, lease) => all + lease.slots, 0);
  // Half a part is enough to wait with: leases come in lumps, and evening them out would never end.
  if (2 * sum(held.get(head.gatewayId) ?? []) >= fair) return;
  let richest: LeaseRecord[] = [];
  for (const leases of held.values()) if (sum(leases) > sum(richest)) richest = leases;
  if (sum(richest) <= fair) return;
  const least = richest.toSorted((a, b) => a.inFlight - b.inFlight)[0];
  if (least !== undefined) revokeLease(least);
}

function unusedBudget(version: Version, gatewayId: string): LeaseRecord | undefined {
  for (const instance of version.instances)
    for (const lease of instance.leases)
      if (
        lease.requests !== undefined &&
        lease.named &&
        lease.inFlight === 0 &&
        lease.gatewayId !== gatewayId
      )
        return lease;
  return undefined;
}

function grant(m: Machine, waiter: Waiter, gateway: GatewayRecord, instance: Instance): void {
  if (instance.endpoint === undefined) return;
  const gateways = Math.max(1, liveGateways(m));
  const share = Math.ceil(concurrencyOf(waiter.version.scaling) / gateways);
  const slots = Math.min(share, freeSlots(m, instance));
  const left = requestsLeft(instance);
  const requests = left === undefined ? undefined : Math.ceil(left / gateways);
  const ids = grantLease(m, instance, gateway, { slots, requests });
  dequeue(m, waiter);
  m.effects.push({
    type: 'grant',
    requestId: waiter.requestId,
    lease: {
      ...ids,
      instanceId: instance.id,
      endpoint: instance.endpoint,
      slots,
      ttlMs: m.config.leaseTtlMs,
      warm: instance.readyAtMs < waiter.sinceMs,
      ...(requests === undefined ? {} : { requests }),
    },
  });
}

/** The deadline has passed: say whether there was no machine to use, or none of its instances was free. */
export function timeOut(m: Machine, waiter: Waiter): void {
  const { version } = waiter;
  if (version.instances.size > 0) return refuse(m, waiter, { code: 'queue_timeout' }, laterMs(m));
  refuse(m, waiter, underCeiling(m, version) ? { code: 'no_capacity' } : AT_CEILING, laterMs(m));
}

function dequeue(m: Machine, waiter: Waiter): void {
  const { version } = waiter;
  if (!version.queue.delete(waiter.requestId)) return;
  version.waiting -= waiter.waiting;
  m.state.waiters.delete(waiter.requestId);
  m.state.places.give(version.account, 1);
  if (version.queue.size === 0) m.state.queued.delete(version);
}

/** Spread over half as long again, so that those who were refused together do not return together. */
function laterMs(m: Machine, baseMs: number = m.config.retryAfterMs): number {
  return Math.round(baseMs * (1 + m.random() / 2));
}

export function refuse(m: Machine, waiter: Waiter, fault: Fault, retryAfterMs: number | undefined): void {
  dequeue(m, waiter);
  m.effects.push({ type: 'refuse', requestId: waiter.requestId, fault, retryAfterMs });
}

export function refuseAll(
  m: Machine,
  version: Version,
  fault: Fault,
  retryAfterMs: number | undefined,
): void {
  for (const waiter of version.queue.values()) refuse(m, waiter, fault, retryAfterMs);
}
