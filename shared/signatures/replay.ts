/**
 * Remembers nonces until their signatures can no longer be accepted.
 *
 * Entries age by monotonic time, so a wall clock that jumps back frees none early. They are kept
 * JUMP_MARGIN_MS longer than needed; signatures so old that their nonce may have been forgotten (the
 * clock went back by more than the margin) are refused instead.
 *
 * Full is answered `full`, never by forgetting: a forgotten nonce is an accepted replay.
 */
import type { Clock } from '../runtime/clock.ts';

const JUMP_MARGIN_MS = 60_000;
const BUCKET_MS = 5_000;

export type NonceClaim = 'fresh' | 'replayed' | 'too_old' | 'full';

export class NonceCache {
  readonly #clock: Clock;
  readonly #entriesMax: number;
  /** Nonces by the bucket of monotonic time in which they may be forgotten. */
  readonly #buckets = new Map<number, Set<string>>();
  readonly #known = new Set<string>();
  #latestWallMs = 0;

  constructor(options: { readonly clock: Clock; readonly entriesMax: number }) {
    this.#clock = options.clock;
    this.#entriesMax = options.entriesMax;
  }

  get size(): number {
    return this.#known.size;
  }

  /** @param scope - the key id: two keys may use the same nonce. */
  claim(scope: string, nonce: string, expiresMs: number): NonceClaim {
    const wallMs = this.#clock.wallMs();
    const nowMs = this.#clock.monotonicMs();
    this.#latestWallMs = Math.max(this.#latestWallMs, wallMs);
    if (expiresMs <= this.#latestWallMs - JUMP_MARGIN_MS) return 'too_old';
    this.#forget(nowMs);
    const entry = `${scope}\n${nonce}`;
    if (this.#known.has(entry)) return 'replayed';
    if (this.#known.size >= this.#entriesMax) return 'full';
    const bucket = Math.ceil((nowMs + Math.max(0, expiresMs - wallMs) + JUMP_MARGIN_MS) / BUCKET_MS);
    const bucketEntries = this.#buckets.get(bucket);
    if (bucketEntries === undefined) this.#buckets.set(bucket, new Set([entry]));
    else bucketEntries.add(entry);
    this.#known.add(entry);
    return 'fresh';
  }

  #forget(nowMs: number): void {
    const current = Math.floor(nowMs / BUCKET_MS);
    for (const [bucket, entries] of this.#buckets) {
      if (bucket > current) continue;
      for (const entry of entries) this.#known.delete(entry);
      this.#buckets.delete(bucket);
    }
  }
}
