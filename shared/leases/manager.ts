/**
 * Carries out what the pools decide: acquires from the scheduler, heartbeats, deadlines of those who wait.
 *
 * A lease that nobody used for KEEP_MS is given back by leaving it out of the heartbeat, so that the
 * scheduler's idle timer sees when a function is really idle. The instance stays warm; the next request
 * pays one call to the scheduler, under a millisecond on one machine, never a start.
 *
 * Without the scheduler the leases in hand stay good past their end, until their instances refuse:
 * serving on is better than failing. A request that needs a new one waits SCHEDULER_WAIT_MS for its return.
 */
import type { AcquireRequest, GatewayHeartbeat, GatewayHeartbeatReply, Lease } from '../contracts/leases.ts';
import { PlatformError } from '../errors.ts';
import type { VersionId } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Timer, Timers } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import { LRUCache } from 'lru-cache';
import { VersionPool, type HeldLease, type Waiter } from './pool.ts';
import type { Admitted, Leasable, LeaseSource, Permit } from './ports.ts';

export type AcquireOutcome =
  | { readonly kind: 'lease'; readonly lease: Lease }
  | { readonly kind: 'refused'; readonly error: PlatformError }
  /** Nobody answered. */
  | { readonly kind: 'unavailable'; readonly error: unknown };

/** Conversation of shared/contracts/leases.ts. */
export interface SchedulerPort {
  acquire(request: Omit<AcquireRequest, 'gatewayId'>): Promise<AcquireOutcome>;
  /** undefined: nobody answered. */
  heartbeat(report: GatewayHeartbeat): Promise<GatewayHeartbeatReply | undefined>;
}

export interface LeaseSourceOptions {
  readonly scheduler: SchedulerPort;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

const KEEP_MS = 2_000;
const SCHEDULER_WAIT_MS = 2_000;
const ACQUIRE_RETRY_MS = 100;
/** How often deadlines of waiting requests are looked at. */
const EXPIRE_TICK_MS = 10;
/** Instances this holder has met, to tell a cold start from a lease on a warm instance. */
const INSTANCES_REMEMBERED_MAX = 10_000;
const RETRY_AFTER_MS = 1_000;
/** Refusals that a slot of a held lease may still outlive. */
const SURVIVABLE: ReadonlySet<string> = new Set([
  'no_capacity',
  'queue_timeout',
  'queue_full',
  'scheduler_unavailable',
]);

export interface LeaseCounts {
  readonly leases: number;
  readonly waiting: number;
}

export class LeaseManager implements LeaseSource {
  readonly #options: LeaseSourceOptions;
  readonly #pools = new Map<VersionId, VersionPool>();
  /** Pools in which somebody waits. */
  readonly #queued = new Set<VersionPool>();
  readonly #instancesMet = new LRUCache<string, true>({ max: INSTANCES_REMEMBERED_MAX });
  #expireTimer: Timer | undefined;
  readonly #heartbeatTimer: Timer;
  #beating = false;
  #closed = false;

  constructor(options: LeaseSourceOptions) {
    this.#options = options;
    this.#heartbeatTimer = options.timers.every(LIMITS.heartbeatMs, () => void this.#heartbeat());
  }

  admit(version: Leasable, waiting: { cancel?: () => void }): Admitted | Promise<Admitted> {
    let pool = this.#pools.get(version.id);
    if (pool === undefined) {
      pool = new VersionPool(version.scaling);
      this.#pools.set(version.id, pool);
    }
    const entering = pool;
    let settle: (admitted: Admitted) => void = () => undefined;
    let waiter: Waiter | undefined;
    const entered = pool.enter(() => {
      waiter = this.#waiter(entering, (admitted) => settle(admitted));
      return waiter;
    });
    switch (entered.kind) {
      case 'admitted':
        return { kind: 'admitted', permit: new HeldPermit(this.#options.clock, pool, entered.held, false) };
      case 'full':
        return {
          kind: 'refused',
          error: new PlatformError('queue_full', `${pool.waiting} requests wait for ${version.id}`, {
            retryAfterMs: RETRY_AFTER_MS,
          }),
        };
      case 'waiting':
        return new Promise((resolve) => {
          settle = resolve;
          waiting.cancel = () => {
            if (waiter !== undefined) entering.cancel(waiter);
            resolve({ kind: 'cancelled' });
          };
          this.#queued.add(entering);
          this.#expireTimer ??= this.#options.timers.every(EXPIRE_TICK_MS, () => this.#expire());
          this.#acquire(entering, version.id);
        });
    }
  }

  counts(): LeaseCounts {
    let leases = 0;
    let waiting = 0;
    for (const pool of this.#pools.values()) {
      leases += pool.held.length;
      waiting += pool.waiting;
    }
    return { leases, waiting };
  }

  /** Gives all leases back. Requests in flight go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#heartbeatTimer.cancel();
    this.#expireTimer?.cancel();
    const error = new PlatformError('scheduler_unavailable', 'the holder of the leases stops', {
      retryAfterMs: RETRY_AFTER_MS,
    });
    for (const pool of this.#pools.values()) pool.refuseAll(error);
    await this.#options.scheduler.heartbeat({ leases: [] });
  }

  #waiter(pool: VersionPool, settle: (admitted: Admitted) => void): Waiter {
    return {
      deadlineMs: this.#options.clock.monotonicMs() + pool.scaling.queueTimeoutMs,
      admit: (held, started) =>
        settle({ kind: 'admitted', permit: new HeldPermit(this.#options.clock, pool, held, started) }),
      refuse: (error) =>
        settle({
          kind: 'refused',
          error:
            error === 'queue_timeout'
              ? new PlatformError('queue_timeout', 'no slot became free in time', {
                  retryAfterMs: RETRY_AFTER_MS,
                })
              : error,
        }),
    };
  }

  #acquire(pool: VersionPool, id: VersionId): void {
    const wanted = pool.startAcquire();
    if (wanted !== undefined && !this.#closed) void this.#acquireUntilServed(pool, id, wanted);
  }

  /** One acquire after the other while somebody waits. */
  async #acquireUntilServed(
    pool: VersionPool,
    id: VersionId,
    first: { readonly waiting: number; readonly deadlineMs: number },
  ): Promise<void> {
    const { clock, scheduler, timers, log } = this.#options;
    let wanted: typeof first | undefined = first;
    let silentSinceMs: number | undefined;
    while (wanted !== undefined && !this.#closed) {
      const outcome = await scheduler.acquire({
        versionId: id,
        scaling: pool.scaling,
        waiting: wanted.waiting,
        deadlineMs: Math.max(1, Math.ceil(wanted.deadlineMs - clock.monotonicMs())),
      });
      pool.endAcquire();
      if (outcome.kind === 'lease') {
        silentSinceMs = undefined;
        this.#granted(pool, outcome.lease);
      } else {
        if (outcome.kind === 'unavailable') {
          silentSinceMs ??= clock.monotonicMs();
          log.warn('scheduler_unavailable', { version: id, error: outcome.error });
        }
        this.#refuse(pool, outcome, silentSinceMs);
        if (pool.waiting > 0) await new Promise<void>((resolve) => timers.after(ACQUIRE_RETRY_MS, resolve));
      }
      wanted = pool.startAcquire();
    }
  }

  #granted(pool: VersionPool, lease: Lease): void {
    const fresh = !this.#instancesMet.has(lease.instanceId);
    this.#instancesMet.set(lease.instanceId, true);
    pool.granted(lease, fresh, this.#options.clock.monotonicMs());
  }

  #refuse(
    pool: VersionPool,
    outcome: Exclude<AcquireOutcome, { kind: 'lease' }>,
    silentSinceMs: number | undefined,
  ): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (outcome.kind === 'unavailable') {
      if (pool.usable > 0 || nowMs - (silentSinceMs ?? nowMs) < SCHEDULER_WAIT_MS) return;
      pool.refuseAll(
        new PlatformError('scheduler_unavailable', 'the scheduler does not answer', {
          cause: outcome.error,
          retryAfterMs: RETRY_AFTER_MS,
        }),
      );
      return;
    }
    // The scheduler's wait ended with that of the oldest request; younger ones have time left.
    if (outcome.error.code === 'queue_timeout') return pool.expire(nowMs + ACQUIRE_RETRY_MS);
    if (pool.usable > 0 && SURVIVABLE.has(outcome.error.code)) return;
    pool.refuseAll(outcome.error);
  }

  #expire(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const pool of this.#queued) {
      pool.expire(nowMs);
      if (pool.waiting === 0) this.#queued.delete(pool);
    }
    if (this.#queued.size > 0) return;
    this.#expireTimer?.cancel();
    this.#expireTimer = undefined;
  }

  async #heartbeat(): Promise<void> {
    // One at a time: a late reply must not be mistaken for the answer to a newer report.
    if (this.#beating) return;
    this.#beating = true;
    try {
      const beforeMs = this.#options.clock.monotonicMs() - KEEP_MS;
      const leases: GatewayHeartbeat['leases'] = [];
      for (const [id, pool] of this.#pools) {
        pool.releaseIdle(beforeMs);
        for (const held of pool.held) {
          leases.push({ leaseId: held.lease.leaseId, inFlight: held.inFlight, started: held.started });
          held.started = 0;
        }
        if (pool.empty) this.#pools.delete(id);
      }
      const reply = await this.#options.scheduler.heartbeat({ leases });
      if (reply === undefined || reply.revoked.length === 0) return;
      const revoked = new Set(reply.revoked);
      for (const [id, pool] of this.#pools) {
        pool.drain(revoked);
        if (pool.waiting > 0) this.#acquire(pool, id);
      }
    } finally {
      this.#beating = false;
    }
  }
}

class HeldPermit implements Permit {
  readonly coldStart: boolean;
  readonly #clock: Clock;
  readonly #pool: VersionPool;
  readonly #held: HeldLease;
  #released = false;

  // oxlint-disable-next-line max-params -- made once per request: an options object would cost an allocation
  constructor(clock: Clock, pool: VersionPool, held: HeldLease, coldStart: boolean) {
    this.#clock = clock;
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

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#pool.left(this.#held, this.#clock.monotonicMs());
  }

  lost(): void {
    this.#pool.lost(this.#held);
  }
}
