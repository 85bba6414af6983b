/** Versions that this node may be told to run, by id, and waiting for one that is on its way. */
import type { Runnable } from '#shared/contracts/feed.ts';
import type { Timers } from '#shared/runtime/clock.ts';

const WAITERS_MAX = 10_000;

export class RunnableIndex {
  readonly #timers: Timers;
  readonly #runnables = new Map<string, Runnable>();
  readonly #waiters = new Set<{ readonly id: string; readonly wake: (runnable: Runnable) => void }>();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  set(id: string, runnable: Runnable | undefined): void {
    if (runnable === undefined) {
      this.#runnables.delete(id);
      return;
    }
    this.#runnables.set(id, runnable);
    for (const waiter of this.#waiters) if (waiter.id === id) waiter.wake(runnable);
  }

  /** True when an instance of `runnable` has secrets that are not those of the version any more. */
  isOutdated(runnable: Runnable): boolean {
    const current = this.#runnables.get(runnable.id);
    if (current === undefined || current === runnable) return false;
    return JSON.stringify(current.secrets) !== JSON.stringify(runnable.secrets);
  }

  /** The version, waiting up to `waitMs` for it to arrive. */
  wait(id: string, waitMs: number): Promise<Runnable | undefined> {
    const known = this.#runnables.get(id);
    if (known !== undefined || this.#waiters.size >= WAITERS_MAX) return Promise.resolve(known);
    return new Promise((resolve) => {
      const finish = (runnable: Runnable | undefined): void => {
        timer.cancel();
        this.#waiters.delete(waiter);
        resolve(runnable);
      };
      const waiter = { id, wake: finish };
      const timer = this.#timers.after(waitMs, () => finish(undefined));
      this.#waiters.add(waiter);
    });
  }
}
