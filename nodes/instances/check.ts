/** Starts code that is about to be published once, as production would, and stops it. */
import { moduleExportsSchema, type CheckReply, type ExitReason } from '#shared/contracts/nodes.ts';
import type { z } from 'zod';
import type { Runnable } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import { ByteBucket } from '../logs/bucket.ts';
import { LogCollector } from '../logs/collector.ts';
import type { Programs } from '../code/programs.ts';
import type { Program, Slot } from '../slots/slot.ts';
import { launch, type LaunchOptions } from './launch.ts';

const LOG_LINES_MAX = 50;
/** The line with the exports was written before the process listened, and is on its way. */
const EXPORTS_MS_MAX = 500;

/** All else ended the process before the code could be judged: killed from outside, or dead before it had the code. */
const SPEAKS_OF_THE_CODE: ReadonlySet<ExitReason> = new Set(['startup_failed', 'memory_exceeded']);
const RETRY_AFTER_MS = 1_000;

function readExports(json: string | undefined): z.infer<typeof moduleExportsSchema> | undefined {
  if (json === undefined) return undefined;
  try {
    return moduleExportsSchema.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined;
  }
}

/** @throws {PlatformError} `instance_lost` when the trial says nothing about the code; it can be repeated. */
export async function check(
  options: { readonly launch: LaunchOptions; readonly programs: Programs },
  runnable: Runnable,
): Promise<CheckReply> {
  const logs: string[] = [];
  const { clock } = options.launch;
  let told: (json: string | undefined) => void = () => undefined;
  const exported = new Promise<string | undefined>((resolve) => (told = resolve));
  let mark = '';
  const programOf = async (): Promise<Program> => {
    const program = await options.programs.of(runnable);
    mark = program.logMark;
    return program;
  };
  const collector = new LogCollector({
    // Known once the code was read, which is before there is a process that could write a line.
    get mark() {
      return mark;
    },
    instanceId: 'check',
    versionId: runnable.id,
    bucket: new ByteBucket(runnable.limits.logBytesPerSecond, clock.monotonicMs()),
    append: (entry) => {
      // What workerd says about the failure is the answer's own message.
      if (logs.length < LOG_LINES_MAX && entry.kind === 'console')
        logs.push(`${entry.level}: ${entry.message}`);
    },
    onExports: (json) => told(json),
    clock,
    timers: options.launch.timers,
  });
  let slot: Slot | undefined;
  // Nobody calls it, so it needs nothing to reach.
  const outcome = await launch({ ...options.launch, attachments: [] }, runnable, programOf, {
    instanceId: 'check',
    purpose: 'trial',
    sink: collector,
    refused: (message) => collector.platform(message),
    onSlot: (taken) => {
      slot = taken;
    },
  });
  if (outcome.kind === 'started') {
    const timer = options.launch.timers.after(EXPORTS_MS_MAX, () => told(undefined));
    await exported;
    timer.cancel();
  }
  // Not waited for: the answer is known, and nothing depends on the process being gone.
  slot?.kill('stopped');
  collector.end();
  if (outcome.kind === 'started') {
    const exports = readExports(await exported);
    return { ok: true, startMs: outcome.startMs, ...(exports === undefined ? {} : { exports }) };
  }
  const { message, stack } = outcome.failure;
  if (!SPEAKS_OF_THE_CODE.has(outcome.reason))
    throw new PlatformError(
      'instance_lost',
      `the trial was ended from outside (${outcome.reason}): ${message}`,
      {
        retryAfterMs: RETRY_AFTER_MS,
      },
    );
  return { ok: false, message, ...(stack === undefined ? {} : { stack }), logs };
}
