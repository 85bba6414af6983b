/**
 * Slots that wait ready, so that a start pays for V8 and the isolate only.
 *
 * Refilling costs about 20 ms of CPU per slot. It waits until no start is under way unless nothing is
 * left to take: on a small machine it would otherwise delay the very start that emptied the pool.
 */
import type { Log } from '#shared/runtime/log.ts';
import type { Timer, Timers } from '#shared/runtime/clock.ts';
import type { Slot } from './slot.node.ts';

export interface PoolOptions {
  readonly size: number;
  readonly spawn: () => Promise<Slot>;
  readonly timers: Timers;
  readonly log: Log;
}

const SPAWNS_AT_ONCE_MAX = 2;
const REFILL_DELAY_MS = 20;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 10_000;

export class SlotPool {
  readonly #options: PoolOptions;
  readonly #waiting: Slot[] = [];
  #spawning = 0;
  #startsUnderWay = 0;
  #closed = false;
  #refillTimer: Timer | undefined;
  #retryMs = RETRY_MS_MIN;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Fills the pool; resolves when it is full or cannot be filled now. */
  async fill(): Promise<void> {
    while (!this.#closed && this.#waiting.length + this.#spawning < this.#options.size) {
      const room = Math.min(
        SPAWNS_AT_ONCE_MAX - this.#spawning,
        this.#options.size - this.#waiting.length - this.#spawning,
      );
      if (room <= 0) return;
      const results = await Promise.all(Array.from({ length: room }, () => this.#add()));
      if (results.includes(false)) return;
    }
  }

  /** Runs `use` with a waiting slot, or a fresh one when none waits. */
  async withSlot<T>(use: (slot: Slot) => Promise<T>): Promise<T> {
    this.#startsUnderWay += 1;
    try {
      return await use(this.#take() ?? (await this.#options.spawn()));
    } finally {
      this.#startsUnderWay -= 1;
      this.#scheduleRefill(REFILL_DELAY_MS);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#refillTimer?.cancel();
    const slots = this.#waiting.splice(0);
    for (const slot of slots) slot.kill('stopped');
    await Promise.all(slots.map((slot) => slot.ended));
  }

  #take(): Slot | undefined {
    for (;;) {
      const slot = this.#waiting.shift();
      if (slot === undefined || slot.state.kind === 'waiting') return slot;
    }
  }

  async #add(): Promise<boolean> {
    this.#spawning += 1;
    try {
      const slot = await this.#options.spawn();
      await slot.spawned();
      if (slot.state.kind !== 'waiting') {
        this.#options.log.error('slot_failed', { stderr: slot.stderrTail });
        this.#retryLater();
        return false;
      }
      if (this.#closed) {
        slot.kill('stopped');
        return false;
      }
      this.#waiting.push(slot);
      this.#retryMs = RETRY_MS_MIN;
      void slot.ended.then(() => this.#remove(slot));
      return true;
    } catch (thrown) {
      this.#options.log.error('slot_failed', { error: thrown });
      this.#retryLater();
      return false;
    } finally {
      this.#spawning -= 1;
    }
  }

  /** A slot that died while it waited is replaced, slowly: whatever kills it may go on killing. */
  #remove(slot: Slot): void {
    const index = this.#waiting.indexOf(slot);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    if (!this.#closed) this.#retryLater();
  }

  #retryLater(): void {
    this.#scheduleRefill(this.#retryMs);
    this.#retryMs = Math.min(RETRY_MS_MAX, this.#retryMs * 2);
  }

  #scheduleRefill(delayMs: number): void {
    if (this.#closed || this.#refillTimer !== undefined) return;
    this.#refillTimer = this.#options.timers.after(delayMs, () => {
      this.#refillTimer = undefined;
      if (this.#startsUnderWay > 0 && this.#waiting.length > 0) this.#scheduleRefill(REFILL_DELAY_MS);
      else void this.fill();
    });
  }
}
