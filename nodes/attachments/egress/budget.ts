/**
 * Outbound requests per request of a function.
 *
 * Requests carry the id of the request that caused them (entry/fetch.worker.ts). What carries none (sockets,
 * WebSockets) shares one budget of the same size per window. Code could forge an id: it then spends the
 * budget of its own instance's requests, or of ids that nobody uses.
 */

/** Requests whose count is remembered; an instance serves at most LIMITS.concurrencyMax at once. */
export const TAGS_MAX = 4_096;

export interface BudgetOptions {
  readonly subrequestsMax: number;
  /** Longest life of a request: what it could cause is over by then. */
  readonly windowMs: number;
}

export class Budget {
  readonly #options: BudgetOptions;
  readonly #counts = new Map<string, number>();
  #untagged = 0;
  #windowEndsMs = 0;

  constructor(options: BudgetOptions) {
    this.#options = options;
  }

  get tags(): number {
    return this.#counts.size;
  }

  /** Counts one more; false when that is one too many. */
  take(tag: string | undefined, nowMs: number): boolean {
    const { subrequestsMax, windowMs } = this.#options;
    if (tag === undefined) {
      if (nowMs >= this.#windowEndsMs) {
        this.#windowEndsMs = nowMs + windowMs;
        this.#untagged = 0;
      }
      if (this.#untagged >= subrequestsMax) return false;
      this.#untagged += 1;
      return true;
    }
    const count = this.#counts.get(tag) ?? 0;
    // Moved to the end: the first entry is the one that was silent for longest.
    this.#counts.delete(tag);
    const taken = count < subrequestsMax;
    this.#counts.set(tag, taken ? count + 1 : count);
    if (this.#counts.size > TAGS_MAX)
      for (const oldest of this.#counts.keys()) {
        this.#counts.delete(oldest);
        break;
      }
    return taken;
  }
}
