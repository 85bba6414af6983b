/**
 * Decides when an instance has broken its CPU or memory limit, from samples of its process. Pure: the
 * driver (watchdog.node.ts) reads /proc, sends probes and kills.
 *
 * A probe is a request that workerd answers without running user code. One JavaScript thread does
 * everything in the process, so a probe without an answer while CPU is burnt means code that does not
 * yield. Code that yields and burns is judged by the CPU since its request began (report of a gateway).
 */
import type { FunctionLimits } from '#shared/contracts/config.ts';
import type { OverdueReport } from '#shared/contracts/nodes.ts';

export interface Sample {
  readonly atMs: number;
  /** User and system time of all threads since the process began, in ms; steps of 10. */
  readonly cpuMs: number;
  /** Resident memory that no other process shares. */
  readonly privateBytes: number;
}

interface Suspect {
  readonly requestId: string;
  readonly kind: OverdueReport['kind'];
  /** CPU of the process when its request began, at most. */
  readonly cpuMsAtStart: number;
}

interface Probe {
  readonly sentAtMs: number;
  readonly cpuMs: number;
}

export interface Watch {
  readonly limits: Pick<FunctionLimits, 'cpuMs' | 'memoryMb'>;
  /** Oldest first, at most {@link SAMPLES_MAX}. */
  readonly samples: readonly Sample[];
  /** Until the next sample. */
  readonly intervalMs: number;
  readonly probe: Probe | undefined;
  readonly suspects: readonly Suspect[];
}

export type Action =
  | { readonly kind: 'none' }
  | { readonly kind: 'probe' }
  | {
      readonly kind: 'kill';
      readonly reason: 'cpu_exceeded' | 'memory_exceeded' | 'timeout';
      readonly message: string;
      readonly requestId?: string;
    };

export interface Step {
  readonly watch: Watch;
  readonly action: Action;
}

const SAMPLES_MAX = 64;
const SUSPECTS_MAX = 1_000;
const INTERVAL_MS_MIN = 25;
const INTERVAL_MS_BUSY = 100;
/** Idle instances are looked at this seldom; a gateway's report wakes the watch at once. */
const INTERVAL_MS_IDLE = 5_000;
/** More than a tick of chance, and low, because a loop on a crowded machine gets a small share; a probe of one that yields costs little. */
const BUSY_SHARE = 0.15;
/** A process that yields answers a probe well within this, however large its young generation is. */
const YIELD_MS = 100;
/** CPU that must have been burnt since the probe before silence counts as a loop: two ticks would be chance. */
const LOOP_CPU_MS = 60;
/** A process that neither burns CPU nor answers (stopped, blocked) is given up after this. */
const SILENT_MS_MAX = 3_000;
/** Private memory beside the heap: workerd itself (60 MB under load, measured), compiled code, stacks. */
export const MEMORY_OVERHEAD_MB = 96;
const MIB = 1_048_576;

export function newWatch(limits: Watch['limits']): Watch {
  return { limits, samples: [], intervalMs: INTERVAL_MS_BUSY, probe: undefined, suspects: [] };
}

/** A new sample: what follows from it, and when to look again. */
export function onSample(watch: Watch, sample: Sample): Step {
  const previous = watch.samples.at(-1);
  const next = { ...watch, samples: [...watch.samples, sample].slice(-SAMPLES_MAX) };
  const kill = memoryBroken(next, sample) ?? silenceBroken(next, sample);
  if (kill !== undefined) return { watch: next, action: kill };
  if (watch.probe !== undefined)
    return { watch: { ...next, intervalMs: INTERVAL_MS_MIN }, action: { kind: 'none' } };
  const elapsedMs = previous === undefined ? 0 : sample.atMs - previous.atMs;
  const usedMs = previous === undefined ? 0 : sample.cpuMs - previous.cpuMs;
  if (elapsedMs > 0 && usedMs >= elapsedMs * BUSY_SHARE) return sendProbe(next, sample);
  const intervalMs = usedMs > 0 ? INTERVAL_MS_BUSY : Math.min(INTERVAL_MS_IDLE, watch.intervalMs * 2);
  return { watch: { ...next, intervalMs }, action: { kind: 'none' } };
}

/** The probe came back: the process yields, so nobody loops. */
export function onProbeAnswered(watch: Watch): Watch {
  return { ...watch, probe: undefined, suspects: [], intervalMs: INTERVAL_MS_BUSY };
}

/** A gateway says that a request passed its CPU budget in wall time, or its timeout. `sample` is of now. */
export function onOverdue(watch: Watch, report: OverdueReport, sample: Sample): Step {
  const startedMs = sample.atMs - report.ageMs;
  if (report.kind === 'cpu') {
    const sharedMs =
      (sample.cpuMs - cpuSinceAtLeast(watch.samples, startedMs, sample)) / Math.max(1, report.inFlight);
    if (sharedMs >= watch.limits.cpuMs) return { watch, action: cpuKill(watch, sharedMs, report.requestId) };
  }
  const suspect: Suspect = {
    requestId: report.requestId,
    kind: report.kind,
    cpuMsAtStart: cpuBefore(watch.samples, startedMs),
  };
  const next = {
    ...watch,
    samples: [...watch.samples, sample].slice(-SAMPLES_MAX),
    suspects: [...watch.suspects, suspect].slice(-SUSPECTS_MAX),
  };
  if (watch.probe !== undefined)
    return { watch: { ...next, intervalMs: INTERVAL_MS_MIN }, action: { kind: 'none' } };
  return sendProbe(next, sample);
}

function sendProbe(watch: Watch, sample: Sample): Step {
  return {
    watch: { ...watch, probe: { sentAtMs: sample.atMs, cpuMs: sample.cpuMs }, intervalMs: INTERVAL_MS_MIN },
    action: { kind: 'probe' },
  };
}

/** CPU at the first sample after `startedMs`: what was burnt before it is not held against the request. */
function cpuSinceAtLeast(samples: readonly Sample[], startedMs: number, now: Sample): number {
  return (samples.find((sample) => sample.atMs >= startedMs) ?? now).cpuMs;
}

/** CPU at the last sample before `startedMs`; a process that never was sampled began with 0. */
function cpuBefore(samples: readonly Sample[], startedMs: number): number {
  return (samples.findLast((sample) => sample.atMs <= startedMs) ?? samples[0])?.cpuMs ?? 0;
}

function memoryBroken(watch: Watch, sample: Sample): Action | undefined {
  const boundMb = watch.limits.memoryMb + MEMORY_OVERHEAD_MB;
  if (sample.privateBytes <= boundMb * MIB) return undefined;
  return {
    kind: 'kill',
    reason: 'memory_exceeded',
    message: `The instance used more than its ${watch.limits.memoryMb} MB of memory and was stopped.`,
  };
}

function silenceBroken(watch: Watch, sample: Sample): Action | undefined {
  const { probe } = watch;
  if (probe === undefined) return undefined;
  const silentMs = sample.atMs - probe.sentAtMs;
  const burntMs = sample.cpuMs - probe.cpuMs;
  if (burntMs >= Math.max(watch.limits.cpuMs, LOOP_CPU_MS))
    return cpuKill(watch, burntMs, onlySuspect(watch));
  const loops = silentMs >= YIELD_MS && burntMs >= LOOP_CPU_MS;
  if (!loops && silentMs < SILENT_MS_MAX) return undefined;
  for (const suspect of watch.suspects) {
    if (suspect.kind === 'timeout')
      return {
        kind: 'kill',
        reason: 'timeout',
        message: 'A request passed its time limit, did not yield and was stopped with its instance.',
        requestId: suspect.requestId,
      };
    const usedMs = sample.cpuMs - suspect.cpuMsAtStart;
    if (loops && usedMs >= watch.limits.cpuMs) return cpuKill(watch, usedMs, suspect.requestId);
  }
  return undefined;
}

function onlySuspect(watch: Watch): string | undefined {
  const [first, ...others] = new Set(watch.suspects.map((suspect) => suspect.requestId));
  return others.length === 0 ? first : undefined;
}

function cpuKill(watch: Watch, usedMs: number, requestId: string | undefined): Action {
  return {
    kind: 'kill',
    reason: 'cpu_exceeded',
    message: `The instance was stopped: ${Math.round(usedMs)} ms of CPU time, the limit of a request is ${watch.limits.cpuMs} ms.`,
    ...(requestId === undefined ? {} : { requestId }),
  };
}
