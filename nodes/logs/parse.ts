/** From a line of a function's process to a log entry. Pure. Everything in it was written by user code. */
import { z } from 'zod';
import { LOG_LEVELS, type LogEntry } from '#shared/contracts/nodes.ts';

/** What nodes/entry/console.worker.ts writes. */
const lineSchema = z.object({
  k: z.enum(['c', 'x']),
  l: z.enum(LOG_LEVELS),
  m: z.string(),
  r: z.string().max(200).optional(),
  s: z.string().optional(),
});

export type ParsedLine = Pick<LogEntry, 'kind' | 'level' | 'message' | 'requestId' | 'stack'>;

/** A line that is not ours (written before our console stood, or cut) is kept as it is. */
export function parseStdoutLine(line: string): ParsedLine {
  const parsed = line.startsWith('{') ? lineSchema.safeParse(tryJson(line)) : undefined;
  if (parsed?.success !== true) return { kind: 'console', level: 'log', message: line };
  const { k, l, m, r, s } = parsed.data;
  return {
    kind: k === 'x' ? 'exception' : 'console',
    level: l,
    message: m,
    ...(r === undefined ? {} : { requestId: r }),
    ...(s === undefined ? {} : { stack: s }),
  };
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const UNCAUGHT =
  /error: Uncaught exception: \S+ (?:failed|disconnected|overloaded): (?:remote\.)?(?:jsg\.)?(.*)$/;

/** workerd's own words. Source positions of workerd and service names are left out. */
export function parseStderrLine(line: string): ParsedLine {
  const uncaught = UNCAUGHT.exec(line);
  if (uncaught !== null) return { kind: 'exception', level: 'error', message: uncaught[1] ?? line };
  const start = /^service main: (?:Uncaught )?(.*)$/.exec(line);
  if (start !== null) return { kind: 'exception', level: 'error', message: start[1] ?? line };
  return { kind: 'console', level: 'error', message: line };
}
