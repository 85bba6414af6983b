/** Keys of a session on a terminal. */
import process from 'node:process';
import type { ReadStream } from 'node:tty';

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';

export interface Keys {
  close(): void;
}

/** @param onKey - lower case; Ctrl-C and Ctrl-D come as `q`, since a raw terminal makes no signals of them. */
export function listenToKeys(stdin: ReadStream, onKey: (key: string) => void): Keys {
  const onData = (chunk: Buffer | string): void => {
    // A pasted text is no row of commands.
    const text = String(chunk);
    if (text === CTRL_C || text === CTRL_D) onKey('q');
    else if (text.length === 1) onKey(text.toLowerCase());
  };
  stdin.setRawMode(true);
  stdin.resume();
  stdin.on('data', onData);
  const restore = (): void => void stdin.setRawMode(false);
  // Also when the process ends in a hurry: a raw terminal is of no use to the shell.
  process.once('exit', restore);
  return {
    close: () => {
      process.off('exit', restore);
      stdin.off('data', onData);
      stdin.setRawMode(false);
      stdin.pause();
    },
  };
}
