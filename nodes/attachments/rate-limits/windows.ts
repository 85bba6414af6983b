/**
 * Counts of rate limits, in memory and of this node alone. A window begins with the first call of its key and
 * ends after the period: within any period at most twice the limit goes through. Pure.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '#shared/runtime/clock.ts';
import { SharedCache } from '#shared/shared-cache.ts';
import { Shares } from '#shared/shares.ts';

/** What a binding counts, and whose it is. */
export interface RateRule {
  readonly account: string;
  /** Bindings of the account with one namespace and period count together. */
  readonly namespace: string;
  readonly limit: number;
  readonly periodMs: number;
}

interface Window {
  readonly endsMs: number;
  count: number;
}

export class Windows {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #windows: SharedCache<Window>;

  constructor(clock: Pick<Clock, 'monotonicMs'>, shares = new Shares('rateLimits.keys')) {
    this.#clock = clock;
    this.#windows = new SharedCache<Window>(shares);
  }

  get size(): number {
    return this.#windows.size;
  }

  /** False: the limit is reached. Otherwise the call counts, also where `amount` goes past the limit. */
  take({ account, namespace, limit, periodMs }: RateRule, key: string, amount: number): boolean {
    // Of one size, however long the key is.
    const name = createHash('sha256').update(`${namespace}\0${periodMs}\0${key}`).digest('base64url');
    const nowMs = this.#clock.monotonicMs();
    let window = this.#windows.get(account, name);
    if (window === undefined || window.endsMs <= nowMs) {
      window = { endsMs: nowMs + periodMs, count: 0 };
      this.#windows.set(account, name, window);
    }
    if (window.count >= limit) return false;
    window.count += amount;
    return true;
  }

  /** Forgets windows that have ended: what they hold is of the account's share. */
  sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#windows.sweep(({ endsMs }) => endsMs <= nowMs);
  }
}
