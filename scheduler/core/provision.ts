/**
 * Keeps as many instances ready as aliases ask for, and ends those of versions that no alias serves any more.
 *
 * A provisioned instance is one of a version's instances and not marked: what counts is how many there are.
 * After a move the next version's are ready first (or cannot be had, or `handoverMsMax` has passed); the last
 * version's are kept for `lingerMs` in any case, so that a rollback finds them warm.
 */
import { parseVersionId } from '#shared/ids.ts';
import { activeHold } from './health.ts';
import { drainInstance, resumeIdle, startInstance } from './lifecycle.ts';
import { placeInstance, underCeiling } from './placement.ts';
import { standing, versionOf, type Instance, type Machine, type Version } from './state.ts';

export function targetOf(m: Machine, version: Version): number {
  return Math.min(m.state.targets.get(version.id) ?? 0, version.scaling.maxInstances);
}

/** Starts what is missing, as far as there is room. */
export function topUp(m: Machine, version: Version): void {
  const missing = missingOf(m, version);
  for (let started = 0; started < missing; started += 1) {
    if (resumeIdle(m, version)) continue;
    if (version.instances.size >= version.scaling.maxInstances || !underCeiling(m, version)) return;
    const node = placeInstance(m, version);
    if (node === undefined) return;
    startInstance(m, version, node);
  }
}

export function topUpAll(m: Machine): void {
  for (const id of m.state.targets.keys()) {
    const version = versionOf(m, id);
    if (version !== undefined) topUp(m, version);
  }
}

/** Instances that could be started at once if there were room. */
export function missingOf(m: Machine, version: Version): number {
  // After a restart those that run have not all been heard of.
  if (m.nowMs < m.state.recoveringUntilMs) return 0;
  if (activeHold(m, version) !== undefined) return 0;
  return Math.max(0, targetOf(m, version) - standing(version));
}

/**
 * An instance of this version is reported, or asked for. When no alias of a function that is known (or known to be deleted) serves it, it
 * was left while nobody watched, or by a gateway that has not heard of the move: from now on it is kept no longer
 * than any other that was left.
 */
export function noteUnserved(m: Machine, { id, functionKey, number }: Version): void {
  const { state } = m;
  const known = state.functions.get(functionKey);
  if (known === undefined && !state.deleted.has(functionKey)) return;
  if (state.live.has(id) || state.departed.has(id)) return;
  // Newer than all that is known: then what is known is old, and gateways know better.
  if (
    known !== undefined &&
    known.versions.length > 0 &&
    known.versions.every((live) => parseVersionId(live.id).number < number)
  )
    return;
  state.departed.set(id, m.nowMs);
}

/** Drains the instances of versions that were left long enough ago. */
export function drainDeparted(m: Machine): void {
  for (const [id, leftAtMs] of m.state.departed) {
    const version = m.state.versions.get(id);
    if (version === undefined || (version.instances.size === 0 && version.queue.size === 0)) {
      m.state.departed.delete(id);
      continue;
    }
    if (isKept(m, version, leftAtMs)) continue;
    for (const instance of version.instances) drainInstance(m, instance, 'departed');
  }
}

/** A version that was left keeps its instances: they may be wanted again in a moment. */
export function isDepartedKept(m: Machine, instance: Instance): boolean {
  const leftAtMs = m.state.departed.get(instance.version.id);
  return leftAtMs !== undefined && isKept(m, instance.version, leftAtMs);
}

function isKept(m: Machine, { functionKey }: Version, leftAtMs: number): boolean {
  const passedMs = m.nowMs - leftAtMs;
  if (passedMs < m.config.lingerMs) return true;
  return passedMs < m.config.handoverMsMax && !successorsStand(m, functionKey);
}

function successorsStand(m: Machine, key: string): boolean {
  for (const { id } of m.state.functions.get(key)?.versions ?? []) {
    if (!m.state.targets.has(id)) continue;
    const version = m.state.versions.get(id);
    if (version === undefined) return false;
    let ready = 0;
    for (const instance of version.instances) if (instance.state === 'ready') ready += 1;
    if (ready < targetOf(m, version) && activeHold(m, version) === undefined) return false;
  }
  return true;
}
