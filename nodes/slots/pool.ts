/**
 * Slots that wait ready, so that a start pays for V8 and the isolate only. How many follows the demand
 * (demand.ts). A slot that was taken is its account's debt until another has come in its place: an account may take
 * while others are left some (shared things: node.slots), and starts in fresh ones otherwise.
 *
 * Refilling costs about 20 ms of CPU per slot. It waits until no start is under way, or for so long that
 * starts which take their time cannot hold it up: on a small machine it would otherwise delay the very
 * start that emptied the pool.
 */
import { PlatformError } from '#shared/errors.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import { Shares } from '#shared/shares.ts';
import { NO_DEMAND, onDemand, poolTarget, type PoolBounds } from './demand.ts';
import type { Slot } from './slot.ts';

export interface PoolOptions extends PoolBounds {
  readonly spawn: () => Promise<Slot>;
  readonly freeBytes: () => number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

/** While next to nothing waits; after that one by one, so that a core is left for what is served. */
const SPAWNS_AT_ONCE_MAX = 2;
const LOOK_MS = 20;
/** After a start comes the first request, which a refill would delay as well. */
const QUIET_MS = 50;
/** A refill is put off at most this long; a shorter time when nothing is left to take. */
const PUT_OFF_MS_MAX = 1_000;
const PUT_OFF_EMPTY_MS_MAX = 200;
const RETRY_AFTER_MS = 1_000;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 10_000;
/** One slot too many is given back this often. */
const TRIM_MS = 2_000;
const SPAWN_MS_FIRST = 25;
/** Of the slots that wait, those that one account may take: a burst of it is answered from the pool. */
const OWN_PART = 7 / 8;
const SPAWN_WEIGHT = 0.2;

export class SlotPool {
  readonly #options: PoolOptions;
  readonly #waiting: Slot[] = [];
  readonly #taken = new Shares('node.slots', { total: 0 });
  /** Who took slots that have not been replaced, the first first. */
  readonly #owed: string[] = [];
  #spawning = 0;
  #startsUnderWay = 0;
  #startEndedMs = -Infinity;
  #closed = false;
  #demand = NO_DEMAND;
  #spawnMs = SPAWN_MS_FIRST;
  #refillTimer: Timer | undefined;
  #refillWantedMs: number | undefined;
  #trimTimer: Timer | undefined;
  #retryMs = RETRY_MS_MIN;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Slots that should wait now. */
  get target(): number {
    const { clock, freeBytes } = this.#options;
    return poolTarget(this.#demand, this.#options, {
      nowMs: clock.monotonicMs(),
      waiting: this.#waiting.length + this.#spawning,
      freeBytes: freeBytes(),
    });
  }

  /** Fills the pool in the background; resolves when `enough` wait, or it cannot be filled now. */
  fill(enough = Infinity): Promise<void> {
    return new Promise((resolve) => {
      const step = async (): Promise<void> => {
        while (!this.#closed) {
          const room = Math.min(
            (this.#waiting.length < SPAWNS_AT_ONCE_MAX ? SPAWNS_AT_ONCE_MAX : 1) - this.#spawning,
            this.target - this.#waiting.length - this.#spawning,
          );
          if (room <= 0) break;
          const results = await Promise.all(Array.from({ length: room }, () => this.#add()));
          if (this.#waiting.length >= enough) resolve();
          if (results.includes(false)) break;
          if (this.#startsUnderWay > 0 && this.#waiting.length > 0) {
            this.#scheduleRefill(LOOK_MS);
            break;
          }
        }
        this.#scheduleTrim();
        resolve();
      };
      void step();
    });
  }

  /**
   * Runs `use` with a waiting slot, or a fresh one when none waits that the account may take.
   *
   * @throws {PlatformError} `no_capacity` when none can be made.
   */
  async withSlot<T>(account: string, use: (slot: Slot) => Promise<T>): Promise<T> {
    this.#startsUnderWay += 1;
    this.#demand = onDemand(this.#demand, this.#options.clock.monotonicMs(), this.#spawnMs);
    this.#scheduleRefill(LOOK_MS);
    try {
      return await use(this.#take(account) ?? (await this.#fresh()));
    } finally {
      this.#startsUnderWay -= 1;
      this.#startEndedMs = this.#options.clock.monotonicMs();
      this.#scheduleRefill(LOOK_MS);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#refillTimer?.cancel();
    this.#trimTimer?.cancel();
    const slots = this.#waiting.splice(0);
    for (const slot of slots) slot.kill('stopped');
    await Promise.all(slots.map((slot) => slot.ended));
  }

  /** That the machine cannot make one is no fault of the code that was to run in it. */
  async #fresh(): Promise<Slot> {
    try {
      const slot = await this.#options.spawn();
      await slot.spawned();
      if (slot.state.kind === 'waiting') return slot;
      throw new Error(slot.stderrTail);
    } catch (thrown) {
      if (thrown instanceof PlatformError) throw thrown;
      this.#options.log.error('slot_failed', { error: thrown });
      throw new PlatformError('no_capacity', 'no slot could be made', {
        cause: thrown,
        retryAfterMs: RETRY_AFTER_MS,
      });
    }
  }

  #take(account: string): Slot | undefined {
    const index = this.#waiting.findIndex(({ state }) => state.kind === 'waiting');
    if (index < 0) return undefined;
    const total = this.#waiting.length + this.#taken.used;
    this.#taken.resize({ total, floor: Math.max(1, Math.floor(total * OWN_PART)) });
    if (!this.#taken.take(account, 1)) return undefined;
    this.#owed.push(account);
    return this.#waiting.splice(index, 1)[0];
  }

  #put(slot: Slot): void {
    this.#waiting.push(slot);
    // When enough wait, nobody owes any.
    const repaid = this.#owed.splice(0, this.#waiting.length >= this.target ? Infinity : 1);
    for (const account of repaid) this.#taken.give(account, 1);
  }

  async #add(): Promise<boolean> {
    this.#spawning += 1;
    const beganMs = this.#options.clock.monotonicMs();
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
        await slot.ended;
        return false;
      }
      const tookMs = this.#options.clock.monotonicMs() - beganMs;
      this.#spawnMs += (tookMs - this.#spawnMs) * SPAWN_WEIGHT;
      this.#put(slot);
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
      if (this.#mustWait()) this.#scheduleRefill(LOOK_MS);
      else {
        this.#refillWantedMs = undefined;
        void this.fill();
      }
    });
  }

  #mustWait(): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    this.#refillWantedMs ??= nowMs;
    const putOffMsMax = this.#waiting.length === 0 ? PUT_OFF_EMPTY_MS_MAX : PUT_OFF_MS_MAX;
    const quiet = this.#startsUnderWay === 0 && nowMs - this.#startEndedMs >= QUIET_MS;
    return !quiet && nowMs - this.#refillWantedMs < putOffMsMax;
  }

  #scheduleTrim(): void {
    if (this.#closed || this.#trimTimer !== undefined || this.#waiting.length <= this.#options.min) return;
    this.#trimTimer = this.#options.timers.after(TRIM_MS, () => {
      this.#trimTimer = undefined;
      if (this.#waiting.length > this.target) this.#waiting.pop()?.kill('stopped');
      this.#scheduleTrim();
    });
  }
}
