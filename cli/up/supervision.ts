/**
 * Decides when a supervised plane that ended is started again.
 *
 * Pure: time is an argument. A plane that ran well for a while earns a fresh start; one that dies soon after each
 * start, or cannot start, waits twice as long every time. It is never given up: the others serve without it, and what
 * is in its way, a port, a disk, a database, may go. A first start that fails is another matter: a person waits for it.
 */

export const SUPERVISION = {
  backoffMsMin: 100,
  backoffMsMax: 5_000,
  /** A plane that lived this long after `ready` is healthy: its back-off starts again at the minimum. */
  healthyAfterMs: 30_000,
} as const;

export interface PlaneHistory {
  /** Ends in a row without a healthy run between them. */
  readonly shortRuns: number;
  /** Set while the plane serves. */
  readonly readyAtMs: number | undefined;
}

export const FRESH: PlaneHistory = { shortRuns: 0, readyAtMs: undefined };

export function afterReady(history: PlaneHistory, nowMs: number): PlaneHistory {
  return { ...history, readyAtMs: nowMs };
}

/** @param nowMs - monotonic time at which the process ended, or could not start. */
export function afterExit(
  { shortRuns: before, readyAtMs }: PlaneHistory,
  nowMs: number,
): { readonly delayMs: number; readonly history: PlaneHistory } {
  const healthy = readyAtMs !== undefined && nowMs - readyAtMs >= SUPERVISION.healthyAfterMs;
  const shortRuns = healthy ? 0 : before + 1;
  const doublings = Math.min(Math.max(0, shortRuns - 1), 16);
  const delayMs = Math.min(SUPERVISION.backoffMsMax, SUPERVISION.backoffMsMin * 2 ** doublings);
  return { delayMs, history: { shortRuns, readyAtMs: undefined } };
}
