/** Token bucket over bytes: how much log a function may write per second. Pure but for its own counters. */
export class ByteBucket {
  #bytesPerSecond: number;
  #tokens: number;
  #atMs: number;

  constructor(bytesPerSecond: number, nowMs: number) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#tokens = bytesPerSecond;
    this.#atMs = nowMs;
  }

  setRate(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
    this.#tokens = Math.min(this.#tokens, bytesPerSecond);
  }

  /** Takes `bytes` when any allowance is left; one entry may overdraw it. */
  take(bytes: number, nowMs: number): boolean {
    this.#refill(nowMs);
    if (this.#tokens <= 0) return false;
    this.#tokens -= bytes;
    return true;
  }

  isEmpty(nowMs: number): boolean {
    this.#refill(nowMs);
    return this.#tokens <= 0;
  }

  #refill(nowMs: number): void {
    const elapsedMs = Math.max(0, nowMs - this.#atMs);
    this.#atMs = nowMs;
    this.#tokens = Math.min(this.#bytesPerSecond, this.#tokens + (elapsedMs * this.#bytesPerSecond) / 1_000);
  }
}
