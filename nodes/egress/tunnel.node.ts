/** Bytes between a function and a target, both ways, once both sides have agreed to it. */
import type { Duplex } from 'node:stream';

export interface TunnelOptions {
  readonly countBytes: (bytes: number) => void;
  /** Longest silence of both sides. */
  readonly idleMs: number;
}

interface Idling {
  setTimeout?(ms: number, run: () => void): unknown;
}

export function joinSockets(left: Duplex, right: Duplex, options: TunnelOptions): void {
  const destroy = (): void => {
    left.destroy();
    right.destroy();
  };
  for (const side of [left, right]) {
    side.on('data', (chunk: Buffer) => options.countBytes(chunk.byteLength));
    side.on('error', destroy);
    side.once('close', destroy);
    // A write on either side ends the silence of both.
    (side as Idling).setTimeout?.(options.idleMs, destroy);
  }
  left.pipe(right);
  right.pipe(left);
}
