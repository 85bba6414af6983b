/**
 * Remembers nonces until their signatures can no longer be accepted.
 *
 * Entries age by monotonic time, so a wall clock that jumps back frees none early. They are kept
 * JUMP_MARGIN_MS longer than needed; signatures so old that their nonce may have been forgotten (the
 * clock went back by more than the margin) are refused instead.
 *
 * Full is answered `full`, never by forgetting: a forgotten nonce is an accepted replay. An account holds its
 * share (shared/shares.ts), and each of its keys at most what the account has left, so that no key can use up
 * what the others of its account need.
 *
 * A nonce is a hash of 64 bits under a seed of this process: two that collide, of which the second would be
 * refused, are not to be found without the seed, and by chance once in 10^13. It costs some 20 bytes instead
 * of 200, and a bucket of them is let go as a whole.
 */
import type { Clock } from '../runtime/clock.ts';
import type { Shares } from '../shares.ts';
import { HashSet, seededHash, type Hash64 } from './nonce-hash.ts';

const JUMP_MARGIN_MS = 60_000;
/** Each claim looks into every bucket: about 13 at the longest life of a signature. */
const BUCKET_MS = 30_000;

/** Whose nonce it is: two keys may use the same. */
export interface NonceHolder {
  readonly account: string;
  readonly keyId: string;
}

export type NonceClaim =
  | { readonly kind: 'replayed' | 'too_old' | 'full' }
  /** `release`: the request was not carried out, so that it may come again. */
  | { readonly kind: 'fresh'; readonly release: () => void };

interface Bucket {
  readonly hashes: HashSet;
  readonly counts: Map<string, { readonly account: string; count: number }>;
}

/**
 * Nonces are kept in memory, so what was signed before a start may have been used before it. Signatures tell the
 * second only: one of the second of the start may be older than the start.
 */
export function mayHaveBeenUsed({ createdMs }: { readonly createdMs: number }, startedMs: number): boolean {
  return createdMs <= startedMs;
}
/** After as long a signature made anew is younger than the start; what is refused for it says so. */
export const SIGN_AGAIN_MS = 1_000;

export class NonceCache {
  readonly #clock: Clock;
  readonly #shares: Shares;
  readonly #hash: (scope: string, text: string) => Hash64;
  /** By the bucket of monotonic time in which they may be forgotten. */
  readonly #buckets = new Map<number, Bucket>();
  readonly #byKey = new Map<string, number>();
  #latestWallMs = 0;

  constructor(options: { readonly clock: Clock; readonly shares: Shares }) {
    this.#clock = options.clock;
    this.#shares = options.shares;
    this.#hash = seededHash(crypto.getRandomValues(new Uint32Array(2)));
  }

  get size(): number {
    return this.#shares.used;
  }

  claim(holder: NonceHolder, nonce: string, expiresMs: number): NonceClaim {
    const wallMs = this.#clock.wallMs();
    const nowMs = this.#clock.monotonicMs();
    this.#latestWallMs = Math.max(this.#latestWallMs, wallMs);
    if (expiresMs <= this.#latestWallMs - JUMP_MARGIN_MS) return { kind: 'too_old' };
    this.#forget(nowMs);
    const { account, keyId } = holder;
    const hash = this.#hash(keyId, nonce);
    for (const { hashes } of this.#buckets.values()) if (hashes.has(hash)) return { kind: 'replayed' };
    const ofKey = this.#byKey.get(keyId) ?? 0;
    if (ofKey + 1 > Math.max(1, this.#shares.roomOf(account)) || !this.#shares.take(account, 1))
      return { kind: 'full' };
    this.#byKey.set(keyId, ofKey + 1);
    const at = Math.ceil((nowMs + Math.max(0, expiresMs - wallMs) + JUMP_MARGIN_MS) / BUCKET_MS);
    let bucket = this.#buckets.get(at);
    if (bucket === undefined) {
      bucket = { hashes: new HashSet(), counts: new Map() };
      this.#buckets.set(at, bucket);
    }
    bucket.hashes.add(hash);
    const counted = bucket.counts.get(keyId);
    if (counted === undefined) bucket.counts.set(keyId, { account, count: 1 });
    else counted.count += 1;
    return { kind: 'fresh', release: () => this.#release(at, holder, hash) };
  }

  #release(at: number, { account, keyId }: NonceHolder, hash: Hash64): void {
    const bucket = this.#buckets.get(at);
    // Forgotten meanwhile, or released before.
    if (bucket === undefined || !bucket.hashes.delete(hash)) return;
    const counted = bucket.counts.get(keyId);
    if (counted !== undefined) counted.count -= 1;
    this.#give(account, keyId, 1);
  }

  #forget(nowMs: number): void {
    const current = Math.floor(nowMs / BUCKET_MS);
    for (const [at, { counts }] of this.#buckets) {
      if (at > current) continue;
      this.#buckets.delete(at);
      for (const [keyId, { account, count }] of counts) this.#give(account, keyId, count);
    }
  }

  #give(account: string, keyId: string, count: number): void {
    this.#shares.give(account, count);
    const left = (this.#byKey.get(keyId) ?? 0) - count;
    if (left > 0) this.#byKey.set(keyId, left);
    else this.#byKey.delete(keyId);
  }
}
