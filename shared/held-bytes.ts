/**
 * Bytes that are read whole, joined as they come, so that a chunk of one byte costs one byte, and taken from
 * the share of an account.
 */
import type { Shares } from './shares.ts';

const CAPACITY_MIN = 4_096;

export class HeldBytes {
  readonly #shares: Shares;
  readonly #holder: string;
  #kept = new Uint8Array(0);
  #length = 0;

  constructor(shares: Shares, holder: string) {
    this.#shares = shares;
    this.#holder = holder;
  }

  get length(): number {
    return this.#length;
  }

  /** @throws {PlatformError} when it is more than the holder's share; what is held stays until {@link release}. */
  add(chunk: Uint8Array): void {
    const needed = this.#length + chunk.byteLength;
    if (needed > this.#kept.byteLength) {
      const capacity = Math.max(needed, CAPACITY_MIN, 2 * this.#kept.byteLength);
      this.#shares.takeOrThrow(this.#holder, capacity - this.#kept.byteLength);
      const grown = new Uint8Array(capacity);
      grown.set(this.#kept.subarray(0, this.#length));
      this.#kept = grown;
    }
    this.#kept.set(chunk, this.#length);
    this.#length = needed;
  }

  whole(): Uint8Array<ArrayBuffer> {
    return this.#kept.subarray(0, this.#length);
  }

  release(): void {
    this.#shares.give(this.#holder, this.#kept.byteLength);
    this.#kept = new Uint8Array(0);
    this.#length = 0;
  }
}
