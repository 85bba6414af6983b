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
  readonly startedMs: number;
}

interface Probe {
  readonly sentAtMs: number;
  /** CPU of the process when it was sent. */
  readonly cpuMs: number;
  /** CPU at which the silence began: what was burnt since belongs to code that does not yield. */
  readonly silentFromCpuMs: number;
  /** When it began, at the earliest: the process was idle or yielded before. */
  readonly silentFromMs: number;
}

export interface Watch {
  readonly limits: Pick<FunctionLimits, 'cpuMs' | 'memoryMb'>;
  /** Oldest first, at most {@link SAMPLES_MAX}. */
  readonly samples: readonly Sample[];
  /** Until the next sample. */
  readonly intervalMs: number;
  readonly probe: Probe | undefined;
  readonly suspects: readonly Suspect[];
  /** When a probe was last answered. */
  readonly yieldedMs: number;
  /** Others go first while it burns CPU without yielding. */
  readonly lowered: boolean;
}

export type Action =
  | { readonly kind: 'none' }
  | { readonly kind: 'probe' }
  /** Lower the scheduling priority of the process; it is given back when a probe is answered. */
  | { readonly kind: 'lower' }
  | {
      readonly kind: 'kill';
      readonly reason: 'cpu_exceeded' | 'memory_exceeded' | 'timeout';
      readonly message: string;
      /** Empty: the agent knows that no request which a gateway reported is to blame. */
      readonly requestId?: string;
    };

export interface Step {
  readonly watch: Watch;
  readonly action: Action;
}

const SAMPLES_MAX = 64;
const SUSPECTS_MAX = 1_000;
const INTERVAL_MS_MIN = 10;
/** Two ticks of the kernel's CPU clock, so that a loop shows in every sample. */
const INTERVAL_MS_SILENT = 20;
const INTERVAL_MS_BUSY = 100;
/** Idle instances are looked at this seldom; a gateway's report wakes the watch at once. */
const INTERVAL_MS_IDLE = 5_000;
const BUSY_SHARE = 0.5;
const TICK_MS = 10;
/** A process that yields answers a probe well within this, however large its young generation is. */
const YIELD_MS = 100;
/** CPU that must have been burnt since the probe before silence counts as a loop: two ticks would be chance. */
const LOOP_CPU_MS = 60;
/** A loop begins this soon after its request, or its request has waited for something before. */
const BEGINS_WITHIN_MS = 30;
/** CPU that a loop may burn over its budget while the report that names its request is on its way. */
const NAMED_WITHIN_MS = 80;
/** A process that neither burns CPU nor answers (stopped, blocked) is given up after this. */
const SILENT_MS_MAX = 3_000;
/** Private memory beside the heap: workerd itself (60 MB under load, measured), compiled code, stacks. */
export const MEMORY_OVERHEAD_MB = 96;
const MIB = 1_048_576;

export function newWatch(limits: Watch['limits']): Watch {
  return {
    limits,
    samples: [],
    intervalMs: INTERVAL_MS_BUSY,
    probe: undefined,
    suspects: [],
    yieldedMs: -Infinity,
    lowered: false,
  };
}

/** A new sample: what follows from it, and when to look again. */
export function onSample(watch: Watch, sample: Sample): Step {
  const previous = watch.samples.at(-1);
  const next = withSample(watch, sample);
  const kill = memoryBroken(next, sample) ?? silenceBroken(next, sample);
  if (kill !== undefined) return { watch: next, action: kill };
  if (next.probe !== undefined) return stillSilent(next, next.probe, sample);
  const elapsedMs = previous === undefined ? 0 : sample.atMs - previous.atMs;
  const usedMs = previous === undefined ? 0 : sample.cpuMs - previous.cpuMs;
  if (elapsedMs > 0 && usedMs >= elapsedMs * BUSY_SHARE) return sendProbe(next, sample, sample.cpuMs);
  const intervalMs = usedMs > 0 ? INTERVAL_MS_BUSY : Math.min(INTERVAL_MS_IDLE, watch.intervalMs * 2);
  return { watch: { ...next, intervalMs }, action: { kind: 'none' } };
}

/** The probe came back: the process yields, so nobody loops. The caller gives the priority back. */
export function onProbeAnswered(watch: Watch, nowMs: number): Watch {
  return {
    ...watch,
    probe: undefined,
    suspects: [],
    intervalMs: INTERVAL_MS_BUSY,
    yieldedMs: nowMs,
    lowered: false,
  };
}

/**
 * A gateway says that a request has had no answer for `ageMs`, long before its budget is over. Most wait
 * for something; one that burns is found here, early enough for others not to suffer.
 */
export function onSlow(watch: Watch, ageMs: number, sample: Sample): Step {
  const previous = watch.samples.at(-1);
  if (watch.probe !== undefined) return { watch, action: { kind: 'none' } };
  const next = withSample(watch, sample);
  const usedMs = sample.cpuMs - (previous?.cpuMs ?? sample.cpuMs);
  // One thread cannot have burnt more since the request began than time has passed.
  if (usedMs >= TICK_MS) return sendProbe(next, sample, sample.cpuMs - Math.min(usedMs, ageMs));
  return { watch: { ...next, intervalMs: INTERVAL_MS_SILENT }, action: { kind: 'none' } };
}

/** A gateway says that a request passed its CPU budget in wall time, or its timeout. `sample` is of now. */
export function onOverdue(watch: Watch, report: OverdueReport, sample: Sample): Step {
  const startedMs = sample.atMs - report.ageMs;
  if (report.kind === 'cpu' && watch.probe === undefined) {
    const usedMs = sample.cpuMs - cpuAtStart(watch.samples, startedMs, sample);
    const sharedMs = usedMs / Math.max(1, report.inFlight);
    if (sharedMs >= watch.limits.cpuMs) return { watch, action: cpuKill(watch, sharedMs, report.requestId) };
  }
  const suspect: Suspect = { requestId: report.requestId, kind: report.kind, startedMs };
  const next = {
    ...withSample(watch, sample),
    suspects: [...watch.suspects, suspect].slice(-SUSPECTS_MAX),
  };
  if (next.probe === undefined) return sendProbe(next, sample, sample.cpuMs);
  const kill = silenceBroken(next, sample);
  return kill === undefined ? stillSilent(next, next.probe, sample) : { watch: next, action: kill };
}

function withSample(watch: Watch, sample: Sample): Watch {
  return { ...watch, samples: [...watch.samples, sample].slice(-SAMPLES_MAX) };
}

function sendProbe(watch: Watch, sample: Sample, silentFromCpuMs: number): Step {
  const probe: Probe = {
    sentAtMs: sample.atMs,
    cpuMs: sample.cpuMs,
    silentFromCpuMs,
    silentFromMs: Math.max(watch.yieldedMs, sample.atMs - burntBefore(watch.samples)),
  };
  return { watch: { ...watch, probe, intervalMs: INTERVAL_MS_SILENT }, action: { kind: 'probe' } };
}

/** CPU between the last two samples: at full speed it took at least that long. */
function burntBefore(samples: readonly Sample[]): number {
  return (samples.at(-1)?.cpuMs ?? 0) - (samples.at(-2)?.cpuMs ?? 0);
}

/** Looked at again when the budget can be over at the earliest. */
function stillSilent(watch: Watch, probe: Probe, sample: Sample): Step {
  const burntMs = sample.cpuMs - probe.silentFromCpuMs;
  const leftMs = watch.limits.cpuMs - burntMs;
  const intervalMs = Math.min(INTERVAL_MS_BUSY, Math.max(INTERVAL_MS_MIN, leftMs));
  const next = { ...watch, intervalMs };
  if (watch.lowered || sample.cpuMs - probe.cpuMs < TICK_MS) {
    // Until it is known whether it burns, every tick counts.
    const soon = watch.lowered ? intervalMs : Math.min(intervalMs, INTERVAL_MS_SILENT);
    return { watch: { ...next, intervalMs: soon }, action: { kind: 'none' } };
  }
  return { watch: { ...next, lowered: true }, action: { kind: 'lower' } };
}

/**
 * CPU of the process when a request began: not less than at the last sample before it, and not so little
 * that one thread would have burnt more than the time that passed until the first sample after it.
 */
function cpuAtStart(samples: readonly Sample[], startedMs: number, now: Sample): number {
  const before = samples.findLast((sample) => sample.atMs <= startedMs)?.cpuMs ?? 0;
  const after = samples.find((sample) => sample.atMs >= startedMs) ?? now;
  return Math.max(before, after.cpuMs - (after.atMs - startedMs));
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
  const loops = silentMs >= YIELD_MS && sample.cpuMs - probe.cpuMs >= LOOP_CPU_MS;
  if (!loops && silentMs < SILENT_MS_MAX) return undefined;
  const late = watch.suspects.find((suspect) => suspect.kind === 'timeout');
  // Another one may be at work within its own budget while this one waits.
  if (late !== undefined && (silentMs >= SILENT_MS_MAX || beganWith(late, probe)))
    return {
      kind: 'kill',
      reason: 'timeout',
      message: 'A request passed its time limit, did not yield and was stopped with its instance.',
      requestId: late.requestId,
    };
  const burntMs = sample.cpuMs - probe.silentFromCpuMs;
  if (!loops || burntMs < watch.limits.cpuMs) return undefined;
  const guilty = guiltyOf(watch.suspects, probe);
  // The one that began with the silence may still be named.
  const named = guilty !== undefined && beganWith(guilty, probe);
  if (!named && burntMs < watch.limits.cpuMs + NAMED_WITHIN_MS) return undefined;
  return cpuKill(watch, burntMs, guilty?.requestId ?? '');
}

function beganWith(suspect: Suspect, probe: Probe): boolean {
  return suspect.startedMs >= probe.silentFromMs - BEGINS_WITHIN_MS && suspect.startedMs <= probe.sentAtMs;
}

/**
 * The first request that began with the silence: those before it were answered, those after it never ran.
 * Without one, code of an earlier request looped after a wait, and the youngest is taken. A request that
 * came after the probe is innocent.
 */
function guiltyOf(suspects: readonly Suspect[], probe: Probe): Suspect | undefined {
  const inOrder = suspects
    .filter((suspect) => suspect.startedMs <= probe.sentAtMs)
    .sort((left, right) => left.startedMs - right.startedMs);
  return inOrder.find((suspect) => beganWith(suspect, probe)) ?? inOrder.at(-1);
}

function cpuKill(watch: Watch, usedMs: number, requestId: string | undefined): Action {
  return {
    kind: 'kill',
    reason: 'cpu_exceeded',
    message: `The instance was stopped: ${Math.round(usedMs)} ms of CPU time, the limit of a request is ${watch.limits.cpuMs} ms.`,
    ...(requestId === undefined ? {} : { requestId }),
  };
}
