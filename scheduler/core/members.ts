/** Heartbeats: what gateways hold and what nodes run, against what the scheduler believes. */
import type { HolderHeartbeat } from '#shared/contracts/leases.ts';
import type { NodeHeartbeat } from '#shared/contracts/nodes.ts';
import { Shares } from '#shared/shares.ts';
import { noteExit, noteStarted } from './health.ts';
import {
  addInstance,
  addLease,
  becameReady,
  drainInstance,
  endLease,
  parseLeaseId,
  removeInstance,
  resumeInstance,
} from './lifecycle.ts';
import { noteUnserved } from './provision.ts';
import { concurrencyOf } from './scaling.ts';
import { bindSession } from './sessions.ts';
import {
  gatewayOf,
  versionOf,
  type GatewayRecord,
  type Instance,
  type LeaseRecord,
  type Machine,
  type NodeRecord,
} from './state.ts';

export function onGatewayHeartbeat(m: Machine, gatewayId: string, heartbeat: HolderHeartbeat): void {
  const gateway = gatewayOf(m, gatewayId);
  if (gateway === undefined) return;
  const named = new Set<string>();
  const refused: string[] = [];
  for (const report of heartbeat.leases) {
    if (named.has(report.leaseId)) continue;
    named.add(report.leaseId);
    const known = m.state.leases.get(report.leaseId);
    if (report.lost === true) {
      if (known?.gatewayId === gateway.id) lose(m, known, report);
      continue;
    }
    if (report.done === true) {
      if (known?.gatewayId === gateway.id) finish(m, known, report);
      continue;
    }
    const lease = known ?? adoptLease(m, gateway, report);
    if (lease?.gatewayId === gateway.id) renew(m, lease, report.inFlight, report.started ?? 0);
    else if (known !== undefined || !mayBeUnknownYet(m, report.leaseId)) refused.push(report.leaseId);
  }
  for (const lease of gateway.leases) {
    // A grant may still be on its way to the gateway when it wrote this list.
    if (!named.has(lease.id) && (lease.named || m.nowMs - lease.grantedAtMs >= m.config.confirmMs))
      endLease(m, lease);
  }
  const revoked: string[] = refused;
  for (const lease of gateway.leases) {
    if (!lease.revoked) continue;
    lease.revocationSent = true;
    revoked.push(lease.id);
  }
  m.effects.push({ type: 'gatewayReply', gatewayId, revoked });
}

type LeaseReport = HolderHeartbeat['leases'][number];

function finish(m: Machine, lease: LeaseRecord, report: LeaseReport): void {
  noteStarted(m, lease.instance.version, report.started ?? 0);
  if ((report.started ?? 0) > 0) lease.instance.busyAtMs = m.nowMs;
  endLease(m, lease, report.sent);
}

/**
 * Its instance does not listen any more. The node will say what became of it, and until then nobody else is sent
 * there; of a node that says nothing the holder's word counts.
 */
function lose(m: Machine, lease: LeaseRecord, report: LeaseReport): void {
  const { instance } = lease;
  finish(m, lease, report);
  // As with an end that the node reports (health.ts): these have not gone well.
  if (report.inFlight > 0) instance.version.work.add(m.nowMs, { good: -report.inFlight });
  if (instance.state !== 'ready') return;
  if (instance.node.silent) removeInstance(m, instance);
  else instance.sealedUntilMs = Math.max(instance.sealedUntilMs, m.nowMs + m.config.confirmMs);
}

function renew(m: Machine, lease: LeaseRecord, inFlight: number, started: number): void {
  const { instance } = lease;
  lease.named = true;
  lease.expiresAtMs = m.nowMs + m.config.leaseTtlMs + m.config.leaseMarginMs;
  const used = inFlight > 0 || started > 0 || lease.inFlight > 0;
  lease.inFlight = inFlight;
  noteStarted(m, instance.version, started);
  if (!used) return;
  instance.busyAtMs = m.nowMs;
  if (instance.state === 'draining' && instance.drainCause === 'idle' && !lease.revocationSent)
    resumeInstance(m, instance);
}

/** A lease of an earlier scheduler, or one that expired while its gateway was cut off. */
function adoptLease(m: Machine, gateway: GatewayRecord, report: LeaseReport): LeaseRecord | undefined {
  const { leaseId, session } = report;
  const parts = parseLeaseId(leaseId);
  const instance = parts === undefined ? undefined : m.state.instances.get(parts.instanceId);
  if (parts === undefined || instance === undefined) return undefined;
  if (instance.state !== 'ready' && instance.state !== 'draining') return undefined;
  const { scaling, scalingKnown } = instance.version;
  if (scalingKnown && instance.slotsLeased + parts.slots > concurrencyOf(scaling)) return undefined;
  if (session !== undefined && !adoptSession(instance, session)) return undefined;
  const lease = addLease(m, leaseId, instance, { gateway, slots: parts.slots, named: true });
  lease.revoked = instance.state === 'draining';
  return lease;
}

/** False: the instance is another session's, or the session has got another instance meanwhile. */
function adoptSession(instance: Instance, session: string): boolean {
  const { version } = instance;
  if (instance.session === session) return true;
  if (instance.session !== undefined || version.sessions.has(session)) return false;
  bindSession(version, instance, session);
  return true;
}

/** Right after a restart a gateway may be heard before the node that runs its instances. */
function mayBeUnknownYet(m: Machine, leaseId: string): boolean {
  if (m.nowMs >= m.state.recoveringUntilMs) return false;
  const parts = parseLeaseId(leaseId);
  return parts !== undefined && !m.state.instances.has(parts.instanceId);
}

export function onNodeHeartbeat(m: Machine, nodeId: string, heartbeat: NodeHeartbeat): void {
  const node = nodeOf(m, nodeId);
  if (node === undefined) return;
  if (heartbeat.capacity > node.capacity || (node.draining && !heartbeat.draining)) m.roomFreed = true;
  node.capacity = heartbeat.capacity;
  if (heartbeat.capacity > 0) m.state.nodeHeardAtMs = m.nowMs;
  node.freeSlots = heartbeat.freeSlots;
  node.draining = heartbeat.draining;
  for (const exit of heartbeat.exits) {
    const instance = m.state.instances.get(exit.instanceId);
    if (instance === undefined || instance.node !== node) continue;
    // The answer to the start says more (a stack), or says `ready` of a process that is gone by now.
    if (instance.state === 'starting') instance.exit = exit.reason;
    else {
      noteExit(m, instance, exit.reason);
      removeInstance(m, instance);
    }
  }
  const exited = new Set(heartbeat.exits.map((exit) => exit.instanceId));
  const listed = new Set<string>();
  const stop: string[] = [];
  for (const entry of heartbeat.instances) {
    if (listed.has(entry.instanceId) || exited.has(entry.instanceId)) continue;
    listed.add(entry.instanceId);
    if (!noteListed(m, node, entry)) stop.push(entry.instanceId);
  }
  for (const instance of node.instances) if (!listed.has(instance.id)) noteUnlisted(m, instance);
  if (node.draining) for (const instance of node.instances) drainInstance(m, instance, 'node');
  m.effects.push({ type: 'nodeReply', nodeId, stop });
}

function nodeOf(m: Machine, nodeId: string): NodeRecord | undefined {
  let node = m.state.nodes.get(nodeId);
  if (node === undefined) {
    if (m.state.nodes.size >= m.config.nodesMax) return undefined;
    node = {
      id: nodeId,
      heardAtMs: m.nowMs,
      capacity: 0,
      freeSlots: 0,
      draining: false,
      silent: false,
      instances: new Set(),
      starts: new Shares('scheduler.starts', { total: m.config.startsPerNodeMax }),
      failures: 0,
      avoidUntilMs: 0,
    };
    m.state.nodes.set(nodeId, node);
    m.roomFreed = true;
  }
  node.heardAtMs = m.nowMs;
  if (node.silent) m.roomFreed = true;
  node.silent = false;
  return node;
}

/** False: the node should stop it. */
function noteListed(m: Machine, node: NodeRecord, entry: NodeHeartbeat['instances'][number]): boolean {
  const known = m.state.instances.get(entry.instanceId);
  if (known === undefined) return adoptInstance(m, node, entry);
  if (known.node !== node) return false;
  known.listed = true;
  // As one that is too old: it ends when its requests have, and the next one has what it lacks.
  if (entry.outdated === true) drainInstance(m, known, 'age');
  // The list overtook the answer to the start.
  if (known.state === 'starting') becameReady(m, known, entry.endpoint);
  // The stop got lost, or takes longer than its grace.
  return known.state !== 'stopping' || m.nowMs - known.sinceMs < m.config.confirmMs + known.stopGraceMs;
}

function adoptInstance(m: Machine, node: NodeRecord, entry: NodeHeartbeat['instances'][number]): boolean {
  const version = versionOf(m, entry.versionId);
  if (version === undefined) return false;
  const surplus = version.scalingKnown && version.instances.size >= version.scaling.maxInstances;
  const instance = addInstance(m, entry.instanceId, version, {
    node,
    endpoint: entry.endpoint,
    sealedUntilMs: m.nowMs + m.config.adoptGraceMs,
    adopted: true,
  });
  noteUnserved(m, version);
  instance.listed = true;
  m.effects.push({
    type: 'notice',
    event: 'adopted',
    fields: { instanceId: instance.id, versionId: version.id, nodeId: node.id },
  });
  if (surplus) drainInstance(m, instance, 'room');
  return true;
}

function noteUnlisted(m: Machine, instance: Instance): void {
  if (instance.state === 'starting') return;
  if (!instance.listed && m.nowMs - instance.readyAtMs < m.config.confirmMs) return;
  removeInstance(m, instance);
}
