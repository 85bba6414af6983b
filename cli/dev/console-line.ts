/** What the entry module writes for one console call or exception, made readable. */
import colors from 'picocolors';
import { z } from 'zod';
import { LOG_LEVELS } from '#shared/contracts/nodes.ts';
import { mapStack } from '../bundle/stack.ts';
import { plain } from '../output.ts';

/** The line format of nodes/entry/console.worker.ts. */
const lineSchema = z.object({
  k: z.enum(['c', 'x']),
  l: z.enum(LOG_LEVELS),
  m: z.string(),
  s: z.string().optional(),
});

/** Undefined for a line that says nothing to a developer. */
export function lineText(line: string, main: string, map: Uint8Array | undefined): string | undefined {
  if (line.trim() === '') return undefined;
  let parsed: z.infer<typeof lineSchema>;
  try {
    parsed = lineSchema.parse(JSON.parse(line));
  } catch {
    return plain(line);
  }
  const mapped = (text: string): string => plain(map === undefined ? text : mapStack(text, main, map));
  const level =
    parsed.l === 'error' ? colors.red(parsed.l) : parsed.l === 'warn' ? colors.yellow(parsed.l) : parsed.l;
  const head = `${level} ${parsed.k === 'x' ? 'exception ' : ''}${mapped(parsed.m)}`;
  return parsed.s === undefined ? head : `${head}\n${colors.dim(mapped(parsed.s))}`;
}
