/** Test doubles for the runtime ports, and waiting for conditions. */
import type { Clock, Timer, Timers } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';

interface Pending {
  atMs: number;
  readonly periodMs: number | undefined;
  readonly run: () => void;
}

/** A clock that stands until {@link advance} moves it; timers fire in order of time. */
export class FakeClock implements Clock, Timers {
  #nowMs: number;
  #wallOffsetMs = 1_700_000_000_000;
  readonly #pending = new Set<Pending>();

  constructor(startMs = 0) {
    this.#nowMs = startMs;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  /** Moves wall time alone, as an operator or NTP would. */
  jumpWall(deltaMs: number): void {
    this.#wallOffsetMs += deltaMs;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.#schedule(delayMs, undefined, run);
  }

  every(periodMs: number, run: () => void): Timer {
    return this.#schedule(periodMs, periodMs, run);
  }

  advance(deltaMs: number): void {
    const end = this.#nowMs + deltaMs;
    for (;;) {
      let next: Pending | undefined;
      for (const entry of this.#pending)
        if (entry.atMs <= end && (next === undefined || entry.atMs < next.atMs)) next = entry;
      if (next === undefined) break;
      this.#nowMs = next.atMs;
      if (next.periodMs === undefined) this.#pending.delete(next);
      else next.atMs += next.periodMs;
      next.run();
    }
    this.#nowMs = end;
  }

  #schedule(delayMs: number, periodMs: number | undefined, run: () => void): Timer {
    const entry: Pending = { atMs: this.#nowMs + delayMs, periodMs, run };
    this.#pending.add(entry);
    const cancel = (): void => void this.#pending.delete(entry);
    return { cancel, [Symbol.dispose]: cancel };
  }
}

export interface LoggedLine {
  readonly level: string;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export function memoryLog(
  lines: LoggedLine[] = [],
  base: Readonly<Record<string, unknown>> = {},
): Log & { readonly lines: LoggedLine[] } {
  const emit =
    (level: string) =>
    (event: string, fields: Readonly<Record<string, unknown>> = {}): void =>
      void lines.push({ level, event, fields: { ...base, ...fields } });
  return {
    lines,
    debug: emit('debug'),
    info: emit('info'),
    warn: emit('warn'),
    error: emit('error'),
    with: (fields) => memoryLog(lines, { ...base, ...fields }),
  };
}

/** Polls until `probe` returns something other than undefined or false; the timeout error carries the last failure. */
export async function waitFor<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 15_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
    } catch (thrown) {
      last = thrown;
    }
    if (performance.now() > deadline)
      throw new Error(`timed out after ${timeoutMs} ms waiting for ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Looks that a count must stand still for: a loaded machine makes each look later, never the sooner. */
const STILL_LOOKS = 20;

/** Waits until something that is held back moves no more: `count` must have begun, and be stuck while it stands. */
export async function standStill(
  what: string,
  count: () => number,
  stuck: () => boolean = () => true,
): Promise<void> {
  let before = count();
  let looks = 0;
  await waitFor(`${what} to stand still`, () => {
    const now = count();
    looks = now > 0 && now === before && stuck() ? looks + 1 : 0;
    before = now;
    return looks >= STILL_LOOKS;
  });
}

/** Deterministic numbers in [0, 1) from a seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
