/**
 * Decides what happens when a supervised plane ends: restart after a back-off, or give up.
 *
 * Pure: time is an argument. A plane that ran well for a while earns a fresh start; one that dies soon
 * after each start waits twice as long every time; one that cannot even become ready several times in a
 * row, and never was, stops the platform, because a hidden crash loop helps nobody. One that has served is started
 * again for as long as it takes: the others serve without it, and what is in its way may go.
 */

export const SUPERVISION = {
  backoffMsMin: 100,
  backoffMsMax: 5_000,
  /** A plane that lived this long after `ready` is healthy: its back-off starts again at the minimum. */
  healthyAfterMs: 30_000,
  /** Starts in a row of a plane that was never `ready`; with this one the supervisor gives up. */
  failedStartsMax: 5,
} as const;

export interface PlaneHistory {
  /** Ends in a row without a healthy run between them. */
  readonly shortRuns: number;
  /** Starts in a row that never became ready. */
  readonly failedStarts: number;
  /** Set while the plane serves. */
  readonly readyAtMs: number | undefined;
  /** It was ready at some time since the platform began. */
  readonly served: boolean;
}

export const FRESH: PlaneHistory = { shortRuns: 0, failedStarts: 0, readyAtMs: undefined, served: false };

export type Verdict =
  | { readonly kind: 'restart'; readonly delayMs: number; readonly history: PlaneHistory }
  | { readonly kind: 'give_up'; readonly history: PlaneHistory };

export function afterReady(history: PlaneHistory, nowMs: number): PlaneHistory {
  return { ...history, failedStarts: 0, readyAtMs: nowMs, served: true };
}

/** What passes by itself, and ends nothing meanwhile: the other planes go on with what they have. */
const PASSING: ReadonlySet<string> = new Set(['storage_full', 'database_busy']);

/**
 * @param nowMs - monotonic time at which the process ended.
 * @param code - with which it could not start, when it said so.
 */
export function afterExit(history: PlaneHistory, nowMs: number, code?: string): Verdict {
  const wasReady = history.readyAtMs !== undefined;
  const healthy = wasReady && nowMs - (history.readyAtMs ?? nowMs) >= SUPERVISION.healthyAfterMs;
  const shortRuns = healthy ? 0 : history.shortRuns + 1;
  const failedStarts = wasReady ? 0 : history.failedStarts + 1;
  const next: PlaneHistory = { ...history, shortRuns, failedStarts, readyAtMs: undefined };
  if (!next.served && failedStarts >= SUPERVISION.failedStartsMax && !PASSING.has(code ?? ''))
    return { kind: 'give_up', history: next };
  const doublings = Math.min(Math.max(0, shortRuns - 1), 16);
  const delayMs = Math.min(SUPERVISION.backoffMsMax, SUPERVISION.backoffMsMin * 2 ** doublings);
  return { kind: 'restart', delayMs, history: next };
}
