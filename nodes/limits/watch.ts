/**
 * Decides when an instance has broken its CPU or memory limit, from samples of its process. Pure: the
 * driver (watchdog.ts) reads /proc, sends probes and kills.
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
  /** Time that the JavaScript thread ran or waited for a core: how long it has had something to do. */
  readonly runnableMs: number;
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
  /** When the last probe that was answered had been sent: the answer may be read late. */
  readonly yieldedMs: number;
  /** Others go first while it burns CPU without yielding; `over`: for as long as they may. */
  readonly lowered: 'no' | 'yes' | 'over';
}

export type Action =
  | { readonly kind: 'none' }
  | { readonly kind: 'probe' }
  /** Lower the scheduling priority of the process; it is given back when a probe is answered. */
  | { readonly kind: 'lower' }
  /** Give it back though the code does not yield: on a full machine it would never come to its end. */
  | { readonly kind: 'restore' }
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
/** More than a tick of chance, and low, because a loop on a crowded machine gets a small share; a probe of one that yields costs little. */
const BUSY_SHARE = 0.15;
const ALL_THE_TIME = 0.9;
const TICK_MS = 10;
/** A process that yields answers a probe well within this, however large its young generation is. */
const YIELD_MS = 100;
/** CPU that must have been burnt since the probe before silence counts as a loop: two ticks would be chance. */
const LOOP_CPU_MS = 60;
/**
 * A loop begins this soon after its request, or its request has waited for something before. Reports
 * travel, so a request seems younger than it is.
 */
const BEGINS_WITHIN_MS = 40;
const TOGETHER_MS = 2;
/** Others go first for this long, or for twice the CPU budget. */
const LOWERED_MS_MIN = 500;
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
    lowered: 'no',
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
export function onProbeAnswered(watch: Watch): Watch {
  return {
    ...watch,
    probe: undefined,
    suspects: [],
    intervalMs: INTERVAL_MS_BUSY,
    yieldedMs: watch.probe?.sentAtMs ?? watch.yieldedMs,
    lowered: 'no',
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
    suspects: withSuspect(watch.suspects, suspect),
  };
  if (next.probe === undefined) return sendProbe(next, sample, sample.cpuMs);
  const kill = silenceBroken(next, sample);
  return kill === undefined ? stillSilent(next, next.probe, sample) : { watch: next, action: kill };
}

/** Of what is said again about a request, the oldest begin holds: delays only make it seem younger. */
function withSuspect(suspects: readonly Suspect[], suspect: Suspect): readonly Suspect[] {
  const isSame = ({ requestId, kind }: Suspect): boolean =>
    requestId === suspect.requestId && kind === suspect.kind;
  const known = suspects.find(isSame);
  if (known === undefined) return [...suspects, suspect].slice(-SUSPECTS_MAX);
  return suspect.startedMs >= known.startedMs
    ? suspects
    : suspects.map((other) => (isSame(other) ? suspect : other));
}

function withSample(watch: Watch, sample: Sample): Watch {
  return { ...watch, samples: [...watch.samples, sample].slice(-SAMPLES_MAX) };
}

function sendProbe(watch: Watch, sample: Sample, silentFromCpuMs: number): Step {
  const probe: Probe = {
    sentAtMs: sample.atMs,
    cpuMs: sample.cpuMs,
    silentFromCpuMs,
    silentFromMs: Math.max(watch.yieldedMs, busySinceMs(watch.samples)),
  };
  return { watch: { ...watch, probe, intervalMs: INTERVAL_MS_SILENT }, action: { kind: 'probe' } };
}

/** Since when the thread has been busy without a pause that the samples could show. */
function busySinceMs(samples: readonly Sample[]): number {
  let sinceMs = samples.at(-1)?.atMs ?? 0;
  for (let index = samples.length - 1; index > 0; index -= 1) {
    const newer = samples[index];
    const older = samples[index - 1];
    if (newer === undefined || older === undefined) break;
    const busyMs = newer.runnableMs - older.runnableMs;
    sinceMs = newer.atMs - busyMs;
    if (busyMs < (newer.atMs - older.atMs) * ALL_THE_TIME) break;
  }
  return sinceMs;
}

/** Looked at again when the budget can be over at the earliest. */
function stillSilent(watch: Watch, probe: Probe, sample: Sample): Step {
  const burntMs = sample.cpuMs - probe.silentFromCpuMs;
  const leftMs = watch.limits.cpuMs - burntMs;
  const intervalMs = Math.min(INTERVAL_MS_BUSY, Math.max(INTERVAL_MS_MIN, leftMs));
  const next = { ...watch, intervalMs };
  if (watch.lowered === 'yes' && sample.atMs - probe.sentAtMs >= loweredMsMax(watch))
    return { watch: { ...next, lowered: 'over' }, action: { kind: 'restore' } };
  if (watch.lowered !== 'no') return { watch: next, action: { kind: 'none' } };
  if (sample.cpuMs - probe.cpuMs >= TICK_MS)
    return { watch: { ...next, lowered: 'yes' }, action: { kind: 'lower' } };
  // Until it is known whether it burns, every tick counts.
  const soonMs = Math.min(intervalMs, INTERVAL_MS_SILENT);
  return { watch: { ...next, intervalMs: soonMs }, action: { kind: 'none' } };
}

const loweredMsMax = ({ limits }: Watch): number => Math.max(LOWERED_MS_MIN, 2 * limits.cpuMs);

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

const distanceMs = (suspect: Suspect, probe: Probe): number =>
  Math.abs(suspect.startedMs - probe.silentFromMs);

function beganWith(suspect: Suspect, probe: Probe): boolean {
  return distanceMs(suspect, probe) <= BEGINS_WITHIN_MS;
}

/**
 * The request that began with the silence: those before it were answered or wait, those after it never
 * ran. Without one, code of an earlier request looped after a wait, and the youngest of them is taken.
 * Requests that came during the silence are innocent.
 */
function guiltyOf(suspects: readonly Suspect[], probe: Probe): Suspect | undefined {
  const inOrder = suspects.toSorted((left, right) => left.startedMs - right.startedMs);
  const nearest = inOrder.toSorted((left, right) => distanceMs(left, probe) - distanceMs(right, probe));
  const found = nearest.find(
    (suspect) => beganWith(suspect, probe) || suspect.startedMs < probe.silentFromMs,
  );
  // Of those that came together the first ran, and the others wait behind it.
  return found && inOrder.find((suspect) => suspect.startedMs >= found.startedMs - TOGETHER_MS);
}

function cpuKill(watch: Watch, usedMs: number, requestId: string | undefined): Action {
  return {
    kind: 'kill',
    reason: 'cpu_exceeded',
    message: `The instance was stopped: ${Math.round(usedMs)} ms of CPU time, the limit of a request is ${watch.limits.cpuMs} ms.`,
    ...(requestId === undefined ? {} : { requestId }),
  };
}
