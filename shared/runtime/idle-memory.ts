/**
 * When a process should give memory back: pure, time and measures are arguments.
 *
 * V8 keeps what a busy minute made it take (its young generation, and pages of the old one with little in them), since
 * it collects only when something is allocated, and an idle process allocates nothing. One full collection once the
 * process has come to rest gives it back; at rest nobody waits for it.
 */

export const IDLE_MEMORY = {
  lookMs: 5_000,
  /** Share of the time in which the event loop was busy, below which the process is at rest. */
  restRatio: 0.05,
  /** Looks in a row at rest before it collects. */
  restLooks: 2,
  /** A busy look by this much: without it there is nothing to give back. */
  grownBytesMin: 8 * 1_048_576,
} as const;

export interface Rest {
  readonly looks: number;
  /** Resident after the last collection, or at the start. */
  readonly floorBytes: number;
}

export interface Look {
  readonly busyRatio: number;
  readonly residentBytes: number;
}

export function restOf(
  rest: Rest,
  { busyRatio, residentBytes }: Look,
): { readonly rest: Rest; readonly collect: boolean } {
  if (busyRatio > IDLE_MEMORY.restRatio) return { rest: { ...rest, looks: 0 }, collect: false };
  const looks = rest.looks + 1;
  const grown = residentBytes - rest.floorBytes >= IDLE_MEMORY.grownBytesMin;
  return { rest: { ...rest, looks }, collect: looks === IDLE_MEMORY.restLooks && grown };
}
