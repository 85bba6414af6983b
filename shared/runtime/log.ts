/**
 * Operator log: one JSON object a line. Values are named fields, never interpolated text, so nothing a
 * client sends can forge a line. Secrets must not be passed in; there is no redaction to rely on.
 */
import type { Clock } from './clock.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface Log {
  debug(event: string, fields?: Readonly<Record<string, unknown>>): void;
  info(event: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
  error(event: string, fields?: Readonly<Record<string, unknown>>): void;
  /** A log whose lines all carry `fields`. */
  with(fields: Readonly<Record<string, unknown>>): Log;
}

/** Of every line. A field of such a name, which may come from elsewhere, stands beside it as `level_`. */
const OWN: ReadonlySet<string> = new Set(['at', 'level', 'event']);

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };
const CAUSE_DEPTH_MAX = 8;

/** Error → plain value with its chain of causes, at most 8 deep. */
function describeError(thrown: unknown, depth = 0): unknown {
  if (!(thrown instanceof Error))
    return typeof thrown === 'object' || typeof thrown === 'string' ? thrown : typeof thrown;
  const { name, message, stack } = thrown;
  const code: unknown = 'code' in thrown ? thrown.code : undefined;
  return {
    name,
    message,
    ...(code === undefined ? {} : { code }),
    ...(depth === 0 ? { stack } : {}),
    ...(thrown.cause === undefined || depth >= CAUSE_DEPTH_MAX
      ? {}
      : { cause: describeError(thrown.cause, depth + 1) }),
  };
}

export function createLog(options: {
  readonly write: (line: string) => void;
  readonly clock: Clock;
  readonly level?: LogLevel;
  readonly fields?: Readonly<Record<string, unknown>>;
}): Log {
  const floor = RANK[options.level ?? 'info'];
  const emit = (level: LogLevel, event: string, fields?: Readonly<Record<string, unknown>>): void => {
    if (RANK[level] < floor) return;
    const described: Record<string, unknown> = {};
    for (const [key, value] of Object.entries({ ...options.fields, ...fields }))
      described[OWN.has(key) ? `${key}_` : key] = value instanceof Error ? describeError(value) : value;
    options.write(
      JSON.stringify({ at: new Date(options.clock.wallMs()).toISOString(), level, event, ...described }),
    );
  };
  return {
    debug: (event, fields) => emit('debug', event, fields),
    info: (event, fields) => emit('info', event, fields),
    warn: (event, fields) => emit('warn', event, fields),
    error: (event, fields) => emit('error', event, fields),
    with: (fields) => createLog({ ...options, fields: { ...options.fields, ...fields } }),
  };
}
