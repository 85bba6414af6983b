/** What the scheduler's state looks like in numbers: pure. Functions and accounts are not named. */
import { byLabel, type Sample } from '#shared/metrics/samples.ts';
import { INSTANCE_STATES, isAliveAt, type State } from './state.ts';

export function samplesOf(state: State, nowMs: number, memberDeadMs: number): Sample[] {
  const states = new Map<string, number>(INSTANCE_STATES.map((name) => [name, 0]));
  for (const instance of state.instances.values())
    states.set(instance.state, (states.get(instance.state) ?? 0) + 1);
  const held = new Map<string, number>();
  for (const { hold } of state.versions.values())
    if (hold !== undefined && hold.untilMs > nowMs)
      held.set(hold.fault.code, (held.get(hold.fault.code) ?? 0) + 1);
  const nodes = [...state.nodes.values()].filter((node) => isAliveAt(node, nowMs, memberDeadMs));
  const gateways = [...state.gateways.values()].filter((gateway) => isAliveAt(gateway, nowMs, memberDeadMs));
  return [
    { name: 'isoplane_scheduler_nodes', value: nodes.length },
    { name: 'isoplane_scheduler_gateways', value: gateways.length },
    { name: 'isoplane_scheduler_capacity', value: nodes.reduce((sum, { capacity }) => sum + capacity, 0) },
    ...byLabel('isoplane_scheduler_instances', states),
    { name: 'isoplane_scheduler_leases', value: state.leases.size },
    ...byLabel('isoplane_scheduler_versions_held', held),
  ];
}
