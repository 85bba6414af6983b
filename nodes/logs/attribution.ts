/**
 * Which request an exception of the runtime belongs to. workerd writes it on stderr without saying; who carried
 * the request says so a moment later, or earlier. They are brought together in the order in which they came:
 * where several requests broke at once, what is said of them is alike.
 */
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import type { ParsedLine } from './parse.ts';

/** Longer than holders of leases wait for the end of an instance before they say that it lives. */
const WAIT_MS = 1_000;
/** Waiting at once, of either sort; the oldest goes out alone. */
const WAITING_MAX = 64;

/** What a request's owner reads when workerd said nothing. */
const UNSAID =
  'The runtime ended the request without an answer of the function: its response could not be sent, or its body broke off.';

interface Waiting<T> {
  readonly value: T;
  readonly sinceMs: number;
}

export class Attribution {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #add: (parsed: ParsedLine) => void;
  readonly #lines: Waiting<ParsedLine>[] = [];
  readonly #requests: Waiting<string>[] = [];
  #timer: Timer | undefined;

  constructor(clock: Clock, timers: Timers, add: (parsed: ParsedLine) => void) {
    this.#clock = clock;
    this.#timers = timers;
    this.#add = add;
  }

  line(parsed: ParsedLine): void {
    const request = this.#requests.shift();
    if (request !== undefined) return this.#add({ ...parsed, requestId: request.value });
    if (this.#lines.length >= WAITING_MAX) this.#oldestLine();
    this.#lines.push(this.#wait(parsed));
  }

  request(requestId: string): void {
    const line = this.#lines.shift();
    if (line !== undefined) return this.#add({ ...line.value, requestId });
    if (this.#requests.length >= WAITING_MAX) this.#oldestRequest();
    this.#requests.push(this.#wait(requestId));
  }

  /** Nothing is waited for any more. */
  end(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    while (this.#lines.length > 0) this.#oldestLine();
    while (this.#requests.length > 0) this.#oldestRequest();
  }

  #wait<T>(value: T): Waiting<T> {
    this.#timer ??= this.#timers.after(WAIT_MS, () => this.#expire());
    return { value, sinceMs: this.#clock.monotonicMs() };
  }

  #expire(): void {
    this.#timer = undefined;
    const oldestMs = this.#clock.monotonicMs() - WAIT_MS;
    while ((this.#lines[0]?.sinceMs ?? Infinity) <= oldestMs) this.#oldestLine();
    while ((this.#requests[0]?.sinceMs ?? Infinity) <= oldestMs) this.#oldestRequest();
    const nextMs = Math.min(this.#lines[0]?.sinceMs ?? Infinity, this.#requests[0]?.sinceMs ?? Infinity);
    if (nextMs < Infinity)
      this.#timer = this.#timers.after(Math.max(1, nextMs - oldestMs), () => this.#expire());
  }

  #oldestLine(): void {
    const line = this.#lines.shift();
    if (line !== undefined) this.#add(line.value);
  }

  #oldestRequest(): void {
    const request = this.#requests.shift();
    if (request !== undefined)
      this.#add({ kind: 'exception', level: 'error', message: UNSAID, requestId: request.value });
  }
}
