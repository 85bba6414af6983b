/**
 * Everything scarce that accounts share is divided by one rule: **an account may hold at most as much as
 * stays free after it took.** The bound thus moves with the load (Choudhury and Hahne, "Dynamic queue length
 * thresholds in a shared-memory packet switch", 1998): alone, an account gets half. Of n that want all, each
 * comes to hold 1/(n+1) as what they hold comes back; even if none gives anything back, 1/2^n stays free.
 *
 * An account that holds no more than the thing's floor may take while anything is free, so that the last
 * permit of four is not kept from everybody.
 */
import { PlatformError } from './errors.ts';
import { SHARED, type SharedName } from './shared-things.ts';

interface Standing {
  readonly total: number;
  readonly floor: number;
  /** By all holders together. */
  readonly used: number;
  /** By the one who asks. */
  readonly own: number;
}

/** The rule. */
function mayTake({ total, floor, used, own }: Standing, amount: number): boolean {
  const free = total - used - amount;
  return free >= 0 && (own + amount <= free || own + amount <= floor);
}

export interface SharesOptions {
  /** Instead of what the list says: smaller machines, and tests. */
  readonly total?: number;
  readonly floor?: number;
}

export class Shares {
  readonly name: SharedName;
  #total: number;
  #floor: number;
  readonly #held = new Map<string, number>();
  #used = 0;
  #refusals = 0;

  constructor(name: SharedName, options: SharesOptions = {}) {
    this.name = name;
    this.#total = options.total ?? SHARED[name].total;
    this.#floor = options.floor ?? SHARED[name].floor;
  }

  get total(): number {
    return this.#total;
  }

  /** What there is of it has changed. Nobody loses what he holds. */
  resize({ total, floor = this.#floor }: SharesOptions & { readonly total: number }): void {
    this.#total = total;
    this.#floor = floor;
  }

  get used(): number {
    return this.#used;
  }

  /** How often {@link full} was said. */
  get refusals(): number {
    return this.#refusals;
  }

  /** Those that hold anything. */
  get holders(): number {
    return this.#held.size;
  }

  heldBy(holder: string): number {
    return this.#held.get(holder) ?? 0;
  }

  /** Most that the holder may still take in one piece. */
  roomOf(holder: string): number {
    const own = this.heldBy(holder);
    const free = this.#total - this.#used;
    return Math.max(0, Math.min(free, Math.max(Math.floor((free - own) / 2), this.#floor - own)));
  }

  /** False: it is more than the holder's share. What is taken must be given back, by the same holder. */
  take(holder: string, amount: number): boolean {
    if (amount === 0) return true;
    const own = this.heldBy(holder);
    if (!mayTake({ total: this.#total, floor: this.#floor, used: this.#used, own }, amount)) return false;
    this.#used += amount;
    this.#held.set(holder, own + amount);
    return true;
  }

  give(holder: string, amount: number): void {
    if (amount === 0) return;
    const left = this.heldBy(holder) - amount;
    if (left < 0) throw new Error(`${this.name}: ${holder} gives back more than it took`);
    this.#used -= amount;
    if (left === 0) this.#held.delete(holder);
    else this.#held.set(holder, left);
  }

  /** What a holder hears whose share is used up: it is its own, whoever else holds the rest. */
  full(holder: string): PlatformError {
    const { what, fullCode } = SHARED[this.name];
    this.#refusals += 1;
    return new PlatformError(
      fullCode,
      `${holder} holds ${this.heldBy(holder)} of ${this.#total} of ${this.name}, ${this.holders} hold ${this.#used}`,
      { publicDetail: `The share of this account is used up: ${what}.`, retryAfterMs: FULL_RETRY_MS },
    );
  }

  /** @throws {PlatformError} see {@link full}. */
  takeOrThrow(holder: string, amount: number): void {
    if (!this.take(holder, amount)) throw this.full(holder);
  }
}

const FULL_RETRY_MS = 1_000;
