/** What the entry module writes for one console call or exception, made readable. */
import { parseStdoutLine } from '#nodes/logs/parse.ts';
import colors from 'picocolors';
import { mapStack } from '../bundle/stack.ts';
import { plain } from '../output.ts';

/** Undefined for a line that says nothing to a developer. */
export function lineText(line: string, main: string, map: Uint8Array | undefined): string | undefined {
  if (line.trim() === '') return undefined;
  const { kind, level, message, stack } = parseStdoutLine(line);
  // Not ours: what workerd itself has to say.
  if (message === line) return plain(line);
  const mapped = (text: string): string => plain(map === undefined ? text : mapStack(text, main, map));
  const shown = level === 'error' ? colors.red(level) : level === 'warn' ? colors.yellow(level) : level;
  const head = `${shown} ${kind === 'exception' ? 'exception ' : ''}${mapped(message)}`;
  return stack === undefined ? head : `${head}\n${colors.dim(mapped(stack))}`;
}
