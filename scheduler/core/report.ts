/**
 * What is shown of the state: functions to the control API (shared/contracts/scheduling.ts), and members and
 * versions to operators. Counts and trouble, nothing that grants a right.
 */
import type { FunctionLife, HeldList, HeldVersion } from '#shared/contracts/scheduling.ts';
import type { CoreConfig } from './config.ts';
import { targetsOf } from './desired.ts';
import type { InstanceState, State, Version } from './state.ts';

const HELD_MAX = 1_000;

function countStates(version: Version): Record<InstanceState, number> {
  const counts = { starting: 0, ready: 0, draining: 0, stopping: 0 };
  for (const instance of version.instances) counts[instance.state] += 1;
  return counts;
}

/** @param key - `account/function`. */
export function lifeOf(state: State, key: string, now: { nowMs: number; wallMs: number }): FunctionLife {
  const versions = [...state.versions.values()].filter((version) => version.functionKey === key);
  const ready = new Map(versions.map((version) => [version.id, countStates(version).ready]));
  const item = state.functions.get(key);
  const aliases = (item?.aliases ?? []).map((alias) => {
    let target = 0;
    let have = 0;
    for (const [id, part] of targetsOf(item, alias, now.wallMs)) {
      target += part;
      // What one alias counts as its own, the next one on the same version does not.
      const mine = Math.min(part, ready.get(id) ?? 0);
      ready.set(id, (ready.get(id) ?? 0) - mine);
      have += mine;
    }
    return { name: alias.name, target, ready: have };
  });
  return {
    aliases,
    versions: versions.map((version) => ({ version: version.id, ...countStates(version) })),
    held: versions.flatMap((version) => heldOf(version, now.nowMs) ?? []),
  };
}

export function heldIn(state: State, account: string, nowMs: number): HeldList {
  const items: HeldVersion[] = [];
  for (const version of state.versions.values()) {
    const held = version.account === account ? heldOf(version, nowMs) : undefined;
    if (held !== undefined && items.push(held) >= HELD_MAX) break;
  }
  return { items };
}

function heldOf(version: Version, nowMs: number): HeldVersion | undefined {
  const { hold } = version;
  if (hold === undefined || hold.untilMs <= nowMs) return undefined;
  return {
    version: version.id,
    code: hold.fault.code,
    ...(hold.reason === undefined ? {} : { reason: hold.reason }),
    retryAfterMs: Math.ceil(hold.untilMs - nowMs),
    count: hold.reason === undefined ? version.startFailures : version.quarantines,
  };
}

/** What operators see under /v1/status. */
export interface SchedulerStatus {
  readonly recovering: boolean;
  readonly gateways: readonly {
    readonly gatewayId: string;
    readonly alive: boolean;
    readonly leases: number;
  }[];
  readonly nodes: readonly {
    readonly nodeId: string;
    readonly capacity: number;
    readonly instances: number;
    readonly starting: number;
    readonly freeSlots: number;
    readonly draining: boolean;
    /** Not heard of late: its instances are used, and none is started there. */
    readonly silent: boolean;
  }[];
  readonly versions: readonly {
    readonly versionId: string;
    readonly waiting: number;
    readonly instances: Readonly<Record<InstanceState, number>>;
    readonly slotsLeased: number;
    /** Instances to keep ready. */
    readonly target: number;
    /** Present while no new instance of the version is started. */
    readonly held?: { readonly code: string; readonly retryAfterMs: number; readonly detail?: string };
  }[];
}

export function statusOf(state: State, nowMs: number, config: CoreConfig): SchedulerStatus {
  return {
    recovering: nowMs < state.recoveringUntilMs,
    gateways: [...state.gateways.values()].map((gateway) => ({
      gatewayId: gateway.id,
      alive: nowMs - gateway.heardAtMs < config.memberDeadMs,
      leases: gateway.leases.size,
    })),
    nodes: [...state.nodes.values()].map((node) => ({
      nodeId: node.id,
      capacity: node.capacity,
      instances: node.instances.size,
      starting: node.starts.used,
      freeSlots: node.freeSlots,
      draining: node.draining,
      silent: node.silent,
    })),
    versions: [...state.versions.values()].map((version) => {
      let slotsLeased = 0;
      for (const instance of version.instances) slotsLeased += instance.slotsLeased;
      const { hold } = version;
      return {
        versionId: version.id,
        waiting: version.waiting,
        instances: countStates(version),
        slotsLeased,
        target: state.targets.get(version.id) ?? 0,
        ...(hold === undefined || hold.untilMs <= nowMs
          ? {}
          : {
              held: {
                code: hold.fault.code,
                retryAfterMs: Math.ceil(hold.untilMs - nowMs),
                ...(hold.fault.detail === undefined ? {} : { detail: hold.fault.detail }),
              },
            }),
      };
    }),
  };
}
