/** From a line of a function's process to a log entry. Pure. Everything in it was written by user code. */
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { isNoise, withoutPlace } from '../slots/stderr.ts';

export type ParsedLine = Pick<LogEntry, 'kind' | 'level' | 'message' | 'requestId' | 'stack'>;

/**
 * What nodes/entry/console.worker.ts writes: `~`, kind, level, request id, a space, text. In the text a
 * backslash stands before `n` for a line break, before `0` for a NUL, before `|` for the border between
 * message and stack, and before itself.
 */
const MARK = '~';
const KINDS: Readonly<Record<string, ParsedLine['kind']>> = { c: 'console', x: 'exception' };
const LEVELS: Readonly<Record<string, ParsedLine['level']>> = {
  d: 'debug',
  l: 'log',
  i: 'info',
  w: 'warn',
  e: 'error',
};
const UNESCAPED: Readonly<Record<string, string>> = { n: '\n', '0': '\0', '\\': '\\' };
/** The entry module tells what the user's module exports, once, when it has started. */
const EXPORTS_MARK = '~e ';
const REQUEST_ID_LENGTH_MAX = 200;
const ID_AT = 3;

/** A line that is not ours (written before our console stood, or cut at its begin) is kept as it is. */
export function parseStdoutLine(line: string): ParsedLine {
  const kind = line.startsWith(MARK) ? KINDS[line[1] ?? ''] : undefined;
  const level = LEVELS[line[2] ?? ''];
  const space = line.indexOf(' ', ID_AT);
  if (kind === undefined || level === undefined || space < 0 || space > ID_AT + REQUEST_ID_LENGTH_MAX)
    return { kind: 'console', level: 'log', message: line };
  const text = line.slice(space + 1);
  const parts = text.includes('\\') ? unescape(text) : [text];
  const parsed: { -readonly [K in keyof ParsedLine]: ParsedLine[K] } = {
    kind,
    level,
    message: parts[0] ?? '',
  };
  if (space > ID_AT) parsed.requestId = line.slice(ID_AT, space);
  if (kind === 'exception' && parts[1] !== undefined) parsed.stack = parts[1];
  return parsed;
}

/** JSON of what the module exports; undefined: another line. */
export function parseExportsLine(line: string): string | undefined {
  return line.startsWith(EXPORTS_MARK) ? unescape(line.slice(EXPORTS_MARK.length))[0] : undefined;
}

/** Message, and stack if there is one. */
function unescape(text: string): readonly string[] {
  const parts = [''];
  let from = 0;
  for (let at = text.indexOf('\\'); at >= 0; at = text.indexOf('\\', from)) {
    const next = text[at + 1] ?? '';
    parts[parts.length - 1] += text.slice(from, at) + (UNESCAPED[next] ?? '');
    if (next === '|') parts.push('');
    from = at + 2;
  }
  parts[parts.length - 1] += text.slice(from);
  return parts;
}

/** Exception types of KJ. What user code threw goes on with `jsg.`; the rest is a fault inside workerd. */
const FAULT =
  /^(?:Uncaught exception|\*\*\* Fatal uncaught kj::Exception): (?:\S+ )?(?:failed|disconnected|overloaded|unimplemented): (.*)$/;
const THROWN = /^(?:(?:remote\.|broken\.\w+; ))*jsg\.(.*)$/;
/** workerd's last words when code calls for the end itself. */
const ABORTED = /^abortIsolate\(\) called.*reason = (.*)$/;

/** workerd's own words. Source positions of workerd and service names are left out; undefined: so is the line. */
export function parseStderrLine(line: string): ParsedLine | undefined {
  if (isNoise(line)) return undefined;
  const exception = (message: string): ParsedLine => ({ kind: 'exception', level: 'error', message });
  const start = /^service main: (?:Uncaught )?(.*)$/.exec(line);
  if (start !== null) return exception(start[1] ?? line);
  const words = withoutPlace(line);
  const fault = FAULT.exec(words)?.[1];
  if (fault !== undefined) {
    const aborted = ABORTED.exec(fault)?.[1];
    if (aborted !== undefined) return exception(`The code aborted its isolate: ${aborted}`);
    return exception(THROWN.exec(fault)?.[1] ?? 'The runtime failed inside.');
  }
  // Anything else with a place in workerd's source is for its developers.
  return words === line ? { kind: 'console', level: 'error', message: line } : undefined;
}
