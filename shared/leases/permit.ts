/** A request's place on a held lease. */
import type { Lease } from '../contracts/leases.ts';
import type { HeldLease, VersionPool } from './pool.ts';
import type { Permit } from './ports.ts';

export interface PermitEvents {
  readonly left: (pool: VersionPool, held: HeldLease, sent: boolean) => void;
  readonly lost: (pool: VersionPool, held: HeldLease) => void;
}

export class HeldPermit implements Permit {
  readonly coldStart: boolean;
  readonly #events: PermitEvents;
  readonly #pool: VersionPool;
  readonly #held: HeldLease;
  #released = false;

  // oxlint-disable-next-line max-params -- made once per request: an options object would cost an allocation
  constructor(events: PermitEvents, pool: VersionPool, held: HeldLease, coldStart: boolean) {
    this.#events = events;
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
    this.#events.left(this.#pool, this.#held, sent);
  }

  lost(): void {
    this.#events.lost(this.#pool, this.#held);
  }
}
