/** At most `permits` at once; at most `waitingMax` wait, in order of arrival; one more is refused. */
import { PlatformError } from '#shared/errors.ts';

export class Semaphore {
  #free: number;
  readonly #waitingMax: number;
  readonly #queue: (() => void)[] = [];

  constructor(permits: number, waitingMax: number) {
    this.#free = permits;
    this.#waitingMax = waitingMax;
  }

  /** @throws {PlatformError} `control_unavailable` when `waitingMax` already wait. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else {
      if (this.#queue.length >= this.#waitingMax)
        throw new PlatformError('control_unavailable', `${this.#waitingMax} calls already wait`, {
          retryAfterMs: 1_000,
        });
      // The permit is handed over, not freed, so nobody who comes later overtakes.
      await new Promise<void>((resolve) => this.#queue.push(resolve));
    }
    try {
      return await work();
    } finally {
      const next = this.#queue.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
