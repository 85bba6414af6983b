/**
 * The scheduler as one function of its state and an event. It does no I/O and knows no clock: time
 * comes with the event, randomness as a function, and what must happen is returned as effects, which
 * the driver carries out in order.
 */
import type { CoreConfig } from './config.ts';
import type { Effect, Fault, SchedulerEvent } from './events.ts';
import { onDesired } from './desired.ts';
import { isNodeFault, nodeFailed, noteExit, startFailed } from './health.ts';
import { becameReady, endLease, removeInstance } from './lifecycle.ts';
import { onGatewayHeartbeat, onNodeHeartbeat } from './members.ts';
import { topUp, topUpAll } from './provision.ts';
import { onAcquire, onCancelled, pump, refuseAll } from './queue.ts';
import type { Machine, State } from './state.ts';
import { onTick } from './tick.ts';

export interface Environment {
  readonly config: CoreConfig;
  /** Seeded in tests. Ids are made of it, so production passes numbers that nobody can guess. */
  readonly random: () => number;
}

/** Changes `state` and returns what is to be done. An event older than the last one counts as of now. */
export function step(state: State, event: SchedulerEvent, environment: Environment): readonly Effect[] {
  state.nowMs = Math.max(state.nowMs, event.atMs);
  const m: Machine = {
    state,
    config: environment.config,
    random: environment.random,
    nowMs: state.nowMs,
    effects: [],
    dirty: new Set(),
    roomFreed: false,
  };
  handle(m, event);
  settle(m);
  return m.effects;
}

function handle(m: Machine, event: SchedulerEvent): void {
  switch (event.type) {
    case 'acquire':
      return onAcquire(m, event.requestId, event.request);
    case 'acquireCancelled': {
      onCancelled(m, event.requestId);
      const lease = event.leaseId === undefined ? undefined : m.state.leases.get(event.leaseId);
      // Its holder never had it, so nothing was sent on it.
      if (lease !== undefined) endLease(m, lease, 0);
      return;
    }
    case 'gatewayHeartbeat':
      return onGatewayHeartbeat(m, event.gatewayId, event.heartbeat);
    case 'nodeHeartbeat':
      return onNodeHeartbeat(m, event.nodeId, event.heartbeat);
    case 'startSucceeded': {
      const instance = m.state.instances.get(event.instanceId);
      if (instance?.state !== 'starting') return;
      becameReady(m, instance, event.endpoint);
      if (instance.exit === undefined) return;
      noteExit(m, instance, instance.exit);
      removeInstance(m, instance);
      return;
    }
    case 'startFailed':
      return onStartFailed(m, event.instanceId, event.fault);
    case 'desired':
      onDesired(m, event.items, event.wallMs);
      return topUpAll(m);
    case 'tick':
      return onTick(m, event.wallMs);
  }
}

function onStartFailed(m: Machine, instanceId: string, fault: Fault): void {
  const instance = m.state.instances.get(instanceId);
  if (instance?.state !== 'starting') return;
  removeInstance(m, instance);
  if (!isNodeFault(fault)) {
    // Those who waited for this very start hear why.
    return refuseAll(m, instance.version, fault, startFailed(m, instance.version, fault));
  }
  nodeFailed(m, instance.node);
  // The node may have started it without being able to say so; stopping an unknown one does no harm.
  const { stopGraceMs: graceMs } = m.config;
  m.effects.push({ type: 'stop', nodeId: instance.node.id, instanceId, graceMs });
}

/** Lets every queue that may have gained room move, once, after the whole event is understood. */
function settle(m: Machine): void {
  if (m.roomFreed) for (const version of m.state.queued) m.dirty.add(version);
  for (const version of m.dirty) {
    pump(m, version);
    topUp(m, version);
  }
}
