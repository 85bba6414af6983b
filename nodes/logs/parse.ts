/** From a line of a function's process to a log entry. Pure. Everything in it was written by user code. */
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { isNoise, withoutPlace } from '../slots/stderr.ts';

export type ParsedLine = Pick<LogEntry, 'kind' | 'level' | 'message' | 'requestId' | 'stack'>;

/**
 * What nodes/entry/console.worker.ts writes: `~`, the mark of the program, kind, level, request id, a space, text. In the text a
 * backslash stands before `n` for a line break, before `0` for a NUL, before `|` for the border between
 * message and stack, and before itself.
 */
const START = '~';
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
const EXPORTS = 'e ';
const REQUEST_ID_LENGTH_MAX = 200;
/** Behind kind and level. */
const ID_AT = 2;

/** A line that is not ours (written before our console stood, or cut at its begin) is kept as it is. */
export function parseStdoutLine(line: string, mark: string): ParsedLine {
  const from = marked(line, mark);
  const kind = from === undefined ? undefined : KINDS[line[from] ?? ''];
  const idAt = (from ?? 0) + ID_AT;
  const level = LEVELS[line[idAt - 1] ?? ''];
  const space = line.indexOf(' ', idAt);
  if (kind === undefined || level === undefined || space < 0 || space > idAt + REQUEST_ID_LENGTH_MAX)
    return { kind: 'console', level: 'log', message: line };
  const text = line.slice(space + 1);
  const parts = text.includes('\\') ? unescape(text) : [text];
  const parsed: { -readonly [K in keyof ParsedLine]: ParsedLine[K] } = {
    kind,
    level,
    message: parts[0] ?? '',
  };
  if (space > idAt) parsed.requestId = line.slice(idAt, space);
  if (kind === 'exception' && parts[1] !== undefined) parsed.stack = parts[1];
  return parsed;
}

/** JSON of what the module exports; undefined: another line. */
export function parseExportsLine(line: string, mark: string): string | undefined {
  const from = marked(line, mark);
  return from !== undefined && line.startsWith(EXPORTS, from)
    ? unescape(line.slice(from + EXPORTS.length))[0]
    : undefined;
}

/** Where the line goes on behind the mark; undefined: user code wrote it past its console. */
function marked(line: string, mark: string): number | undefined {
  return line.startsWith(START) && line.startsWith(mark, START.length)
    ? START.length + mark.length
    : undefined;
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
const ABORTED = /^abortIsolate\(\) called[^]*reason = ([^]*)$/;

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
