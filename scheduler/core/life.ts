/** What the control API shows of functions (shared/contracts/scheduling.ts). */
import type { FunctionLife, HeldList, HeldVersion } from '#shared/contracts/scheduling.ts';
import { targetsOf } from './desired.ts';
import { functionKeyOf } from './scaling.ts';
import type { InstanceState, State, Version } from './state.ts';

const HELD_MAX = 1_000;

export function countStates(version: Version): Record<InstanceState, number> {
  const counts = { starting: 0, ready: 0, draining: 0, stopping: 0 };
  for (const instance of version.instances) counts[instance.state] += 1;
  return counts;
}

/** @param key - `account/function`. */
export function lifeOf(state: State, key: string, now: { nowMs: number; wallMs: number }): FunctionLife {
  const versions = [...state.versions.values()].filter((version) => functionKeyOf(version.id) === key);
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
