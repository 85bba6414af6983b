/**
 * Work that blocks the thread, one piece after the other: next is the account that has had the least of its time
 * (start-time fair queueing: Goyal, Vin and Cheng, 1996). So a flood of one account, be it of many pieces or of
 * slow ones, delays a piece of another by about one of its own.
 *
 * In each turn of the thread's event loop only so much is done; what comes first in it, at once. Pieces that arrive
 * over many connections within one turn thus wait, and wait in fair order: done as they are read, each would
 * delay whatever connection is read after it, and no line would ever form.
 */
import type { Clock } from '#shared/runtime/clock.ts';

/** Of a turn; then other events of the thread come first: connections are read, transactions are written. */
const SLICE_MS = 1;
/** Accounts that rest and are remembered for what they used. */
const RESTED_MAX = 1_000;
/** Of a piece at least, so that pieces too short for the clock count too. */
const COST_MS_MIN = 0.02;

interface Piece {
  readonly run: () => Promise<void>;
}

interface Account {
  readonly pieces: Piece[];
  /** Virtual time at which its next piece begins: grows with what it has used. */
  startsAt: number;
}

export interface LineOptions {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Lets the other events of the thread happen. */
  readonly breathe: () => Promise<void>;
}

export class Line {
  readonly #options: LineOptions;
  /** Those that wait. */
  readonly #accounts = new Map<string, Account>();
  /** Where those that do not wait would go on; forgotten when nobody waited at a turn's end, or all others have come that far. */
  readonly #rested = new Map<string, number>();
  #now = 0;
  #working = false;
  /** Of the turn that goes on, if anything was done in it: its rest, and what was used. */
  #turn: { readonly over: Promise<void>; usedMs: number } | undefined;

  constructor(options: LineOptions) {
    this.#options = options;
  }

  /** Accounts of which something waits. */
  get accounts(): number {
    return this.#accounts.size;
  }

  run<T>(account: string, work: () => T | Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const run = async (): Promise<void> => {
        try {
          resolve(await work());
        } catch (thrown) {
          reject(thrown);
        }
      };
      const known = this.#accounts.get(account);
      if (known === undefined)
        this.#accounts.set(account, {
          pieces: [{ run }],
          startsAt: Math.max(this.#now, this.#rested.get(account) ?? 0),
        });
      else known.pieces.push({ run });
      if (!this.#working) void this.#work();
    });
  }

  async #work(): Promise<void> {
    const { clock } = this.#options;
    this.#working = true;
    for (;;) {
      const turn = this.#currentTurn();
      if (turn.usedMs >= SLICE_MS) {
        await turn.over;
        continue;
      }
      const next = this.#next();
      if (next === undefined) break;
      const [name, account] = next;
      this.#now = account.startsAt;
      const beganMs = clock.monotonicMs();
      await account.pieces.shift()?.run();
      const costMs = Math.max(COST_MS_MIN, clock.monotonicMs() - beganMs);
      turn.usedMs += costMs;
      account.startsAt += costMs;
      if (account.pieces.length > 0) continue;
      this.#accounts.delete(name);
      this.#rest(name, account.startsAt);
    }
    this.#working = false;
  }

  #currentTurn(): { readonly over: Promise<void>; usedMs: number } {
    this.#turn ??= { usedMs: 0, over: this.#endTurn() };
    return this.#turn;
  }

  async #endTurn(): Promise<void> {
    await this.#options.breathe();
    this.#turn = undefined;
    if (this.#working) return;
    this.#rested.clear();
    this.#now = 0;
  }

  #rest(name: string, wouldStartAt: number): void {
    this.#rested.set(name, wouldStartAt);
    if (this.#rested.size <= RESTED_MAX) return;
    for (const [each, startsAt] of this.#rested) if (startsAt <= this.#now) this.#rested.delete(each);
    const [oldest] = this.#rested.keys();
    if (this.#rested.size > RESTED_MAX && oldest !== undefined) this.#rested.delete(oldest);
  }

  #next(): readonly [string, Account] | undefined {
    let next: readonly [string, Account] | undefined;
    for (const entry of this.#accounts)
      if (next === undefined || entry[1].startsAt < next[1].startsAt) next = entry;
    return next;
  }
}
