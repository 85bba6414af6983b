/**
 * Reads the output of a process in gulps. A process that logs wakes its reader once per line otherwise,
 * which costs more than everything that is done with the line.
 */
import type { ChildProcess } from 'node:child_process';
import type { Timers } from '#shared/runtime/clock.ts';

/**
 * Between two reads. The socket takes some 270 short lines meanwhile; who writes more waits for it once,
 * and is then read without a pause.
 */
const GATHER_MS = 5;
const FLOOD_BYTES = 16 * 1_024;

interface Handle {
  readStart(): void;
  readStop(): void;
}

/**
 * Node has no public way to leave bytes in the kernel: pause() of a stream goes on reading up to its high
 * water mark. Without these methods each line is read when it comes, as it would be anyway.
 */
function handleOf(stream: object | null): Handle | undefined {
  const handle: unknown = stream !== null && '_handle' in stream ? stream._handle : undefined;
  const usable =
    typeof handle === 'object' &&
    handle !== null &&
    'readStart' in handle &&
    'readStop' in handle &&
    typeof handle.readStart === 'function' &&
    typeof handle.readStop === 'function';
  return usable ? (handle as Handle) : undefined;
}

export function gatherOutput(
  child: Pick<ChildProcess, 'stdout' | 'once'>,
  timers: Timers,
  take: (chunk: Uint8Array) => void,
): void {
  const { stdout } = child;
  let ended = false;
  let stopped: Handle | undefined;
  const resume = (): void => {
    stopped?.readStart();
    stopped = undefined;
  };
  stdout?.on('data', (chunk: Uint8Array) => {
    take(chunk);
    if (ended || chunk.byteLength >= FLOOD_BYTES || stopped !== undefined) return;
    stopped = handleOf(stdout);
    stopped?.readStop();
    if (stopped !== undefined) timers.after(GATHER_MS, resume);
  });
  stdout?.once('close', () => {
    ended = true;
    stopped = undefined;
  });
  // What it said last is still in the socket.
  child.once('exit', () => {
    ended = true;
    resume();
  });
}
