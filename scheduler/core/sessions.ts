/**
 * Isolation `session`: each session has one instance, for the instance's whole life. A drain for idleness can
 * be taken back; any other end of the instance ends the session, and its id then begins a new one.
 */
import { activeHold } from './health.ts';
import { freeSlots, resumeInstance, startInstance } from './lifecycle.ts';
import { placeInstance, underCeiling } from './placement.ts';
import type { Instance, Machine, Version, Waiter } from './state.ts';

/** A lease without a session belongs to whoever holds it, and to nobody else. */
function sessionOf({ session, requestId }: Waiter): string {
  return session ?? `~${requestId}`;
}

/** The instance of the waiter's session, started when there is none; undefined when none may be. */
export function instanceFor(m: Machine, waiter: Waiter): Instance | undefined {
  const { version } = waiter;
  const session = sessionOf(waiter);
  return instanceOf(m, version, session) ?? startFor(m, version, session);
}

/** Waiting requests beyond the room of those instances that are being started for them. */
export function waitingForRoom(version: Version): number {
  let waiting = 0;
  for (const waiter of version.queue.values()) {
    const instance = version.sessions.get(sessionOf(waiter));
    if (instance?.state !== 'starting') waiting += waiter.waiting;
  }
  return waiting;
}

function instanceOf(m: Machine, version: Version, session: string): Instance | undefined {
  const bound = version.sessions.get(session);
  if (bound !== undefined) {
    if (bound.state === 'draining' && !bound.node.draining) resumeInstance(m, bound);
    return bound;
  }
  for (const instance of version.instances) {
    if (instance.session !== undefined || instance.adopted) continue;
    if (instance.state !== 'starting' && freeSlots(m, instance) === 0) continue;
    if (instance.state === 'draining' || instance.state === 'stopping') continue;
    bindSession(version, instance, session);
    return instance;
  }
  return undefined;
}

function startFor(m: Machine, version: Version, session: string): Instance | undefined {
  if (activeHold(m, version) !== undefined || !underCeiling(m, version)) return undefined;
  if (version.instances.size >= version.scaling.maxInstances) return undefined;
  const node = placeInstance(m, version);
  if (node === undefined) return undefined;
  const instance = startInstance(m, version, node);
  bindSession(version, instance, session);
  return instance;
}

export function bindSession(version: Version, instance: Instance, session: string): void {
  instance.session = session;
  version.sessions.set(session, instance);
}

/** Nobody alive knows whose it is: it may serve nobody. */
export function isOrphaned(instance: Instance): boolean {
  return (
    instance.version.scalingKnown &&
    instance.version.scaling.isolation === 'session' &&
    instance.adopted &&
    instance.session === undefined
  );
}
