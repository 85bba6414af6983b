/** A gateway of the simulated cluster: keeps the contract as a careful implementation would. */
import type { HolderHeartbeat, Lease } from '#shared/contracts/leases.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Effect } from '#scheduler/core/events.ts';
import type { SimScheduler, SimVersion } from './actors.ts';
import { Link, type World } from './world.ts';

export interface HeldLease {
  readonly lease: Lease;
  readonly session: string | undefined;
  inFlight: number;
  started: number;
  sent: number;
  revoked: boolean;
  usableUntilMs: number;
}

export class SimGateway {
  readonly id: string;
  readonly link: Link;
  readonly leases = new Map<string, HeldLease>();
  granted = 0;
  /** Ends and restarts as an empty process of the same name. */
  life = 1;
  cancelProbability = 0;
  readonly #world: World;
  readonly #scheduler: SimScheduler;
  /** By version, and session where there is one. */
  readonly #waiting = new Map<string, number>();
  readonly #acquiring = new Set<string>();
  readonly #onGrant: (held: HeldLease) => void;
  readonly #onSend: (held: HeldLease) => void;
  /** Over, and not yet heard of. */
  #closing: HeldLease[] = [];
  #beating = false;

  constructor(
    world: World,
    scheduler: SimScheduler,
    options: { id: string; onGrant: (held: HeldLease) => void; onSend: (held: HeldLease) => void },
  ) {
    this.id = options.id;
    this.#onGrant = options.onGrant;
    this.#onSend = options.onSend;
    this.link = new Link(world);
    this.#world = world;
    this.#scheduler = scheduler;
    world.every(LIMITS.heartbeatMs, () => this.#beat());
  }

  restart(): void {
    this.life += 1;
    this.leases.clear();
    this.#closing = [];
    this.#waiting.clear();
    this.#acquiring.clear();
  }

  request(version: SimVersion, session?: string): void {
    const key = keyOf(version, session);
    for (const held of this.leases.values()) {
      if (held.lease.versionId !== version.id || held.session !== session || !this.#hasRoom(held)) continue;
      return this.#send(held, version);
    }
    this.#waiting.set(key, (this.#waiting.get(key) ?? 0) + 1);
    this.#acquire(version, session);
  }

  #hasRoom(held: HeldLease): boolean {
    const { slots, requests } = held.lease;
    const usable = !held.revoked && held.usableUntilMs > this.#world.nowMs;
    return usable && held.inFlight < slots && (requests === undefined || held.sent < requests);
  }

  #send(held: HeldLease, version: SimVersion): void {
    held.inFlight += 1;
    held.started += 1;
    held.sent += 1;
    this.#onSend(held);
    const durationMs = this.#world.chance(0.05)
      ? this.#world.between(500, 4_000)
      : this.#world.between(1, 100);
    this.#world.after(durationMs, () => {
      held.inFlight -= 1;
      if (this.leases.has(held.lease.leaseId)) this.#serveWaiting(held, version);
    });
  }

  #serveWaiting(held: HeldLease, version: SimVersion): void {
    const key = keyOf(version, held.session);
    let waiting = this.#waiting.get(key) ?? 0;
    while (waiting > 0 && this.#hasRoom(held)) {
      waiting -= 1;
      this.#send(held, version);
    }
    this.#waiting.set(key, waiting);
    if (held.sent === held.lease.requests && held.inFlight === 0) this.#beat();
    this.#acquire(version, held.session);
  }

  #acquire(version: SimVersion, session: string | undefined): void {
    const key = keyOf(version, session);
    const waiting = this.#waiting.get(key) ?? 0;
    if (waiting === 0 || this.#acquiring.has(key)) return;
    this.#acquiring.add(key);
    const requestId = `r${this.#world.integer(0, 2 ** 50)}`;
    const { life } = this;
    const { run } = this.#scheduler;
    let over = false;
    const giveUp = (): void => {
      if (over || life !== this.life) return;
      over = true;
      this.#waiting.set(key, 0);
      this.#acquiring.delete(key);
    };
    const cancel = (leaseId?: string): void => {
      if (this.#scheduler.run === run)
        this.#scheduler.handle({
          type: 'acquireCancelled',
          requestId,
          ...(leaseId === undefined ? {} : { leaseId }),
        });
    };
    const request = {
      holderId: this.id,
      versionId: version.id,
      scaling: version.scaling,
      waiting,
      // Sometimes longer than the function allows, often with less time left than those before it.
      deadlineMs: Math.ceil(version.scaling.queueTimeoutMs * this.#world.between(0.2, 1.2)),
      ...(session === undefined ? {} : { session }),
    };
    this.link.send(() => {
      this.#scheduler.acquire({ type: 'acquire', requestId, request }, (effect) => {
        this.link.send(() => {
          if (over || life !== this.life)
            return cancel(effect.type === 'grant' ? effect.lease.leaseId : undefined);
          over = true;
          this.#answered(version, session, effect);
        }, giveUp);
      });
    }, giveUp);
    if (this.#world.chance(this.cancelProbability))
      this.#world.after(this.#world.between(0, 50), () => {
        if (over) return;
        giveUp();
        this.link.send(() => cancel());
      });
    this.#world.after(request.deadlineMs + 2_000, giveUp);
  }

  #answered(version: SimVersion, session: string | undefined, effect: Effect): void {
    const key = keyOf(version, session);
    this.#acquiring.delete(key);
    if (effect.type !== 'grant') {
      this.#waiting.set(key, 0);
      return;
    }
    this.granted += 1;
    const held: HeldLease = {
      lease: effect.lease,
      session,
      inFlight: 0,
      started: 0,
      sent: 0,
      revoked: false,
      usableUntilMs: this.#world.nowMs + effect.lease.ttlMs,
    };
    this.leases.set(effect.lease.leaseId, held);
    this.#onGrant(held);
    this.#serveWaiting(held, version);
  }

  /** Gives back what is over; a lease with a budget is kept to be reported. */
  #dropOver(): void {
    for (const [leaseId, held] of this.leases) {
      const { requests } = held.lease;
      const expired = held.usableUntilMs <= this.#world.nowMs;
      const over = held.revoked || expired || (requests !== undefined && held.sent >= requests);
      if (held.inFlight > 0 || !over) continue;
      this.leases.delete(leaseId);
      if (requests !== undefined) this.#closing.push(held);
    }
  }

  #report(): HolderHeartbeat['leases'] {
    const named = [...this.leases.values()].map((held) => ({
      leaseId: held.lease.leaseId,
      inFlight: held.inFlight,
      started: held.started,
      ...(held.session === undefined ? {} : { session: held.session }),
    }));
    const closing = this.#closing.map((held) => ({
      leaseId: held.lease.leaseId,
      inFlight: 0,
      started: held.started,
      sent: held.sent,
      done: true as const,
    }));
    return [...named, ...closing];
  }

  #beat(): void {
    this.#dropOver();
    if (this.#beating) return;
    this.#beating = true;
    const { life } = this;
    const sentAtMs = this.#world.nowMs;
    const heartbeat: HolderHeartbeat = { leases: this.#report() };
    const named = [...this.leases.values()];
    const closing = [...this.#closing];
    for (const held of [...named, ...closing]) held.started = 0;
    const done = (): void => void (this.#beating = false);
    this.link.send(() => {
      const effects = this.#scheduler.handle({ type: 'gatewayHeartbeat', gatewayId: this.id, heartbeat });
      const reply = effects.find((effect) => effect.type === 'gatewayReply');
      this.link.send(() => {
        done();
        if (life !== this.life || reply === undefined) return;
        this.#closing = this.#closing.filter((held) => !closing.includes(held));
        for (const held of named) {
          if (reply.revoked.includes(held.lease.leaseId)) held.revoked = true;
          else held.usableUntilMs = sentAtMs + held.lease.ttlMs;
        }
      }, done);
    }, done);
  }
}

function keyOf(version: SimVersion, session: string | undefined): string {
  return session === undefined ? version.id : `${version.id} ${session}`;
}
