/**
 * Bytes that are read whole, joined as they come, so that a chunk of one byte costs one byte, and taken from
 * the share of an account.
 */
import type { Shares } from './shares.ts';

const CAPACITY_MIN = 4_096;

export class HeldBytes {
  readonly #shares: Shares;
  readonly #holder: string;
  readonly #announcedBytes: number;
  #kept = new Uint8Array(0);
  #length = 0;

  /** @param announcedBytes - what they are said to be: no room is taken beyond it, unless they are more. */
  constructor(shares: Shares, holder: string, announcedBytes = Number.POSITIVE_INFINITY) {
    this.#shares = shares;
    this.#holder = holder;
    this.#announcedBytes = announcedBytes;
  }

  get length(): number {
    return this.#length;
  }

  /** @throws {PlatformError} when it is more than the holder's share; what is held stays until {@link release}. */
  add(chunk: Uint8Array): void {
    const needed = this.#length + chunk.byteLength;
    if (needed > this.#kept.byteLength) {
      const roomy = Math.max(CAPACITY_MIN, 2 * this.#kept.byteLength);
      const capacity = Math.max(needed, Math.min(this.#announcedBytes, roomy));
      this.#shares.takeOrThrow(this.#holder, capacity - this.#kept.byteLength);
      // The smaller piece is freed at once and not at some later collection.
      this.#kept = new Uint8Array(this.#kept.buffer.transfer(capacity));
    }
    this.#kept.set(chunk, this.#length);
    this.#length = needed;
  }

  /** A view that is empty after {@link release}. */
  whole(): Uint8Array<ArrayBuffer> {
    return this.#kept.subarray(0, this.#length);
  }

  release(): void {
    this.#shares.give(this.#holder, this.#kept.byteLength);
    this.#kept.buffer.transfer(0);
    this.#kept = new Uint8Array(0);
    this.#length = 0;
  }
}
