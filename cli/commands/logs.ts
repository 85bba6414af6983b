/** `isoplane logs`: console output and exceptions of a function, with stacks mapped to its sources. */
import process from 'node:process';
import colors from 'picocolors';
import { z } from 'zod';
import { logEntrySchema, type LogEntry } from '#shared/contracts/nodes.ts';
import { functionNameSchema } from '#shared/ids.ts';
import type { Context } from '../context.ts';
import { plain } from '../output.ts';
import { argument } from './arguments.ts';

const optionsSchema = z.object({ follow: z.boolean().default(false), tail: z.number() });

export async function logs(
  context: Context,
  args: readonly string[],
  given: Record<string, unknown>,
): Promise<void> {
  const options = optionsSchema.parse(given);
  const name = argument('function', args[0], functionNameSchema);
  const { api } = await context.platform();
  const interrupted = new AbortController();
  process.once('SIGINT', () => interrupted.abort());
  process.once('SIGTERM', () => interrupted.abort());
  const path = api.path(`/functions/${name}/logs?follow=${options.follow ? 1 : 0}&tail=${options.tail}`);
  let seen = 0;
  try {
    for await (const entry of api.lines(path, logEntrySchema, interrupted.signal)) {
      seen += 1;
      context.output.result(entry, () => entryText(entry));
    }
    if (seen === 0 && options.tail > 0)
      context.output.note(
        `${name} has logged nothing of late: console output and exceptions appear here, each with its request`,
      );
  } catch (thrown) {
    // Ctrl-C is how following ends.
    if (!interrupted.signal.aborted) throw thrown;
  }
}

const PAINT: Record<LogEntry['level'], (text: string) => string> = {
  debug: colors.dim,
  log: (text) => text,
  info: (text) => text,
  warn: colors.yellow,
  error: colors.red,
};

export function entryText(entry: LogEntry): string {
  const time = new Date(entry.atMs).toISOString().slice(11, 23);
  const version = entry.versionId.slice(entry.versionId.lastIndexOf('@'));
  const request = entry.requestId === undefined ? '' : ` ${entry.requestId.slice(0, 8)}`;
  const kind = entry.kind === 'console' ? '' : `${entry.kind} `;
  const lines = [
    `${colors.dim(`${time} ${version}${plain(request)}`)} ${PAINT[entry.level](`${entry.level.padEnd(5)} ${kind}${plain(continued(entry.message))}`)}`,
  ];
  if (entry.stack !== undefined)
    lines.push(colors.dim(plain(indented(withoutMessage(entry.stack, entry.message)))));
  if (entry.dropped !== undefined && entry.dropped > 0)
    lines.unshift(colors.yellow(`… ${entry.dropped} entries lost before this one`));
  return lines.filter((line) => line !== '').join('\n');
}

const INDENT = '    ';

/** No line of an entry but its first begins where entries begin: what a function prints looks like no other entry. */
function continued(text: string): string {
  return text.replaceAll(/\r\n|\n/g, `\n${INDENT}`);
}

/** Frames of a stack are indented already. */
function indented(text: string): string {
  return text.replaceAll(/^(?=[^ \n]| {1,3}(?! ))/gm, INDENT);
}

/** A stack usually starts with its message, which was just shown. */
function withoutMessage(stack: string, message: string): string {
  const lines = stack.split('\n');
  return lines[0]?.includes(message) === true ? lines.slice(1).join('\n') : stack;
}
