/** What only the passing of time brings about. Nothing on a request's path waits for it. */
import { retarget } from './desired.ts';
import { evict } from './evict.ts';
import { forgive, hasTrouble, nodeFailed } from './health.ts';
import {
  drainInstance,
  endLease,
  isSpent,
  isTooOld,
  removeInstance,
  revokeLease,
  stopWhenOverdue,
  stopWhenUnleased,
} from './lifecycle.ts';
import { drainDeparted, isDepartedKept, targetOf, topUpAll } from './provision.ts';
import { refuse, timeOut } from './queue.ts';
import { isOrphaned } from './sessions.ts';
import { isAlive, standing, type Instance, type Machine, type NodeRecord } from './state.ts';

export function onTick(m: Machine, wallMs: number): void {
  retarget(m, wallMs);
  for (const waiter of m.state.waiters.values()) if (waiter.deadlineAtMs <= m.nowMs) timeOut(m, waiter);
  for (const lease of m.state.leases.values()) if (lease.expiresAtMs <= m.nowMs) endLease(m, lease);
  tickGateways(m);
  tickNodes(m);
  for (const instance of m.state.instances.values()) tickInstance(m, instance);
  for (const version of m.state.queued) m.dirty.add(version);
  drainDeparted(m);
  topUpAll(m);
  evict(m);
  for (const version of m.state.versions.values()) {
    forgive(m, version);
    if (version.queue.size > 0 || version.instances.size > 0 || hasTrouble(m, version)) continue;
    if (!m.state.targets.has(version.id)) m.state.versions.delete(version.id);
  }
}

function tickGateways(m: Machine): void {
  for (const gateway of m.state.gateways.values()) {
    if (isAlive(m, gateway)) continue;
    // The slots are free when the lease has expired, not before: a gateway that is merely cut off uses
    // it until then, and two gateways would together send more than the instance takes.
    for (const lease of gateway.leases) revokeLease(lease);
    if (gateway.leases.size > 0) continue;
    m.state.gateways.delete(gateway.id);
    for (const waiter of m.state.waiters.values())
      if (waiter.gatewayId === gateway.id)
        refuse(m, waiter, { code: 'scheduler_unavailable' }, m.config.retryAfterMs);
  }
}

function tickNodes(m: Machine): void {
  for (const node of m.state.nodes.values()) {
    if (isAlive(m, node)) continue;
    if (m.nowMs - node.heardAtMs < m.config.nodeReturnMs) {
      becameSilent(m, node);
      continue;
    }
    for (const instance of node.instances) removeInstance(m, instance);
    m.state.nodes.delete(node.id);
    m.effects.push({ type: 'nodeForgotten', nodeId: node.id });
    m.effects.push({ type: 'notice', event: 'node_dead', fields: { nodeId: node.id } });
  }
}

/**
 * An agent that hangs, or is being replaced: its instances serve without it, and who holds leases is told by the
 * instances themselves when they are gone. A start cannot come to anything there, and may elsewhere.
 */
function becameSilent(m: Machine, node: NodeRecord): void {
  for (const instance of node.instances) if (instance.state === 'starting') removeInstance(m, instance);
  if (node.silent) return;
  node.silent = true;
  m.effects.push({ type: 'notice', event: 'node_silent', fields: { nodeId: node.id } });
}

function tickInstance(m: Machine, instance: Instance): void {
  switch (instance.state) {
    case 'starting':
      if (m.nowMs - instance.sinceMs < m.config.startTimeoutMs) return;
      removeInstance(m, instance);
      nodeFailed(m, instance.node);
      return;
    case 'ready':
      if (isTooOld(m, instance)) drainInstance(m, instance, 'age');
      else if (isUseless(m, instance)) drainInstance(m, instance, 'spent');
      else if (isIdle(m, instance)) drainInstance(m, instance, 'idle');
      return;
    case 'draining':
      stopWhenUnleased(m, instance);
      if (instance.state === 'draining') stopWhenOverdue(m, instance);
      return;
    case 'stopping':
      return;
  }
}

/** Known from a list, so it may give no lease: its holders have had the time to name theirs. */
function isUseless(m: Machine, instance: Instance): boolean {
  if (instance.sealedUntilMs > m.nowMs || instance.leases.size > 0) return false;
  return isSpent(instance) || isOrphaned(instance);
}

function isIdle(m: Machine, instance: Instance): boolean {
  if (instance.sealedUntilMs > m.nowMs || instance.version.queue.size > 0) return false;
  if (m.nowMs - instance.busyAtMs < instance.version.scaling.idleTimeoutMs) return false;
  for (const lease of instance.leases) if (lease.inFlight > 0) return false;
  return standing(instance.version) > targetOf(m, instance.version) && !isDepartedKept(m, instance);
}
