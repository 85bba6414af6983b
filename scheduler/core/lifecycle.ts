/**
 * Lives of instances and leases, and how the two end.
 *
 * An idle instance is stopped in two steps, because a gateway may send a request in the very moment in
 * which the scheduler decides. First the leases are revoked: the gateway learns it in the answer to its
 * heartbeat, sends no new request, and leaves the lease out once nothing is in flight. Only when the
 * last lease was left out, or has expired (a gateway does not use a lease that it could not renew), is
 * the node told to stop. Until a gateway was answered, a revocation can be taken back: the heartbeat
 * that fetches it says first whether the lease was used meanwhile.
 */
import type { VersionId } from '#shared/ids.ts';
import type { Endpoint } from '#shared/contracts/leases.ts';
import {
  randomId,
  setInstanceState,
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
  return Math.max(0, instance.version.scaling.concurrency - instance.slotsLeased);
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
  },
): Instance {
  const instance: Instance = {
    id,
    version,
    node: where.node,
    state: where.endpoint === undefined ? 'starting' : 'ready',
    sinceMs: m.nowMs,
    drainingForIdleness: false,
    endpoint: where.endpoint,
    readyAtMs: m.nowMs,
    busyAtMs: m.nowMs,
    sealedUntilMs: where.sealedUntilMs,
    listed: false,
    exit: undefined,
    leases: new Set(),
    slotsLeased: 0,
  };
  m.state.instances.set(id, instance);
  version.instances.add(instance);
  where.node.instances.add(instance);
  if (instance.state === 'starting') where.node.starting += 1;
  return instance;
}

export function startInstance(m: Machine, version: Version, node: NodeRecord): void {
  const id = randomId(m, INSTANCE_PREFIX);
  addInstance(m, id, version, { node, endpoint: undefined, sealedUntilMs: 0 });
  m.effects.push({ type: 'start', nodeId: node.id, instanceId: id, versionId: version.id });
}

export function becameReady(m: Machine, instance: Instance, endpoint: Endpoint): void {
  setInstanceState(m, instance, 'ready');
  instance.endpoint = endpoint;
  instance.readyAtMs = m.nowMs;
  instance.busyAtMs = m.nowMs;
  instance.version.startFailures = 0;
  instance.node.failures = 0;
  m.dirty.add(instance.version);
}

/** Forgets an instance whose process is gone, with its leases. */
export function removeInstance(m: Machine, instance: Instance): void {
  if (instance.state === 'starting') instance.node.starting -= 1;
  for (const lease of instance.leases) {
    m.state.leases.delete(lease.id);
    m.state.gateways.get(lease.gatewayId)?.leases.delete(lease);
  }
  instance.leases.clear();
  instance.slotsLeased = 0;
  m.state.instances.delete(instance.id);
  instance.version.instances.delete(instance);
  instance.node.instances.delete(instance);
  m.dirty.add(instance.version);
  m.roomFreed = true;
}

export function addLease(
  m: Machine,
  id: string,
  instance: Instance,
  holder: { readonly gateway: GatewayRecord; readonly slots: number; readonly named: boolean },
): LeaseRecord {
  const lease: LeaseRecord = {
    id,
    gatewayId: holder.gateway.id,
    instance,
    slots: holder.slots,
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
  slots: number,
): { leaseId: string; versionId: VersionId } {
  const id = leaseIdFor(m, instance.id, slots);
  addLease(m, id, instance, { gateway, slots, named: false });
  instance.busyAtMs = m.nowMs;
  return { leaseId: id, versionId: instance.version.id };
}

export function revokeLease(lease: LeaseRecord): void {
  lease.revoked = true;
}

export function endLease(m: Machine, lease: LeaseRecord): void {
  const { instance } = lease;
  m.state.leases.delete(lease.id);
  m.state.gateways.get(lease.gatewayId)?.leases.delete(lease);
  instance.leases.delete(lease);
  instance.slotsLeased -= lease.slots;
  m.dirty.add(instance.version);
  if (instance.state === 'draining') stopWhenUnleased(m, instance);
}

export function drainInstance(
  m: Machine,
  instance: Instance,
  options: { readonly forIdleness: boolean } = { forIdleness: false },
): void {
  if (instance.state !== 'ready') return;
  setInstanceState(m, instance, 'draining');
  instance.drainingForIdleness = options.forIdleness;
  for (const lease of instance.leases) revokeLease(lease);
  stopWhenUnleased(m, instance);
}

/** Takes an idle drain back. Revocations that were already sent stand: their slots return when dropped. */
export function resumeInstance(m: Machine, instance: Instance): void {
  setInstanceState(m, instance, 'ready');
  instance.drainingForIdleness = false;
  instance.busyAtMs = m.nowMs;
  for (const lease of instance.leases) if (!lease.revocationSent) lease.revoked = false;
  m.dirty.add(instance.version);
}

/** Stops a draining instance once nobody holds a right to it. */
export function stopWhenUnleased(m: Machine, instance: Instance): void {
  // A sealed instance has holders that were not heard yet: they get the time to name their leases.
  if (instance.leases.size > 0 || instance.sealedUntilMs > m.nowMs) return;
  setInstanceState(m, instance, 'stopping');
  m.effects.push({
    type: 'stop',
    nodeId: instance.node.id,
    instanceId: instance.id,
    graceMs: m.config.stopGraceMs,
  });
}
