import process from 'node:process';
import { usage } from './arguments.ts';

const STDIN_LENGTH_MAX = 64 * 1_024;

/** One value. A line break at the end belongs to `echo`, not to the value. */
export async function readStdin(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk;
    if (text.length > STDIN_LENGTH_MAX) throw usage('The value on stdin is too long.');
  }
  return text.replace(/\r?\n$/, '');
}
