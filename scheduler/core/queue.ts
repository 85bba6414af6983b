/**
 * Acquires: granted at once, or queued first come, first served until an instance has room, the deadline
 * passes or the client leaves.
 *
 * A lease is a share, ceil(concurrency / live gateways), so that one gateway's first request does not
 * take the instance from the others; what is left may be less. How many instances are started follows
 * from the requests that wait beyond the room of those that start already.
 */
import type { AcquireRequest } from '#shared/contracts/leases.ts';
import { activeHold, hasHope, refuseAll } from './health.ts';
import {
  drainInstance,
  freeSlots,
  grantLease,
  resumeInstance,
  revokeLease,
  startInstance,
} from './lifecycle.ts';
import { allNodesFull, placeInstance, someNodeAlive } from './placement.ts';
import { dequeue, laterMs, refuse } from './refusals.ts';
import {
  gatewayOf,
  liveGateways,
  versionOf,
  type GatewayRecord,
  type Instance,
  type LeaseRecord,
  type Machine,
  type Version,
  type Waiter,
} from './state.ts';

export function onAcquire(m: Machine, requestId: string, request: AcquireRequest): void {
  const gateway = gatewayOf(m, request.gatewayId);
  const version = versionOf(m, request.versionId);
  if (gateway === undefined || version === undefined || m.state.waiters.size >= m.config.waitersMax) {
    const code = gateway === undefined || version === undefined ? 'scheduler_unavailable' : 'queue_full';
    m.effects.push({ type: 'refuse', requestId, fault: { code }, retryAfterMs: laterMs(m) });
    return;
  }
  version.scaling = request.scaling;
  version.scalingKnown = true;
  const waiter: Waiter = {
    requestId,
    gatewayId: gateway.id,
    version,
    waiting: request.waiting,
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
  if (version.waiting - pendingRoom(version) > version.scaling.queueDepth)
    refuse(m, waiter, { code: 'queue_full' }, laterMs(m));
}

export function onCancelled(m: Machine, requestId: string): void {
  const waiter = m.state.waiters.get(requestId);
  if (waiter !== undefined) dequeue(m, waiter);
}

function pendingRoom(version: Version): number {
  let starting = 0;
  for (const instance of version.instances) if (instance.state === 'starting') starting += 1;
  return starting * version.scaling.concurrency;
}

/** Moves a version's queue as far as it goes now. */
export function pump(m: Machine, version: Version): void {
  if (version.queue.size === 0) return;
  grantWaiting(m, version);
  if (version.queue.size === 0) return;
  const hold = activeHold(m, version);
  if (hold === undefined) startForWaiting(m, version);
  if (hasHope(version)) {
    rebalance(version);
    return;
  }
  if (hold !== undefined) {
    refuseAll(m, version, hold.fault, Math.max(1, hold.untilMs - m.nowMs));
    return;
  }
  const mayAppear = m.nowMs < m.state.recoveringUntilMs;
  if (!mayAppear && !someNodeAlive(m)) refuseAll(m, version, { code: 'no_capacity' }, laterMs(m));
}

function roomiest(m: Machine, version: Version): Instance | undefined {
  let best: Instance | undefined;
  let most = 0;
  for (const instance of version.instances) {
    const free = freeSlots(m, instance);
    if (free > most) {
      best = instance;
      most = free;
    }
  }
  return best;
}

/** An instance on its way to an idle stop is the quickest room there is. */
function resumeIdle(m: Machine, version: Version): boolean {
  for (const instance of version.instances) {
    if (instance.state !== 'draining' || !instance.drainingForIdleness || instance.node.draining) continue;
    resumeInstance(m, instance);
    return true;
  }
  return false;
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

function grant(m: Machine, waiter: Waiter, gateway: GatewayRecord, instance: Instance): void {
  if (instance.endpoint === undefined) return;
  const share = Math.ceil(waiter.version.scaling.concurrency / Math.max(1, liveGateways(m)));
  const slots = Math.min(share, freeSlots(m, instance));
  const ids = grantLease(m, instance, gateway, slots);
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
    },
  });
}

/** The deadline has passed: say whether there was no machine to use, or none of its instances was free. */
export function timeOut(m: Machine, waiter: Waiter): void {
  const code = waiter.version.instances.size > 0 ? 'queue_timeout' : 'no_capacity';
  refuse(m, waiter, { code }, laterMs(m));
}

function startForWaiting(m: Machine, version: Version): void {
  const { concurrency, maxInstances } = version.scaling;
  const missing = Math.ceil((version.waiting - pendingRoom(version)) / concurrency);
  const count = Math.min(missing, maxInstances - version.instances.size);
  for (let started = 0; started < count; started += 1) {
    const node = placeInstance(m, version.id);
    if (node === undefined) return;
    startInstance(m, version, node);
  }
}

/**
 * All instances are leased and no other may start, while a gateway waits that holds less than its part:
 * the one that holds most above it gives a lease back. One at a time, because each takes a heartbeat.
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

/**
 * Makes room on full nodes for versions that have no instance at all, by ending the instances that were
 * unused for longest. Without it, idle functions could lock all others out until their idle time.
 */
export function evictForStarving(m: Machine): void {
  let starving = 0;
  for (const version of m.state.queued)
    if (version.instances.size === 0 && activeHold(m, version) === undefined) starving += 1;
  if (starving === 0 || !allNodesFull(m)) return;
  const candidates: Instance[] = [];
  for (const instance of m.state.instances.values()) {
    if (instance.state === 'draining' || instance.state === 'stopping') starving -= 1;
    else if (isEvictable(m, instance)) candidates.push(instance);
  }
  candidates.sort((a, b) => a.busyAtMs - b.busyAtMs);
  for (const instance of candidates.slice(0, Math.max(0, starving))) drainInstance(m, instance);
}

function isEvictable(m: Machine, instance: Instance): boolean {
  if (instance.state !== 'ready' || instance.version.queue.size > 0) return false;
  if (m.nowMs - instance.busyAtMs < m.config.evictIdleMs) return false;
  for (const lease of instance.leases) if (lease.inFlight > 0) return false;
  return true;
}
