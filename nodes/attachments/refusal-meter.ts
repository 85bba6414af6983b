/** Refusals on their way to a function's log: some each second, the others counted and said. Pure. */
import type { Clock } from '#shared/runtime/clock.ts';

const PER_WINDOW_MAX = 10;
const WINDOW_MS = 1_000;

export class RefusalMeter {
  readonly #clock: Clock;
  #windowEndsMs = 0;
  #told = 0;
  #silent = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The text to log, or undefined when this second has had its share. */
  take(message: string): string | undefined {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs >= this.#windowEndsMs) {
      this.#windowEndsMs = nowMs + WINDOW_MS;
      this.#told = 0;
    }
    if (this.#told >= PER_WINDOW_MAX) {
      this.#silent += 1;
      return undefined;
    }
    this.#told += 1;
    const silent = this.#silent;
    this.#silent = 0;
    return silent === 0 ? message : `${message} (${silent} more refusals were not logged)`;
  }
}
