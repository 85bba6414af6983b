/** A clock that all processes of one machine share, so that one can tell how long a message was on its way. */
import process from 'node:process';

const NS_PER_MS = 1_000_000;

/** ms since the machine started. */
export function machineMs(): number {
  return Number(process.hrtime.bigint()) / NS_PER_MS;
}

/** Longer than any message between two planes takes; beyond it the clocks are not the same. */
const TRANSIT_MS_MAX = 10_000;

/** How long ago `sentAtMs` was; 0 when the sender did not say, or is not on this machine. */
export function transitMs(sentAtMs: number | undefined): number {
  const ms = sentAtMs === undefined ? 0 : machineMs() - sentAtMs;
  return ms >= 0 && ms <= TRANSIT_MS_MAX ? ms : 0;
}
