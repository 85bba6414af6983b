/** A request's place on a held lease. */
import type { Lease } from '../contracts/leases.ts';
import type { HeldLease, VersionPool } from './pool.ts';
import type { Permit } from './ports.ts';

export class HeldPermit implements Permit {
  readonly coldStart: boolean;
  readonly #left: (pool: VersionPool, held: HeldLease, sent: boolean) => void;
  readonly #pool: VersionPool;
  readonly #held: HeldLease;
  #released = false;

  // oxlint-disable-next-line max-params -- made once per request: an options object would cost an allocation
  constructor(
    left: (pool: VersionPool, held: HeldLease, sent: boolean) => void,
    pool: VersionPool,
    held: HeldLease,
    coldStart: boolean,
  ) {
    this.#left = left;
    this.#pool = pool;
    this.#held = held;
    this.coldStart = coldStart;
  }

  get lease(): Lease {
    return this.#held.lease;
  }

  inFlight(): number {
    return this.#held.inFlight;
  }

  again(): boolean {
    return this.#pool.again(this.#held);
  }

  release(sent = true): void {
    if (this.#released) return;
    this.#released = true;
    this.#left(this.#pool, this.#held, sent);
  }

  lost(): void {
    this.#pool.lost(this.#held);
  }
}
