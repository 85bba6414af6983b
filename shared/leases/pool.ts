/**
 * Requests and leases of one version: who may go now, who waits, who is refused. No clock, no I/O: the
 * driver (manager.ts) passes the time in and carries the effects out.
 *
 * Held leases need no call. When all their slots are taken a request waits, first come, first served; one
 * acquire at a time is outstanding for all that wait.
 *
 * A cold version takes one request beyond `queueDepth`: the one an instance is being started for would
 * otherwise be refused where no queue is wanted.
 *
 * With isolation `session` there is one pool for each session. A lease with a budget takes no request beyond
 * it; when its last one is over, or it is given up, the scheduler must hear how many were sent (takeClosing).
 *
 * Must hold: in flight ≤ slots and sent ≤ requests on every lease; waiting ≤ queueDepth (+1 cold).
 */
import type { Scaling } from '../contracts/config.ts';
import type { Lease } from '../contracts/leases.ts';
import type { PlatformError } from '../errors.ts';
import type { VersionId } from '../ids.ts';

export interface HeldLease {
  readonly lease: Lease;
  inFlight: number;
  /** Requests sent since the last heartbeat: short ones are never seen in flight. */
  started: number;
  /** In all. */
  sent: number;
  /** Takes no new request: revoked by the scheduler, or its instance does not answer. */
  draining: boolean;
  /** The instance was unknown to this holder before. */
  readonly fresh: boolean;
  lastUsedMs: number;
}

export interface Waiter {
  readonly deadlineMs: number;
  /** Called once, never from within {@link VersionPool.enter}. */
  readonly admit: (held: HeldLease, started: boolean) => void;
  readonly refuse: (error: PlatformError | 'queue_timeout') => void;
}

export type Entered =
  | { readonly kind: 'admitted'; readonly held: HeldLease }
  | { readonly kind: 'waiting' | 'full' };

/** What a pool's leases are for. */
export interface PoolSubject {
  readonly id: VersionId;
  readonly scaling: Scaling;
  readonly session?: string | undefined;
}

export class VersionPool {
  readonly id: VersionId;
  readonly scaling: Scaling;
  readonly session: string | undefined;
  #held: HeldLease[] = [];
  #closing: HeldLease[] = [];
  #givenBack: Lease[] = [];
  /** In order of arrival, which is the order of deadlines: the wait is the same for all. */
  readonly #waiting = new Set<Waiter>();
  #acquiring = false;

  constructor({ id, scaling, session }: PoolSubject) {
    this.id = id;
    this.scaling = scaling;
    this.session = session;
  }

  get held(): readonly HeldLease[] {
    return this.#held;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  get usable(): number {
    return this.#held.reduce((count, held) => count + (isOver(held) ? 0 : 1), 0);
  }

  get empty(): boolean {
    return this.#held.length + this.#closing.length === 0 && this.#waiting.size === 0 && !this.#acquiring;
  }

  /** Takes a slot, or a place in the queue. `makeWaiter` runs only when the request must wait. */
  enter(makeWaiter: () => Waiter): Entered {
    const held = this.#waiting.size === 0 ? this.#pick() : undefined;
    if (held !== undefined) {
      take(held);
      return { kind: 'admitted', held };
    }
    const depth = this.scaling.queueDepth + (this.usable === 0 ? 1 : 0);
    if (this.#waiting.size >= depth) return { kind: 'full' };
    this.#waiting.add(makeWaiter());
    return { kind: 'waiting' };
  }

  /** The client went, so its place is free. */
  cancel(waiter: Waiter): void {
    this.#waiting.delete(waiter);
  }

  /** Asks for an acquire when somebody waits and none is outstanding; the caller must report its end. */
  startAcquire(): { readonly waiting: number; readonly deadlineMs: number } | undefined {
    const oldest = this.#oldest();
    if (this.#acquiring || oldest === undefined) return undefined;
    this.#acquiring = true;
    return { waiting: this.#waiting.size, deadlineMs: oldest.deadlineMs };
  }

  endAcquire(): void {
    this.#acquiring = false;
  }

  /** A lease arrived. Requests that waited while its instance started are told so. */
  granted(lease: Lease, fresh: boolean, nowMs: number): void {
    const held: HeldLease = {
      lease,
      inFlight: 0,
      started: 0,
      sent: 0,
      draining: false,
      fresh,
      lastUsedMs: nowMs,
    };
    this.#held.push(held);
    this.#admitWaiting(fresh ? held : undefined);
  }

  /** An exchange carries one more request. False: there is no budget for it. */
  again(held: HeldLease): boolean {
    const { requests } = held.lease;
    if (requests !== undefined && held.sent >= requests) return false;
    held.started += 1;
    held.sent += 1;
    return true;
  }

  /** An exchange is over. @param sent - false: its instance got nothing of it. */
  left(held: HeldLease, nowMs: number, sent: boolean): void {
    held.inFlight -= 1;
    if (!sent) {
      held.sent -= 1;
      // A heartbeat may have told of it.
      held.started = Math.max(0, held.started - 1);
    }
    held.lastUsedMs = nowMs;
    if (isOver(held)) this.#dropOver();
    else if (this.#waiting.size > 0) this.#admitWaiting(undefined);
  }

  /** No new requests on these leases; unknown ids are ignored. */
  drain(leaseIds: ReadonlySet<string>): void {
    for (const held of this.#held) if (leaseIds.has(held.lease.leaseId)) held.draining = true;
    this.#dropOver();
  }

  /** Leases with a budget that are over: to be reported as done, until a report was answered. */
  takeClosing(): readonly HeldLease[] {
    const closing = this.#closing;
    this.#closing = [];
    return closing;
  }

  /** Leases without a budget that were given back since the last call, and were good. */
  takeGivenBack(): readonly Lease[] {
    const givenBack = this.#givenBack;
    this.#givenBack = [];
    return givenBack;
  }

  /** Nothing can be reached there any more; its exchanges end by themselves. */
  lost(held: HeldLease): void {
    held.draining = true;
    this.#held = this.#held.filter((other) => other !== held);
  }

  /** Gives back leases that nobody used since `beforeMs`. */
  releaseIdle(beforeMs: number): void {
    if (this.#held.some((held) => held.inFlight === 0 && held.lastUsedMs < beforeMs))
      this.#keep((held) => held.inFlight > 0 || held.lastUsedMs >= beforeMs);
  }

  /** Refuses who has waited too long. */
  expire(nowMs: number): void {
    for (const waiter of this.#waiting) {
      if (waiter.deadlineMs > nowMs) return;
      this.#waiting.delete(waiter);
      waiter.refuse('queue_timeout');
    }
  }

  /** Nobody who waits now will be served. */
  refuseAll(error: PlatformError): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const waiter of waiting) waiter.refuse(error);
  }

  /** Least in flight, so that load spreads over instances; ties go to the older lease. */
  #pick(): HeldLease | undefined {
    let best: HeldLease | undefined;
    for (const held of this.#held)
      if (
        !isOver(held) &&
        held.inFlight < held.lease.slots &&
        (best === undefined || held.inFlight < best.inFlight)
      )
        best = held;
    return best;
  }

  #oldest(): Waiter | undefined {
    for (const waiter of this.#waiting) return waiter;
    return undefined;
  }

  #admitWaiting(started: HeldLease | undefined): void {
    for (const waiter of this.#waiting) {
      const held = this.#pick();
      if (held === undefined) return;
      take(held);
      this.#waiting.delete(waiter);
      waiter.admit(held, held === started);
    }
  }

  #dropOver(): void {
    this.#keep((held) => !isOver(held) || held.inFlight > 0);
  }

  #keep(wanted: (held: HeldLease) => boolean): void {
    for (const held of this.#held)
      if (!wanted(held)) {
        if (held.lease.requests !== undefined) this.#closing.push(held);
        else if (!held.draining && this.session === undefined) this.#givenBack.push(held.lease);
      }
    this.#held = this.#held.filter(wanted);
  }
}

/** It takes no further request. */
function isOver({ draining, lease, sent }: HeldLease): boolean {
  return draining || (lease.requests !== undefined && sent >= lease.requests);
}

function take(held: HeldLease): void {
  held.inFlight += 1;
  held.started += 1;
  held.sent += 1;
}
