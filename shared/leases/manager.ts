/**
 * Carries out what the pools decide: acquires from the scheduler, heartbeats, deadlines of those who wait.
 *
 * A lease that nobody used for KEEP_MS is given back by leaving it out of the heartbeat, so that the
 * scheduler's idle timer sees when a function is really idle. The instance stays warm; the next request
 * pays one call to the scheduler, under a millisecond on one machine, never a start.
 *
 * A lease with a budget is given back by a report of what was sent on it, at once when the budget is used up:
 * somebody may wait for the place of its instance.
 *
 * Without the scheduler the leases in hand stay good past their end, until their instances refuse, and those
 * that were given back are used again (given-back.ts): serving on is better than failing. A request for which
 * there is none waits SCHEDULER_WAIT_MS for its return.
 */
import type { AcquireRequest, HolderHeartbeat, HolderHeartbeatReply, Lease } from '../contracts/leases.ts';
import { PlatformError } from '../errors.ts';
import type { VersionId } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Timer, Timers } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import { LRUCache } from 'lru-cache';
import { GivenBack } from './given-back.ts';
import { HeldPermit, type PermitEvents } from './permit.ts';
import { VersionPool, type HeldLease, type Waiter } from './pool.ts';
import type { Admitted, Leasable, LeaseSource } from './ports.ts';

export type AcquireOutcome =
  | { readonly kind: 'lease'; readonly lease: Lease }
  | { readonly kind: 'refused'; readonly error: PlatformError }
  /** Nobody answered. */
  | { readonly kind: 'unavailable'; readonly error: unknown };

/** Conversation of shared/contracts/leases.ts. */
export interface SchedulerPort {
  acquire(request: Omit<AcquireRequest, 'holderId'>): Promise<AcquireOutcome>;
  /** undefined: nobody answered. */
  heartbeat(report: HolderHeartbeat): Promise<HolderHeartbeatReply | undefined>;
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
  /** By version id, and session where there is one. */
  readonly #pools = new Map<string, VersionPool>();
  /** Pools of sessions in `#queued`, by version. */
  readonly #sessionsQueued = new Map<VersionId, number>();
  /** Leases with a budget that are over, and not yet known to be heard of. */
  #closing: HeldLease[] = [];
  /** Leases whose instances do not listen any more, by id, and not yet known to be heard of. */
  readonly #lost = new Map<string, HolderHeartbeat['leases'][number]>();
  /** Pools in which somebody waits. */
  readonly #queued = new Set<VersionPool>();
  readonly #instancesMet = new LRUCache<string, true>({ max: INSTANCES_REMEMBERED_MAX });
  readonly #givenBack = new GivenBack();
  /** The scheduler did not answer the last time. */
  #silent = false;
  #expireTimer: Timer | undefined;
  readonly #heartbeatTimer: Timer;
  #beating = false;
  #beatAgain = false;
  #closed = false;

  constructor(options: LeaseSourceOptions) {
    this.#options = options;
    this.#heartbeatTimer = options.timers.every(LIMITS.heartbeatMs, () => void this.#heartbeat());
  }

  admit(version: Leasable, waiting: { cancel?: () => void }, session?: string): Admitted | Promise<Admitted> {
    // Nothing would end the wait of who comes now.
    if (this.#closed) return { kind: 'refused', error: closing() };
    const key = session === undefined ? version.id : `${version.id} ${session}`;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      if (session !== undefined && this.#sessionsFull(version)) return queueFull(`sessions of ${version.id}`);
      pool = new VersionPool({ ...version, session });
      this.#pools.set(key, pool);
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
        return { kind: 'admitted', permit: this.#permit(pool, entered.held, false) };
      case 'full':
        return queueFull(`${pool.waiting} requests wait for ${version.id}`);
      case 'waiting':
        return new Promise((resolve) => {
          settle = resolve;
          waiting.cancel = () => {
            if (waiter !== undefined) entering.cancel(waiter);
            resolve({ kind: 'cancelled' });
          };
          this.#enqueue(entering);
          this.#expireTimer ??= this.#options.timers.every(EXPIRE_TICK_MS, () => this.#expire());
          this.#recall(entering);
          this.#acquire(entering);
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
    const error = closing();
    for (const pool of this.#pools.values()) {
      pool.refuseAll(error);
      pool.releaseIdle(Number.POSITIVE_INFINITY);
      this.#closing.push(...pool.takeClosing());
    }
    await this.#options.scheduler.heartbeat({ leases: this.#closing.map(doneReport) });
  }

  /** As many sessions may wait here as requests may wait for one pool, beside those that get an instance. */
  #sessionsFull({ id, scaling }: Leasable): boolean {
    return (this.#sessionsQueued.get(id) ?? 0) >= scaling.queueDepth + scaling.maxInstances;
  }

  #enqueue(pool: VersionPool): void {
    if (pool.session !== undefined && !this.#queued.has(pool))
      this.#sessionsQueued.set(pool.id, (this.#sessionsQueued.get(pool.id) ?? 0) + 1);
    this.#queued.add(pool);
  }

  #dequeue(pool: VersionPool): void {
    if (!this.#queued.delete(pool) || pool.session === undefined) return;
    const others = (this.#sessionsQueued.get(pool.id) ?? 1) - 1;
    if (others > 0) this.#sessionsQueued.set(pool.id, others);
    else this.#sessionsQueued.delete(pool.id);
  }

  #permit(pool: VersionPool, held: HeldLease, coldStart: boolean): HeldPermit {
    return new HeldPermit(this.#permitEvents, pool, held, coldStart);
  }

  readonly #permitEvents: PermitEvents = {
    left: (pool, held, sent) => {
      pool.left(held, this.#options.clock.monotonicMs(), sent);
      const { requests } = held.lease;
      if (requests !== undefined && held.sent >= requests && held.inFlight === 0) void this.#heartbeat();
    },
    lost: (pool, held) => {
      pool.lost(held);
      const { leaseId } = held.lease;
      if (this.#lost.has(leaseId)) return;
      // The scheduler should not send the next one there.
      this.#lost.set(leaseId, { leaseId, inFlight: held.inFlight, started: held.started, lost: true });
      void this.#heartbeat();
    },
  };

  #waiter(pool: VersionPool, settle: (admitted: Admitted) => void): Waiter {
    return {
      deadlineMs: this.#options.clock.monotonicMs() + pool.scaling.queueTimeoutMs,
      admit: (held, started) => settle({ kind: 'admitted', permit: this.#permit(pool, held, started) }),
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

  #acquire(pool: VersionPool): void {
    const wanted = pool.startAcquire();
    if (wanted !== undefined && !this.#closed) void this.#acquireUntilServed(pool, wanted);
  }

  /** One acquire after the other while somebody waits. */
  async #acquireUntilServed(
    pool: VersionPool,
    first: { readonly waiting: number; readonly deadlineMs: number },
  ): Promise<void> {
    const { clock, scheduler, timers } = this.#options;
    let wanted: typeof first | undefined = first;
    let silentSinceMs: number | undefined;
    while (wanted !== undefined && !this.#closed) {
      const outcome = await scheduler.acquire({
        versionId: pool.id,
        scaling: pool.scaling,
        ...(pool.session === undefined ? {} : { session: pool.session }),
        waiting: wanted.waiting,
        deadlineMs: Math.max(1, Math.ceil(wanted.deadlineMs - clock.monotonicMs())),
      });
      pool.endAcquire();
      if (outcome.kind === 'lease') {
        silentSinceMs = undefined;
        this.#granted(pool, outcome.lease);
      } else {
        if (outcome.kind === 'unavailable') silentSinceMs ??= clock.monotonicMs();
        this.#refuse(pool, outcome, silentSinceMs);
        if (pool.waiting > 0) await new Promise<void>((resolve) => timers.after(ACQUIRE_RETRY_MS, resolve));
      }
      wanted = pool.startAcquire();
    }
  }

  #granted(pool: VersionPool, lease: Lease): void {
    const fresh = lease.warm !== true && !this.#instancesMet.has(lease.instanceId);
    this.#instancesMet.set(lease.instanceId, true);
    this.#givenBack.forget(pool.id, lease.instanceId);
    pool.granted(lease, fresh, this.#options.clock.monotonicMs());
  }

  /** Said once for all who ask while it lasts. */
  #missed(error: unknown): void {
    if (!this.#silent) this.#options.log.warn('scheduler_unavailable', { error });
    this.#silent = true;
    for (const pool of this.#queued) this.#recall(pool);
  }

  /** While the scheduler is silent: leases that were given back, as long as somebody waits. */
  #recall(pool: VersionPool): void {
    while (this.#silent && pool.session === undefined && pool.waiting > 0) {
      const lease = this.#givenBack.take(pool);
      if (lease === undefined) return;
      pool.granted(lease, false, this.#options.clock.monotonicMs());
    }
  }

  #refuse(
    pool: VersionPool,
    outcome: Exclude<AcquireOutcome, { kind: 'lease' }>,
    silentSinceMs: number | undefined,
  ): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (outcome.kind === 'unavailable') {
      this.#missed(outcome.error);
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
      if (pool.waiting === 0) this.#dequeue(pool);
    }
    if (this.#queued.size > 0) return;
    this.#expireTimer?.cancel();
    this.#expireTimer = undefined;
  }

  async #heartbeat(): Promise<void> {
    // One at a time: a late reply must not be mistaken for the answer to a newer report.
    if (this.#beating) {
      this.#beatAgain = true;
      return;
    }
    this.#beating = true;
    try {
      do {
        this.#beatAgain = false;
        await this.#beat();
      } while (this.#beatAgain && !this.#closed);
    } finally {
      this.#beating = false;
    }
  }

  async #beat(): Promise<void> {
    const leases = this.#report();
    const closing = this.#closing;
    const lost = [...this.#lost.keys()];
    const reply = await this.#options.scheduler.heartbeat({ leases });
    if (reply === undefined) return this.#missed('no answer to a heartbeat');
    if (this.#silent) this.#options.log.info('scheduler_answers', {});
    this.#silent = false;
    // Heard. A report that got no answer may have been heard too; repeating it changes nothing.
    this.#closing = this.#closing.filter((held) => !closing.includes(held));
    for (const leaseId of lost) this.#lost.delete(leaseId);
    if (reply.revoked.length === 0) return;
    const revoked = new Set(reply.revoked);
    for (const pool of this.#pools.values()) {
      pool.drain(revoked);
      if (pool.waiting > 0) this.#acquire(pool);
    }
  }

  #report(): HolderHeartbeat['leases'] {
    const beforeMs = this.#options.clock.monotonicMs() - KEEP_MS;
    const leases: HolderHeartbeat['leases'] = [];
    const closing = [...this.#closing];
    for (const [key, pool] of this.#pools) {
      pool.releaseIdle(beforeMs);
      closing.push(...pool.takeClosing());
      for (const lease of pool.takeGivenBack()) this.#givenBack.add(pool.id, lease);
      for (const held of pool.held) {
        const { leaseId, requests } = held.lease;
        leases.push({
          leaseId,
          inFlight: held.inFlight,
          started: held.started,
          ...(requests === undefined ? {} : { sent: held.sent }),
          ...(pool.session === undefined ? {} : { session: pool.session }),
        });
        held.started = 0;
      }
      if (pool.empty) this.#pools.delete(key);
    }
    this.#closing = closing;
    leases.push(...closing.map(doneReport));
    leases.push(...this.#lost.values());
    return leases;
  }
}

function doneReport(held: HeldLease): HolderHeartbeat['leases'][number] {
  const { started, sent } = held;
  held.started = 0;
  return { leaseId: held.lease.leaseId, inFlight: 0, started, sent, done: true };
}

function closing(): PlatformError {
  return new PlatformError('scheduler_unavailable', 'the holder of the leases stops', {
    retryAfterMs: RETRY_AFTER_MS,
  });
}

function queueFull(operatorDetail: string): Admitted {
  return {
    kind: 'refused',
    error: new PlatformError('queue_full', operatorDetail, { retryAfterMs: RETRY_AFTER_MS }),
  };
}
