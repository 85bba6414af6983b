/**
 * What every plane's `main.ts` does the same way: read the environment once, say when it is ready, and
 * stop when it is told to or when its supervisor is gone.
 *
 * The supervisor is `cli/up`; it talks over Node's IPC channel. A plane started by hand has none and
 * logs instead.
 */
import process from 'node:process';
import { z } from 'zod';
import { PlatformError, type ErrorCode } from '../errors.ts';
import { meansDiskFull } from './disk.node.ts';
import { createLog, type Log } from './log.ts';
import { systemClock, systemTimers } from './clock.ts';
import { giveMemoryBack } from './idle-memory.node.ts';

/** Sent once, when the plane serves. `addresses` are URLs or socket paths for people. */
const readyMessageSchema = z.object({
  type: z.literal('ready'),
  addresses: z.record(z.string(), z.string()),
});
/** Sent instead of `ready` when the plane cannot start; `code` is from the error table. */
const failedMessageSchema = z.object({
  type: z.literal('failed'),
  code: z.string(),
  message: z.string(),
});
/** The answer to {@link PING}: the event loop turns. */
const pongMessageSchema = z.object({ type: z.literal('pong') });
export const planeMessageSchema = z.discriminatedUnion('type', [
  readyMessageSchema,
  failedMessageSchema,
  pongMessageSchema,
]);
/** Sent by the supervisor. */
export const PING = 'ping';
export type PlaneMessage = z.infer<typeof planeMessageSchema>;

/** Reads the environment against a schema and reports all problems at once. An empty value is an unset one. */
export function readEnvironment<S extends z.ZodType>(
  schema: S,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): z.infer<S> {
  const set = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const result = schema.safeParse(set);
  if (result.success) return result.data;
  throw new PlatformError('config_invalid', `environment: ${z.prettifyError(result.error)}`, {
    cause: result.error,
  });
}

function planeLog(plane: string): Log {
  // The disk under a log file is full, or its reader is gone: never a reason to end.
  process.stderr.on('error', () => undefined);
  const level = z
    .enum(['debug', 'info', 'warn', 'error'])
    .catch('info')
    .parse(process.env['ISOPLANE_LOG_LEVEL']);
  return createLog({
    write: (line) => process.stderr.write(`${line}\n`),
    clock: systemClock,
    level,
    fields: { plane },
  });
}

export interface RunningPlane {
  readonly addresses: Readonly<Record<string, string>>;
  /** Finishes what is in flight within `graceMs`, then resolves. */
  close(graceMs: number): Promise<void>;
}

const SHUTDOWN_GRACE_MS = 5_000;

function codeOf(thrown: unknown): ErrorCode {
  if (thrown instanceof PlatformError && thrown.code !== 'internal') return thrown.code;
  return meansDiskFull(thrown) ? 'storage_full' : 'internal';
}

/** Runs a plane until SIGTERM, SIGINT or the end of the supervisor. Exit code 1 when it cannot start. */
export async function runPlane(plane: string, start: (log: Log) => Promise<RunningPlane>): Promise<void> {
  const log = planeLog(plane);
  const tell = (message: PlaneMessage): void => {
    if (process.send !== undefined && process.connected) process.send(message);
  };
  let running: RunningPlane;
  try {
    running = await start(log);
  } catch (thrown) {
    const code = codeOf(thrown);
    log.error('start_failed', { code, error: thrown });
    tell({ type: 'failed', code, message: thrown instanceof Error ? thrown.message : String(thrown) });
    process.exitCode = 1;
    process.disconnect?.();
    return;
  }
  let stopping = false;
  const stop = (reason: string): void => {
    if (stopping) return;
    stopping = true;
    log.info('stopping', { reason });
    const giveUp = setTimeout(() => process.exit(1), SHUTDOWN_GRACE_MS + 2_000);
    running.close(SHUTDOWN_GRACE_MS).then(
      () => {
        clearTimeout(giveUp);
        process.exit(0);
      },
      (error: unknown) => {
        log.error('stop_failed', { error });
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
  process.on('message', (message) => {
    if (message === PING) tell({ type: 'pong' });
  });
  process.on('disconnect', () => stop('supervisor gone'));
  process.on('unhandledRejection', (error) => log.error('unhandled_rejection', { error }));
  // The supervisor went away during the start: the event is past, and nobody would ever stop this process.
  if (process.send !== undefined && !process.connected) stop('supervisor gone');
  giveMemoryBack(systemTimers);
  tell({ type: 'ready', addresses: { ...running.addresses } });
  log.info('ready', running.addresses);
}
