/**
 * One start: a slot from the pool, its memory limit, the config, and the wait until it listens. Production
 * starts and trial starts before a publish take this same path.
 */
import type { Tier } from '#shared/contracts/config.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import type { ExitReason } from '#shared/contracts/nodes.ts';
import { PlatformError } from '#shared/errors.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import type { AttachedSlot, Attachment } from './attachment.ts';
import { parseVersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { callHook } from './hooks.ts';
import type { SlotPool } from '../slots/pool.ts';
import type { Program, Slot, SlotSink, StartOutcome } from '../slots/slot.ts';
import { parseStartupFailure, type StartupFailure } from '../slots/stderr.ts';
import { WAIT_MS_MAX, type Starts } from './starts.ts';

/** Top-level code that takes longer than this is refused, an endless loop included. */
const STARTUP_MS_MAX = 10_000;
/** Of a start alone. Code that computes at its top level must not keep a core from the others for that long. */
const STARTUP_CPU_MS_MAX = 3_000;
const STARTUP_LOOK_MS = 100;
if (WAIT_MS_MAX + STARTUP_MS_MAX > LIMITS.startMsMax)
  throw new Error('the scheduler waits for less than a start may take');
/** Beside it. A thread of the agent that died is back much sooner. */
const ATTACH_MS_MAX = STARTUP_MS_MAX;

/** A process that closed the connection of its hook is given this long to end by itself. */
const LOST_MS_MAX = 1_000;

export interface LaunchOptions {
  readonly pools: Readonly<Record<Tier, SlotPool>>;
  readonly starts: Starts;
  readonly timers: Timers;
  /** Default {@link STARTUP_MS_MAX}. */
  readonly startupMsMax?: number;
  readonly clock: Clock;
  readonly attachments: readonly Attachment[];
}

export type LaunchOutcome =
  | { readonly kind: 'started'; readonly slot: Slot; readonly program: Program; readonly startMs: number }
  | { readonly kind: 'failed'; readonly reason: ExitReason; readonly failure: StartupFailure };

export interface LaunchHooks {
  readonly instanceId: string;
  /** A trial is over when the code listens: what its `init` would reach is not there. */
  readonly purpose: 'serve' | 'trial';
  readonly sink: SlotSink;
  /** Hears what the instance was refused. */
  readonly refused: AttachedSlot['refused'];
  /** The slot is known before it listens, so that a stop can reach it. */
  readonly onSlot: (slot: Slot) => void;
  /** It is not wanted any more; noticed until a slot is known. */
  readonly stopped?: AbortSignal;
}

/** @param programOf - reads and encodes the code; called when its turn has come. */
export async function launch(
  options: LaunchOptions,
  runnable: Runnable,
  programOf: () => Promise<Program>,
  hooks: LaunchHooks,
): Promise<LaunchOutcome> {
  const { account } = parseVersionId(runnable.id);
  const startedMs = options.clock.monotonicMs();
  // Permit and pool are held up by the start alone: an `init` may take its time.
  const outcome = await options.starts.run(account, hooks.stopped, async () => {
    const program = await programOf();
    const started = await options.pools[runnable.tier].withSlot(account, (slot) =>
      startIn(slot, options, runnable, { program, hooks }),
    );
    return started.kind === 'failed' ? started : { ...started, program };
  });
  if (outcome.kind === 'failed') return outcome;
  const failure =
    hooks.purpose === 'trial'
      ? undefined
      : await runInit(options, outcome.slot, { runnable, secret: outcome.program.eventSecret });
  return failure ?? { ...outcome, startMs: options.clock.monotonicMs() - startedMs };
}

async function startIn(
  slot: Slot,
  options: LaunchOptions,
  runnable: Runnable,
  { program, hooks }: { readonly program: Program; readonly hooks: LaunchHooks },
): Promise<Extract<LaunchOutcome, { kind: 'failed' }> | { readonly kind: 'started'; readonly slot: Slot }> {
  const startupMsMax = options.startupMsMax ?? STARTUP_MS_MAX;
  hooks.onSlot(slot);
  let overdue: string | undefined;
  const giveUp = (after: string): void => {
    overdue = after;
    slot.kill('startup_failed');
  };
  const timer = options.timers.after(startupMsMax, () => giveUp(`${startupMsMax / 1_000} s`));
  const cpuTimer = options.timers.every(STARTUP_LOOK_MS, () => {
    const { cpuMs = 0 } = slot.sample(options.clock.monotonicMs()) ?? {};
    if (cpuMs > STARTUP_CPU_MS_MAX) giveUp(`${STARTUP_CPU_MS_MAX / 1_000} s of CPU time`);
  });
  // What the platform adds to a start is not the code's time.
  const starting = slot.start(program, hooks.sink).finally(() => {
    timer.cancel();
    cpuTimer.cancel();
  });
  // V8 needs some 10 ms before user code runs, and the limit is set meanwhile.
  const [outcome] = await Promise.all([
    starting,
    setMemory(slot, runnable.limits.memoryMb),
    attach(options, slot, {
      instanceId: hooks.instanceId,
      runnable,
      refused: hooks.refused,
    }),
  ]);
  if (outcome.kind === 'listening') return { kind: 'started', slot };
  // The folder goes and the last output is read before the failure is told.
  await slot.ended;
  return {
    kind: 'failed',
    reason: outcome.reason,
    failure: explain(outcome, overdue),
  };
}

/** Once per instance, before anybody can know its socket. */
async function runInit(
  { timers }: LaunchOptions,
  slot: Slot,
  { runnable, secret }: { readonly runnable: Runnable; readonly secret: string },
): Promise<LaunchOutcome | undefined> {
  const { hooks } = runnable;
  if (hooks.init === undefined) return undefined;
  const { timeoutMs } = hooks.init;
  const outcome = await callHook({ folder: slot.folder, name: 'init', secret, timeoutMs, timers });
  if (outcome.kind === 'done') return undefined;
  // One that has ended by itself keeps its own reason.
  const kill = timers.after(outcome.kind === 'lost' ? LOST_MS_MAX : 0, () => slot.kill('startup_failed'));
  const reason = await slot.ended;
  kill.cancel();
  const own = reason === 'startup_failed' || reason === 'crashed';
  return {
    kind: 'failed',
    reason: own ? 'startup_failed' : reason,
    failure: own
      ? { message: outcome.message, stack: outcome.kind === 'failed' ? outcome.stack : undefined }
      : explain({ kind: 'ended', reason, stderr: slot.stderrTail }, undefined),
  };
}

/** A failure counts as one of the start: code that cannot reach what it is bound to must not serve. */
async function attach(
  { attachments, timers }: LaunchOptions,
  slot: Slot,
  attached: Pick<AttachedSlot, 'instanceId' | 'runnable' | 'refused'>,
): Promise<void> {
  const detach = (): void => {
    for (const attachment of attachments) attachment.detach(attached.instanceId);
  };
  void slot.ended.then(detach);
  const { folder, owner } = slot;
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = timers.after(ATTACH_MS_MAX, () =>
      reject(new PlatformError('internal', `the sockets of ${attached.instanceId} do not come up`)),
    );
  });
  try {
    const all = attachments.map((attachment) => attachment.attach({ ...attached, folder, owner }));
    await Promise.race([Promise.all(all), late]);
  } catch (thrown) {
    spoil(slot, thrown);
  } finally {
    timer?.cancel();
  }
}

/** What a slot that is ended lacks (its folder, its process) is a consequence: its own reason is told. */
function spoil(slot: Slot, thrown: unknown): void {
  if (slot.state.kind === 'killing' || slot.state.kind === 'ended') return;
  slot.kill('startup_failed');
  throw thrown;
}

function explain(
  outcome: Extract<StartOutcome, { kind: 'ended' }>,
  overdue: string | undefined,
): StartupFailure {
  if (overdue !== undefined)
    return {
      message: `the code did not finish starting within ${overdue}; is there an endless loop at its top level?`,
      stack: undefined,
    };
  if (outcome.reason === 'memory_exceeded')
    return { message: 'the code used more memory than its limit while starting', stack: undefined };
  if (outcome.reason === 'stopped' || outcome.reason === 'evicted')
    return { message: 'the instance was stopped before it had started', stack: undefined };
  return parseStartupFailure(outcome.stderr);
}

async function setMemory(slot: Slot, memoryMb: number): Promise<void> {
  try {
    await slot.setMemory(memoryMb);
  } catch (thrown) {
    spoil(slot, thrown);
  }
}
