/**
 * One queue of events ordered by time, then by insertion: the only clock of a simulated cluster. Links
 * between a member and the scheduler delay, lose or are cut, all decided by the seed.
 *
 * Members whose real code waits for promises say so with {@link World.promised}: everything that follows from
 * these promises happens before time goes on, so a seed is the same run again.
 */
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import { seededRandom } from '#shared/testing/fakes.ts';

/** A promise of the platform that a seed has broken. */
export class Violation extends Error {}

interface Entry {
  readonly atMs: number;
  readonly seq: number;
  readonly run: () => void;
}

/** What {@link World.timers} stops at once: the timers of a process end with it. */
export interface Process {
  readonly ended: boolean;
}

export class World {
  nowMs = 0;
  readonly random: () => number;
  readonly clock: Clock = { wallMs: () => this.nowMs, monotonicMs: () => this.nowMs };
  readonly #heap: Entry[] = [];
  #seq = 0;
  #promised = false;
  #failure: { readonly thrown: unknown } | undefined;

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

  /** What a process of the world runs by: exact periods, all of them over when it is. */
  timers(process: Process): Timers {
    const timer = (cancel: () => void): Timer => ({ cancel, [Symbol.dispose]: cancel });
    const start = (delayMs: number, periodMs: number | undefined, run: () => void): Timer => {
      let cancelled = false;
      const fire = (): void => {
        if (cancelled || process.ended) return;
        if (periodMs !== undefined) this.after(periodMs, fire);
        this.promised();
        run();
      };
      this.after(delayMs, fire);
      return timer(() => void (cancelled = true));
    };
    return {
      after: (delayMs, run) => start(delayMs, undefined, run),
      every: (periodMs, run) => start(periodMs, periodMs, run),
    };
  }

  /** Code that waits for promises has been called, or one of its promises is settled. */
  promised(): void {
    this.#promised = true;
  }

  /** Ends the run: for what is noticed where nobody would catch it. */
  fail(thrown: unknown): void {
    this.#failure ??= { thrown };
  }

  /** @throws what an event threw, or what {@link fail} was told. */
  async runUntil(endMs: number): Promise<void> {
    for (;;) {
      if (this.#promised) {
        this.#promised = false;
        // Runs after all promises that are settled now, and after those that they settle.
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (this.#failure !== undefined) throw this.#failure.thrown;
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
