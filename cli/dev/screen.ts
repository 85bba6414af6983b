/** What a session shows, one line each. Pure. */
import colors from 'picocolors';
import { coversOrigin, type Cors } from '#shared/contracts/cors.ts';
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { plain } from '../output.ts';
import { millisecondsText } from '../output.ts';
import type { Exchange } from './planes/settings.ts';

const PATH_LENGTH_MAX = 200;
const ORIGIN_LENGTH_MAX = 300;
const FUNCTION_LABEL = /^[a-z0-9-]+$/i;

/** `hello` of `next--hello.localhost`; undefined when the host is none of a function's. */
export function functionOf(host: string): string | undefined {
  const dot = host.indexOf('.');
  const label = host.slice(0, Math.max(0, dot));
  if (!FUNCTION_LABEL.test(label)) return undefined;
  const mark = label.lastIndexOf('--', label.length - 3);
  return mark > 0 ? label.slice(mark + 2) : label;
}

/** Browsers say of it only that the call failed. Undefined: pages of the origin may call, or the function answers itself. */
export function corsText(cors: Cors | undefined, origin: string): string | undefined {
  if (cors === undefined || cors.origins.some((entry) => entry === '*' || coversOrigin(entry, origin)))
    return undefined;
  const shown = origin.length > ORIGIN_LENGTH_MAX ? `${origin.slice(0, ORIGIN_LENGTH_MAX)}…` : origin;
  return `cors: origin ${plain(shown)} is not listed in cors.origins`;
}

/** @param several - whether it must be said which function. */
export function exchangeText(exchange: Exchange, several: boolean): string {
  const { method, host, path, status, complete, tookMs } = exchange;
  const name = functionOf(host) ?? host;
  const shown = path.length > PATH_LENGTH_MAX ? `${path.slice(0, PATH_LENGTH_MAX)}…` : path;
  return [
    several ? colors.magenta(plain(name)) : undefined,
    plain(method),
    plain(shown),
    statusText(status),
    colors.dim(millisecondsText(tookMs)),
    complete ? undefined : colors.yellow(status === undefined ? 'the client went' : 'cut off'),
  ]
    .filter((part) => part !== undefined)
    .join(' ');
}

function statusText(status: number | undefined): string {
  if (status === undefined) return colors.dim('-');
  if (status >= 500) return colors.red(String(status));
  return status >= 400 ? colors.yellow(String(status)) : colors.green(String(status));
}

const PAINT: Record<LogEntry['level'], (text: string) => string> = {
  debug: colors.dim,
  log: (text) => text,
  info: (text) => text,
  warn: colors.yellow,
  error: colors.red,
};

export function logText(name: string, entry: LogEntry, several: boolean): string {
  const kind = entry.kind === 'console' ? entry.level : entry.kind;
  const head = `${several ? `${colors.magenta(name)} ` : ''}${PAINT[entry.level](`${kind} ${plain(entry.message)}`)}`;
  const lost =
    entry.dropped !== undefined && entry.dropped > 0
      ? [colors.yellow(`… ${entry.dropped} entries lost before this one`)]
      : [];
  const stack = entry.stack === undefined ? [] : stackLines(entry.stack, entry.message);
  return [...lost, head, ...stack.map((line) => colors.dim(plain(line)))].join('\n');
}

/** A stack starts with its message, which was just shown. */
function stackLines(stack: string, message: string): readonly string[] {
  const lines = stack.split('\n');
  const last = message.split('\n').at(-1) ?? message;
  const from = lines.findIndex((line) => line.includes(last));
  return from < 0 ? lines : lines.slice(from + 1);
}
