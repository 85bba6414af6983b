/**
 * Permits for work that only a few may do at once. Each account has a share of them and of the places to wait,
 * and the next permit goes to the account that holds the fewest, so that nobody waits behind all that another
 * account has sent.
 */
import { PlatformError, type ErrorCode } from './errors.ts';
import type { Shares } from './shares.ts';

export interface PermitsOptions {
  readonly permits: Shares;
  /** To wait for one. */
  readonly places: Shares;
  /** What one is told who was withdrawn while it waited, unless the signal says it. */
  readonly goneCode: ErrorCode;
}

interface Waiter {
  readonly account: string;
  readonly admit: () => void;
}

export class Permits {
  readonly #permits: Shares;
  readonly #places: Shares;
  readonly #goneCode: ErrorCode;
  /** In order of arrival. */
  readonly #waiting = new Set<Waiter>();

  constructor({ permits, places, goneCode }: PermitsOptions) {
    this.#permits = permits;
    this.#places = places;
    this.#goneCode = goneCode;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** What one hears who has waited for too long: only others of its account kept it from a permit for that time. */
  full(account: string): PlatformError {
    return this.#permits.full(account);
  }

  /**
   * @param signal - the caller has gone: it waits no more. Once it has its permit, that is the work's to notice.
   * @throws {PlatformError} `share_full` when as many of the account already wait as may.
   */
  async run<T>(account: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (!this.#permits.take(account, 1)) await this.#wait(account, signal);
    try {
      return await work();
    } finally {
      this.#permits.give(account, 1);
      this.#admit();
    }
  }

  async #wait(account: string, signal: AbortSignal): Promise<void> {
    this.#places.takeOrThrow(account, 1);
    try {
      await new Promise<void>((resolve, reject) => {
        const gone = (): void => {
          this.#waiting.delete(waiter);
          const { reason } = signal as { readonly reason: unknown };
          reject(
            reason instanceof PlatformError
              ? reason
              : new PlatformError(this.#goneCode, 'the caller went away while it waited'),
          );
        };
        const waiter: Waiter = {
          account,
          admit: () => {
            signal.removeEventListener('abort', gone);
            resolve();
          },
        };
        if (signal.aborted) return gone();
        signal.addEventListener('abort', gone, { once: true });
        this.#waiting.add(waiter);
      });
    } finally {
      this.#places.give(account, 1);
    }
  }

  #admit(): void {
    for (;;) {
      let next: Waiter | undefined;
      for (const waiter of this.#waiting)
        if (
          this.#permits.roomOf(waiter.account) > 0 &&
          (next === undefined || this.#permits.heldBy(waiter.account) < this.#permits.heldBy(next.account))
        )
          next = waiter;
      if (next === undefined) return;
      this.#waiting.delete(next);
      // The permit is handed over: nobody who comes later overtakes.
      this.#permits.take(next.account, 1);
      next.admit();
    }
  }
}
