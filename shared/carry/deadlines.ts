/**
 * Deadlines of everything in flight, looked at by one timer.
 *
 * Two timers per request cost more than the rest of the bookkeeping; a walk over what is in flight every
 * TICK_MS does not show up in a profile. A deadline is therefore met up to TICK_MS late.
 */
import type { Clock, Timer, Timers } from '../runtime/clock.ts';

const TICK_MS = 10;

/** A request without a response head for this long is worth a look at its process. */
export const SLOW_MS = 20;
/**
 * A request that stays slow is reported again, since code that yields between bursts may have been within
 * its budget the first time: first after this, then ever more seldom, at most one budget apart.
 */
const REPORT_AGAIN_MS = 50;

/** Age at which a request is reported next, when it was reported at `ageMs`. */
export function nextReportMs(ageMs: number, cpuMs: number): number {
  if (ageMs < cpuMs) return cpuMs;
  const over = ageMs - cpuMs;
  return ageMs + Math.max(REPORT_AGAIN_MS, Math.min(over, Math.max(cpuMs, 2 * REPORT_AGAIN_MS)));
}

export interface Watched {
  /** Where it stands; the watch's own. Begins as undefined. */
  watchedAt: number | undefined;
  /** @param nowMs - monotonic. May remove itself. */
  tick(nowMs: number): void;
}

export class Watch {
  readonly #clock: Clock;
  readonly #timers: Timers;
  /**
   * In no order, and no Set: each table that a Set has outgrown refers to the next one, so one of them that got old keeps
   * all later ones alive until the next full collection, with every request that stood in them. Half of the gateway's
   * processor time went into moving those.
   */
  readonly #watched: Watched[] = [];
  #timer: Timer | undefined;
  #nowMs: number;

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock;
    this.#timers = timers;
    this.#nowMs = clock.monotonicMs();
  }

  /** Monotonic time of the last tick: good enough to notice silence, and free. */
  get coarseMs(): number {
    return this.#nowMs;
  }

  get size(): number {
    return this.#watched.length;
  }

  /** @returns monotonic time now. */
  add(watched: Watched): number {
    watched.watchedAt = this.#watched.push(watched) - 1;
    this.#nowMs = this.#clock.monotonicMs();
    this.#timer ??= this.#timers.every(TICK_MS, () => this.#tick());
    return this.#nowMs;
  }

  delete(watched: Watched): void {
    const at = watched.watchedAt;
    if (at === undefined) return;
    watched.watchedAt = undefined;
    const last = this.#watched.pop();
    if (last === undefined || last === watched) return;
    this.#watched[at] = last;
    last.watchedAt = at;
  }

  #tick(): void {
    this.#nowMs = this.#clock.monotonicMs();
    // From the end: whoever removes itself has the place filled by one that was looked at.
    for (let at = this.#watched.length - 1; at >= 0; at -= 1) this.#watched[at]?.tick(this.#nowMs);
    // Stopped here and not in delete(): under load the set is empty for an instant after every request.
    if (this.#watched.length > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
