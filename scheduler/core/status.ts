/** What operators see under /v1/status: counts and trouble, nothing that grants a right. */
import { countStates } from './life.ts';
import type { InstanceState, State } from './state.ts';
import type { CoreConfig } from './config.ts';

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
      starting: node.starting,
      freeSlots: node.freeSlots,
      draining: node.draining,
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
