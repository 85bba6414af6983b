/**
 * One start: a slot from the pool, its memory limit, the config, and the wait until it listens. Production
 * starts and trial starts before a publish take this same path.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Runnable } from '#shared/contracts/feed.ts';
import type { ExitReason } from '#shared/contracts/nodes.ts';
import { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import type { Cgroups } from '../sandbox/cgroup.node.ts';
import type { AttachedSlot, Attachment } from './attachment.ts';
import { dataLimitBytes, dataLimitCommand, type SandboxProfile } from '../sandbox/profile.ts';
import type { SlotPool } from '../slots/pool.node.ts';
import type { Slot, SlotSink, StartOutcome } from '../slots/slot.node.ts';
import { parseStartupFailure, type StartupFailure } from '../slots/stderr.ts';

const run = promisify(execFile);

/** Top-level code that takes longer than this is refused, an endless loop included. */
const STARTUP_MS_MAX = 10_000;

export interface LaunchOptions {
  readonly pool: SlotPool;
  readonly profile: SandboxProfile;
  readonly timers: Timers;
  /** Default {@link STARTUP_MS_MAX}. */
  readonly startupMsMax?: number;
  readonly clock: Clock;
  readonly group?: Pick<Cgroups, 'setMemory'>;
  readonly attachments: readonly Attachment[];
}

export type LaunchOutcome =
  | { readonly kind: 'started'; readonly slot: Slot; readonly startMs: number }
  | { readonly kind: 'failed'; readonly reason: ExitReason; readonly failure: StartupFailure };

export interface LaunchHooks {
  readonly instanceId: string;
  readonly sink: SlotSink;
  /** The slot is known before it listens, so that a stop can reach it. */
  readonly onSlot: (slot: Slot) => void;
}

export function launch(
  options: LaunchOptions,
  runnable: Runnable,
  config: Uint8Array,
  hooks: LaunchHooks,
): Promise<LaunchOutcome> {
  return options.pool.withSlot(async (slot) => {
    const startedMs = options.clock.monotonicMs();
    const startupMsMax = options.startupMsMax ?? STARTUP_MS_MAX;
    hooks.onSlot(slot);
    await slot.spawned();
    let overdue = false;
    const timer = options.timers.after(startupMsMax, () => {
      overdue = true;
      slot.kill('startup_failed');
    });
    // V8 needs some 10 ms before user code runs, and the limit is set meanwhile.
    const [outcome] = await Promise.all([
      slot.start(config, hooks.sink),
      setMemoryLimit(options, slot, runnable.limits.memoryMb),
      attach(options.attachments, slot, { instanceId: hooks.instanceId, runnable }),
    ]);
    timer.cancel();
    if (outcome.kind === 'listening')
      return { kind: 'started', slot, startMs: options.clock.monotonicMs() - startedMs };
    // The folder goes and the last output is read before the failure is told.
    await slot.ended;
    return {
      kind: 'failed',
      reason: outcome.reason,
      failure: explain(outcome, overdue ? startupMsMax : undefined),
    };
  });
}

/** A failure counts as one of the start: code that cannot reach what it is bound to must not serve. */
async function attach(
  attachments: readonly Attachment[],
  slot: Slot,
  { instanceId, runnable }: Pick<AttachedSlot, 'instanceId' | 'runnable'>,
): Promise<void> {
  const detach = (): void => {
    for (const attachment of attachments) attachment.detach(instanceId);
  };
  void slot.ended.then(detach);
  const { folder, owner } = slot;
  try {
    await Promise.all(
      attachments.map((attachment) => attachment.attach({ instanceId, folder, owner, runnable })),
    );
  } catch (thrown) {
    slot.kill('startup_failed');
    throw thrown;
  }
}

function explain(
  outcome: Extract<StartOutcome, { kind: 'ended' }>,
  overdueMs: number | undefined,
): StartupFailure {
  if (overdueMs !== undefined)
    return {
      message: `the code did not finish starting within ${overdueMs / 1_000} s; is there an endless loop at its top level?`,
      stack: undefined,
    };
  if (outcome.reason === 'memory_exceeded')
    return { message: 'the code used more memory than its limit while starting', stack: undefined };
  if (outcome.reason === 'stopped')
    return { message: 'the instance was stopped before it had started', stack: undefined };
  return parseStartupFailure(outcome.stderr);
}

async function setMemoryLimit(options: LaunchOptions, slot: Slot, memoryMb: number): Promise<void> {
  if (slot.pid === undefined) return;
  try {
    options.group?.setMemory(slot.pid, memoryMb);
    // Slots wait with the limit of the default size, so most starts spawn nothing here.
    const command =
      memoryMb === LIMITS.memoryMbDefault
        ? undefined
        : dataLimitCommand(options.profile, slot.pid, dataLimitBytes(memoryMb));
    if (command === undefined) return;
    const [file, ...args] = command;
    await run(file, args);
  } catch (thrown) {
    // A process that has ended meanwhile is told by its own outcome.
    if (slot.pid === undefined) return;
    slot.kill('startup_failed');
    throw new PlatformError('internal', 'the memory limit of an instance could not be set', {
      cause: thrown,
    });
  }
}
