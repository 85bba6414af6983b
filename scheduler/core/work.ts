/**
 * What a version did of late: instances killed for what it does, and requests that went well. Counted in
 * parts of the window, so that the memory of a busy version is as small as that of an idle one.
 */
const PARTS = 6;

interface Part {
  kills: number;
  good: number;
}

export class Work {
  readonly #partMs: number;
  readonly #parts: Part[] = Array.from({ length: PARTS }, () => ({ kills: 0, good: 0 }));
  /** Number of the newest part since the clock's beginning. */
  #newest = 0;

  constructor(windowMs: number) {
    this.#partMs = windowMs / PARTS;
  }

  /** `good` may be negative: requests counted before, of which is known now that they were lost. */
  add(nowMs: number, done: { readonly kills?: number; readonly good?: number }): void {
    const part = this.#partAt(nowMs);
    part.kills += done.kills ?? 0;
    part.good += done.good ?? 0;
  }

  within(nowMs: number): { readonly kills: number; readonly good: number } {
    this.#partAt(nowMs);
    const kills = this.#parts.reduce((sum, part) => sum + part.kills, 0);
    const good = this.#parts.reduce((sum, part) => sum + part.good, 0);
    return { kills, good: Math.max(0, good) };
  }

  clear(): void {
    for (const part of this.#parts) Object.assign(part, { kills: 0, good: 0 });
  }

  #partAt(nowMs: number): Part {
    const at = Math.floor(nowMs / this.#partMs);
    for (let passed = Math.min(PARTS, at - this.#newest); passed > 0; passed -= 1)
      this.#parts[(at - passed + 1) % PARTS] = { kills: 0, good: 0 };
    this.#newest = Math.max(this.#newest, at);
    const index = this.#newest % PARTS;
    const part = this.#parts[index] ?? { kills: 0, good: 0 };
    this.#parts[index] = part;
    return part;
  }
}
