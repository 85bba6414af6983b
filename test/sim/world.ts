/**
 * One queue of events ordered by time, then by insertion: the only clock of a simulated cluster. Links
 * between a member and the scheduler delay, lose or are cut, all decided by the seed.
 */
import { seededRandom } from '#shared/testing/fakes.ts';

interface Entry {
  readonly atMs: number;
  readonly seq: number;
  readonly run: () => void;
}

export class World {
  nowMs = 0;
  readonly random: () => number;
  readonly #heap: Entry[] = [];
  #seq = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  between(low: number, high: number): number {
    return low + this.random() * (high - low);
  }

  integer(low: number, high: number): number {
    return Math.floor(this.between(low, high + 1));
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  after(delayMs: number, run: () => void): void {
    const entry = { atMs: this.nowMs + delayMs, seq: this.#seq, run };
    this.#seq += 1;
    let at = this.#heap.length;
    this.#heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, this.#heap[parent]!)) break;
      this.#heap[at] = this.#heap[parent]!;
      at = parent;
    }
    this.#heap[at] = entry;
  }

  /** Repeats until the world ends or `run` answers false. */
  every(periodMs: number, run: () => boolean | void): void {
    const again = (): void => {
      if (run() !== false) this.after(periodMs, again);
    };
    this.after(this.between(0, periodMs), again);
  }

  runUntil(endMs: number): void {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#pop();
      this.nowMs = next.atMs;
      next.run();
    }
    this.nowMs = endMs;
  }

  #pop(): void {
    const last = this.#heap.pop()!;
    const size = this.#heap.length;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && isBefore(this.#heap[child + 1]!, this.#heap[child]!)) child += 1;
      if (!isBefore(this.#heap[child]!, last)) break;
      this.#heap[at] = this.#heap[child]!;
      at = child;
    }
    this.#heap[at] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.seq < b.seq);
}

/** The way between one member and the scheduler. */
export class Link {
  cut = false;
  lossProbability = 0;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** Runs `deliver` after a delay, or `lost` when the message does not arrive. */
  send(deliver: () => void, lost: () => void = () => {}): void {
    const delayMs = this.#world.chance(0.02) ? this.#world.between(20, 300) : this.#world.between(0.2, 5);
    const fails = this.cut || this.#world.chance(this.lossProbability);
    this.#world.after(delayMs, () => (fails || this.cut ? lost() : deliver()));
  }
}
