/** What an agent says of itself in numbers: pure. Functions and accounts are not named. */
import type { ExitReason, NodeStatus } from '#shared/contracts/nodes.ts';
import { byLabel, type Sample } from '#shared/metrics/samples.ts';

export interface InstanceCounts {
  readonly starts: number;
  readonly exits: ReadonlyMap<ExitReason, number>;
}

export function samplesOf(status: NodeStatus, { starts, exits }: InstanceCounts): Sample[] {
  return [
    { name: 'isoplane_feed_revision', value: status.feedRevision },
    { name: 'isoplane_node_capacity', value: status.capacity },
    { name: 'isoplane_node_instances', value: status.instances },
    { name: 'isoplane_node_slots_waiting', value: status.freeSlots },
    { name: 'isoplane_node_sandbox_complete', value: status.sandbox.level === 'full' ? 1 : 0 },
    { name: 'isoplane_node_starts_total', value: starts },
    ...byLabel('isoplane_node_exits_total', exits),
    { name: 'isoplane_node_code_missing', value: status.codeMissing ?? 0 },
    { name: 'isoplane_node_log_entries_lost_total', value: status.logEntriesLost ?? 0 },
  ];
}
