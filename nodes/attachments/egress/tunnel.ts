/** Bytes between a function and a target, both ways, once both sides have agreed to it. */
import type { Duplex } from 'node:stream';
import { Join } from '#shared/upstream/join.node.ts';

export interface TunnelOptions {
  readonly countBytes: (bytes: number) => void;
  /** Longest silence of both sides. */
  readonly idleMs: number;
}

/** How long the other side is still heard when one is closed. */
const CLOSED_MS_MAX = 1_000;

interface Idling {
  setTimeout?(ms: number, run?: () => void): unknown;
}

export function joinSockets(left: Duplex, right: Duplex, { countBytes, idleMs }: TunnelOptions): void {
  const sides: readonly (Duplex & Idling)[] = [left, right];
  const count = (chunk: Buffer): void => countBytes(chunk.byteLength);
  Join.of(left, right, {
    onLeft: count,
    onRight: count,
    // One that has ended its side may still wait for the other.
    onEnding: () => undefined,
    onOver: () => undefined,
  });
  for (const side of sides)
    // A write on either side ends the silence of both.
    side.setTimeout?.(idleMs, () => {
      left.destroy();
      right.destroy();
    });
  for (const [side, other] of [sides, sides.toReversed()] as [Idling & Duplex, Idling & Duplex][])
    side.once('close', () => other.setTimeout?.(Math.min(CLOSED_MS_MAX, idleMs)));
}
