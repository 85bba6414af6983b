/** Values that are piped to a command. */
import process from 'node:process';
import { usage } from './arguments.ts';

const PIPE_IT = 'Pipe it: `printf %s "$VALUE" | isoplane …`, or `isoplane … < FILE`.';
const STDIN_LENGTH_MAX = 64 * 1_024;

/**
 * One value. A line break at the end belongs to `echo`, not to the value.
 *
 * @param what - what is expected there, in words.
 */
export async function readStdin(what: string): Promise<string> {
  // Of a terminal that cannot be asked (`CI` is set, or --json): nobody would know that it waits.
  if (process.stdin.isTTY) throw usage(`${what} is read from stdin, which is a terminal here.`, PIPE_IT);
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk;
    if (text.length > STDIN_LENGTH_MAX) throw usage('The value on stdin is too long.');
  }
  const value = text.replace(/\r?\n$/, '');
  if (value === '') throw usage(`${what} is read from stdin, and nothing came.`, PIPE_IT);
  return value;
}
