/**
 * Versions that do not start or do not stay up.
 *
 * A hold only forbids new starts: instances that run go on serving, and callers are refused only when
 * there is none. It ends by time alone. After the hold one more start is tried; the next failure doubles
 * the pause.
 */
import type { ExitReason } from '#shared/contracts/nodes.ts';
import type { ErrorCode } from '#shared/errors.ts';
import type { Fault } from './events.ts';
import { backoffMs, type Hold, type Instance, type Machine, type NodeRecord, type Version } from './state.ts';

/** Failures of a start that another node, or the same one later, need not repeat. */
const NODE_FAULTS: ReadonlySet<ErrorCode> = new Set([
  'conflict',
  'internal',
  'no_capacity',
  'node_unavailable',
  'scheduler_unavailable',
  'storage_full',
]);

/**
 * Ends of a process by what its code did. Each costs the node a start, and all others on the instance their
 * requests. One alone says little: a public function in which one rare input loops must not be taken down by
 * whoever knows it. So what counts is whether they are most of what the version does.
 */
const KILLS: ReadonlySet<ExitReason> = new Set(['crashed', 'memory_exceeded', 'cpu_exceeded', 'timeout']);

export function isNodeFault(fault: Fault): boolean {
  return NODE_FAULTS.has(fault.code);
}

export function activeHold(m: Machine, version: Version): Hold | undefined {
  return version.hold !== undefined && version.hold.untilMs > m.nowMs ? version.hold : undefined;
}

export function nodeFailed(m: Machine, node: NodeRecord): void {
  node.failures += 1;
  node.avoidUntilMs = m.nowMs + backoffMs(node.failures, m.config.nodeBackoffMs, m.config.nodeBackoffMsMax);
}

/**
 * What only the operator or the owner can bring back, or the account itself by starting less at once; it says
 * nothing about the node for other versions.
 */
const NO_FAULT: ReadonlySet<ErrorCode> = new Set(['code_unavailable', 'secret_unavailable', 'share_full']);

/**
 * Neither the code nor the node is at fault: the code, or a secret of it, is not where it must start, or its turn did
 * not come. The version is tried again soon, however often that was in vain.
 */
function notNow(m: Machine, version: Version, fault: Fault): number {
  const pauseMs = m.config.retryAfterMs;
  version.hold = { untilMs: m.nowMs + pauseMs, fault };
  return pauseMs;
}

/** @returns how long no further start is tried, which those hear who waited for this very one. */
export function startFailed(m: Machine, version: Version, fault: Fault): number {
  if (NO_FAULT.has(fault.code)) return notNow(m, version, fault);
  version.startFailures += 1;
  version.troubleAtMs = m.nowMs;
  const pauseMs = backoffMs(version.startFailures, m.config.startBackoffMs, m.config.startBackoffMsMax);
  version.hold = { untilMs: m.nowMs + pauseMs, fault };
  m.effects.push({
    type: 'notice',
    event: 'start_failed',
    fields: { versionId: version.id, code: fault.code, pauseMs, failures: version.startFailures },
  });
  return pauseMs;
}

/** Requests that gateways have sent. Those that a kill takes along are taken back by {@link noteExit}. */
export function noteStarted(m: Machine, version: Version, started: number): void {
  if (started > 0) version.work.add(m.nowMs, { good: started });
}

/** To be called while the instance still has its leases: what is in flight on them has not gone well. */
export function noteExit(m: Machine, instance: Instance, reason: ExitReason): void {
  const { version } = instance;
  if (!KILLS.has(reason)) return;
  let lost = 0;
  for (const lease of instance.leases) lost += lease.inFlight;
  version.work.add(m.nowMs, { kills: 1, good: -lost });
  version.troubleAtMs = m.nowMs;
  const { kills, good } = version.work.within(m.nowMs);
  if (kills < m.config.killsMin || kills < good) return;
  version.work.clear();
  version.quarantines += 1;
  const pauseMs = backoffMs(version.quarantines, m.config.quarantineMs, m.config.quarantineMsMax);
  const fault: Fault = { code: 'quarantined', detail: `The last process ended with: ${reason}.` };
  version.hold = { untilMs: m.nowMs + pauseMs, fault, reason };
  m.effects.push({
    type: 'notice',
    event: 'quarantined',
    fields: { versionId: version.id, reason, pauseMs, kills, good, quarantines: version.quarantines },
  });
}

/** Forgets old trouble: a version that kept quiet for the longest pause starts again from the shortest. */
export function forgive(m: Machine, version: Version): void {
  if (version.hold !== undefined && version.hold.untilMs <= m.nowMs) version.hold = undefined;
  if (version.hold !== undefined || m.nowMs - version.troubleAtMs < m.config.quarantineMsMax) return;
  version.startFailures = 0;
  version.quarantines = 0;
}

export function hasTrouble(m: Machine, version: Version): boolean {
  return (
    version.hold !== undefined ||
    version.startFailures > 0 ||
    version.quarantines > 0 ||
    version.work.within(m.nowMs).kills > 0
  );
}
