/**
 * Makes room for who has none, by ending the instances that were unused for longest: on full nodes, and under
 * the ceiling of an account. Without it, idle functions could lock all others out until their idle time. What is in use
 * makes room only for an account that has less than its part (fairness.ts).
 */
import { feed, hungerOf } from './fairness.ts';
import { activeHold } from './health.ts';
import { drainInstance } from './lifecycle.ts';
import { allNodesFull, underCeiling } from './placement.ts';
import { missingOf, targetOf } from './provision.ts';
import { NO_HUNGER, standing, type Instance, type Machine, type Version } from './state.ts';

export function evict(m: Machine): void {
  const starving = starvingVersions(m);
  const isFull = starving.length > 0 && allNodesFull(m);
  m.state.hunger = isFull ? hungerOf(m, starving) : NO_HUNGER;
  if (isFull) makeRoom(m, [...m.state.instances.values()], starving.length);
  feed(m, starving);
  for (const account of new Set(starving.map((version) => version.account)))
    evictUnderCeiling(m, account, starving);
  for (const [account, most] of m.state.ceilings) {
    // Lowered below what runs.
    const over = (m.state.accountInstances.get(account)?.size ?? 0) - most;
    if (over > 0) makeRoom(m, instancesOf(m, account), over, { provisioned: true });
  }
}

/**
 * False: the account is at its ceiling and all its instances are in use, so that to wait is to wait for
 * somebody else's load to end.
 */
export function mayGetRoom(m: Machine, version: Version): boolean {
  if (underCeiling(m, version)) return true;
  return instancesOf(m, version.account).some((instance) => {
    if (instance.state === 'draining' || instance.state === 'stopping') return true;
    if (standing(instance.version) <= targetOf(m, instance.version)) return false;
    return [...instance.leases].every((lease) => lease.inFlight === 0);
  });
}

/** One entry for each instance that is wanted and cannot be had. */
function starvingVersions(m: Machine): Version[] {
  const starving: Version[] = [];
  for (const version of m.state.queued)
    if (version.instances.size === 0 && activeHold(m, version) === undefined) starving.push(version);
  for (const id of m.state.targets.keys()) {
    const version = m.state.versions.get(id);
    if (version === undefined || version.queue.size > 0) continue;
    for (let missing = missingOf(m, version); missing > 0; missing -= 1) starving.push(version);
  }
  return starving;
}

function evictUnderCeiling(m: Machine, account: string, starving: readonly Version[]): void {
  const own = starving.filter((version) => version.account === account);
  const [first] = own;
  if (first === undefined || underCeiling(m, first)) return;
  makeRoom(m, instancesOf(m, account), own.length);
}

function instancesOf(m: Machine, account: string): Instance[] {
  return [...(m.state.accountInstances.get(account) ?? [])];
}

function makeRoom(
  m: Machine,
  among: readonly Instance[],
  wanted: number,
  also: { readonly provisioned: boolean } = { provisioned: false },
): void {
  let left = wanted;
  const candidates: Instance[] = [];
  for (const instance of among) {
    if (instance.state === 'draining' || instance.state === 'stopping') left -= 1;
    else if (isEvictable(m, instance)) candidates.push(instance);
  }
  candidates.sort((a, b) => a.busyAtMs - b.busyAtMs);
  for (const instance of candidates) {
    if (left <= 0) return;
    const { version } = instance;
    if (!also.provisioned && standing(version) <= targetOf(m, version)) continue;
    drainInstance(m, instance, 'room');
    left -= 1;
  }
}

function isEvictable(m: Machine, instance: Instance): boolean {
  if (instance.state !== 'ready' || instance.version.queue.size > 0) return false;
  if (m.nowMs - instance.busyAtMs < m.config.evictIdleMs) return false;
  for (const lease of instance.leases) if (lease.inFlight > 0) return false;
  return true;
}
