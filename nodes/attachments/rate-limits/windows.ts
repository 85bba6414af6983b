/**
 * Counts of rate limits, in memory and of this node alone. A window begins with the first call of its key and
 * ends after the period: within any period at most twice the limit goes through. Pure.
 *
 * An account that counts more keys than its share forgets those first that may still be called: whoever has
 * reached a limit would otherwise come free by calling with other keys.
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
  /** Both live on one share. */
  readonly #open: SharedCache<Window>;
  readonly #reached: SharedCache<Window>;

  constructor(clock: Pick<Clock, 'monotonicMs'>, shares = new Shares('rateLimits.keys')) {
    this.#clock = clock;
    this.#open = new SharedCache<Window>(shares);
    this.#reached = new SharedCache<Window>(shares);
  }

  /** Windows of both sorts: the share is one. */
  get size(): number {
    return this.#open.size;
  }

  /** False: the limit is reached. Otherwise the call counts, also where `amount` goes past the limit. */
  take({ account, namespace, limit, periodMs }: RateRule, key: string, amount: number): boolean {
    // Of one size, however long the key is.
    const name = createHash('sha256').update(`${namespace}\0${periodMs}\0${key}`).digest('base64url');
    const nowMs = this.#clock.monotonicMs();
    let window = this.#reached.get(account, name) ?? this.#open.get(account, name);
    if (window === undefined || window.endsMs <= nowMs) {
      this.#reached.delete(account, name);
      window = { endsMs: nowMs + periodMs, count: 0 };
    }
    if (window.count >= limit) return false;
    window.count += amount;
    this.#keep(account, name, window, window.count >= limit);
    return true;
  }

  #keep(account: string, name: string, window: Window, isReached: boolean): void {
    // A window that bindings of different limits share may have been reached by one and be open to another.
    this.#reached.delete(account, name);
    this.#open.delete(account, name);
    const windows = isReached ? this.#reached : this.#open;
    while (!windows.set(account, name, window))
      if (!this.#open.dropOldest(account) && !this.#reached.dropOldest(account)) return;
  }

  /** Forgets windows that have ended: what they hold is of the account's share. */
  sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const windows of [this.#open, this.#reached]) windows.sweep(({ endsMs }) => endsMs <= nowMs);
  }
}
