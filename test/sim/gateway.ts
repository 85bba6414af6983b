/**
 * A gateway of the simulated cluster: the real LeaseManager on the world's time, between the scheduler over a
 * link that may fail and requests that behave as those of gateway/invoke.ts do.
 */
import type { HolderHeartbeat, HolderHeartbeatReply, Lease } from '#shared/contracts/leases.ts';
import { PlatformError } from '#shared/errors.ts';
import { LeaseManager, type AcquireOutcome, type SchedulerPort } from '#shared/leases/manager.ts';
import type { Admitted, Permit } from '#shared/leases/ports.ts';
import { memoryLog } from '#shared/testing/fakes.ts';
import type { Effect } from '#scheduler/core/events.ts';
import type { SimNode, SimScheduler, SimVersion } from './actors.ts';
import { Link, Violation, type World } from './world.ts';

/** As shared/leases/clients.node.ts gives up. */
const ACQUIRE_GRACE_MS = 1_000;
const HEARTBEAT_TIMEOUT_MS = 2_000;
/** As gateway/invoke.ts tries again. */
const UNREACHABLE_RETRIES_MAX = 5;
const UNREACHABLE_PAUSE_MS = 10;
/** A deadline of those who wait is looked at so often, and answered by then. */
const EXPIRE_TICK_MS = 10;
/** Requests of a gateway that is asked to stop may go on for so long. */
const CLOSE_GRACE_MS = 2_000;
const REBOOT_MS = 200;

export interface Sent {
  readonly lease: Lease;
  readonly session: string | undefined;
}

/** A lease as its holder may use it by the contract: the manager itself knows no end without a word of the scheduler. */
export interface Right extends Sent {
  usableUntilMs: number;
  inFlight: number;
}

/** One process of the gateway. */
interface Life {
  ended: boolean;
  /** Asked to stop: it takes no further requests. */
  closing: boolean;
  readonly manager: LeaseManager;
  readonly rights: Map<string, Right>;
  readonly requests: Set<Request>;
}

interface Request {
  readonly instanceId: string;
  readonly end: (how: 'answered' | 'cut') => void;
}

export interface SimGatewayOptions {
  readonly id: string;
  readonly nodes: readonly SimNode[];
  readonly onGrant: (right: Right) => void;
  readonly onSend: (sent: Sent) => void;
}

export class SimGateway {
  readonly id: string;
  readonly link: Link;
  cancelProbability = 0;
  readonly counts = { granted: 0, served: 0, refused: 0, unreachable: 0, cut: 0, cancelled: 0 };
  readonly #world: World;
  readonly #scheduler: SimScheduler;
  readonly #options: SimGatewayOptions;
  #life: Life;

  constructor(world: World, scheduler: SimScheduler, options: SimGatewayOptions) {
    this.id = options.id;
    this.link = new Link(world);
    this.#world = world;
    this.#scheduler = scheduler;
    this.#options = options;
    for (const node of options.nodes) node.onGone.push((instanceId) => this.#gone(instanceId));
    this.#life = this.#begin();
  }

  get rights(): Iterable<Right> {
    return this.#life.rights.values();
  }

  get closing(): boolean {
    return this.#life.closing;
  }

  #begin(): Life {
    // The manager asks for its timers while it is made.
    const process = { ended: false };
    const rights = new Map<string, Right>();
    const life: Life = Object.assign(process, {
      closing: false,
      rights,
      requests: new Set<Request>(),
      manager: new LeaseManager({
        clock: this.#world.clock,
        timers: this.#world.timers(process),
        log: memoryLog(),
        scheduler: this.#portOf(process, rights),
      }),
    });
    return life;
  }

  /** Killed and started anew: its connections end with it. */
  restart(): void {
    const { requests } = this.#life;
    this.#life.ended = true;
    this.#life = this.#begin();
    for (const request of requests) request.end('cut');
  }

  /** Asked to stop, as an operator does it: requests end, or are cut, then the leases are given back. */
  async close(): Promise<void> {
    const life = this.#life;
    if (life.closing) return;
    life.closing = true;
    // Also where no request holds it up: whoever waits is told at once.
    this.#world.promised();
    const timers = this.#world.timers(life);
    for (let passedMs = 0; life.requests.size > 0 && passedMs < CLOSE_GRACE_MS; passedMs += 100)
      await new Promise<void>((resolve) => timers.after(100, resolve));
    for (const request of life.requests) request.end('cut');
    await life.manager.close();
    if (life.ended) return;
    life.ended = true;
    this.#world.after(REBOOT_MS, () => {
      if (this.#life === life) this.#life = this.#begin();
    });
  }

  /** One request of a client, from its arrival to its end. */
  request(version: SimVersion, session?: string): void {
    if (this.#life.ended || this.#life.closing) return;
    this.#attempt({ life: this.#life, version, session }, 0);
  }

  #attempt(call: Call, tried: number): void {
    const { life, version, session } = call;
    if (life.ended) return;
    this.#world.promised();
    const waiting: { cancel?: () => void } = {};
    const admitted = life.manager.admit(version, waiting, session);
    if (!(admitted instanceof Promise)) return this.#admitted(call, admitted, tried);
    let settled = false;
    this.#world.after(version.scaling.queueTimeoutMs + EXPIRE_TICK_MS, () => {
      if (!settled && !life.ended)
        throw new Violation(`a request for ${version.id} waits at ${this.id} past its deadline`);
    });
    if (this.#world.chance(this.cancelProbability))
      this.#world.after(this.#world.between(0, 50), () => {
        if (settled || life.ended) return;
        this.#world.promised();
        waiting.cancel?.();
      });
    const settle = async (): Promise<void> => {
      const outcome = await admitted;
      settled = true;
      this.#admitted(call, outcome, tried);
    };
    settle().catch((thrown: unknown) => this.#world.fail(thrown));
  }

  #admitted(call: Call, admitted: Admitted, tried: number): void {
    if (call.life.ended) return;
    if (admitted.kind === 'admitted') return this.#send(call, admitted.permit, tried);
    this.counts[admitted.kind === 'refused' ? 'refused' : 'cancelled'] += 1;
  }

  #send(call: Call, permit: Permit, tried: number): void {
    const { life, session } = call;
    const { lease } = permit;
    if (!this.#isThere(lease.instanceId)) {
      this.counts.unreachable += 1;
      permit.lost();
      permit.release();
      if (tried >= UNREACHABLE_RETRIES_MAX) return;
      return this.#world.after(UNREACHABLE_PAUSE_MS * 2 ** tried, () => this.#attempt(call, tried + 1));
    }
    const right = life.rights.get(lease.leaseId);
    if (right !== undefined) right.inFlight += 1;
    this.#options.onSend({ lease, session });
    // A connection that was closed while it was idle: the same request again.
    if (this.#world.chance(0.02) && permit.again()) this.#options.onSend({ lease, session });
    const request: Request = {
      instanceId: lease.instanceId,
      end: (how) => {
        if (!life.requests.delete(request)) return;
        if (right !== undefined) right.inFlight -= 1;
        this.counts[how === 'answered' ? 'served' : 'cut'] += 1;
        if (life.ended) return;
        this.#world.promised();
        permit.release();
      },
    };
    life.requests.add(request);
    const durationMs = this.#world.chance(0.05)
      ? this.#world.between(500, 4_000)
      : this.#world.between(1, 100);
    this.#world.after(durationMs, () => request.end('answered'));
  }

  #gone(instanceId: string): void {
    for (const request of this.#life.requests) if (request.instanceId === instanceId) request.end('cut');
  }

  #portOf(process: { readonly ended: boolean }, rights: Map<string, Right>): SchedulerPort {
    return {
      acquire: (request) =>
        new Promise((resolve) => {
          this.#acquire(process, request, (outcome, session) => {
            if (outcome.kind === 'lease') this.#grant(rights, { lease: outcome.lease, session });
            this.#world.promised();
            resolve(outcome);
          });
        }),
      heartbeat: (report) =>
        new Promise((resolve) => {
          const named = this.#giveBack(rights, report);
          this.#beat(process, report, (reply, sentAtMs) => {
            for (const right of reply === undefined ? [] : named)
              if (!reply?.revoked.includes(right.lease.leaseId))
                right.usableUntilMs = sentAtMs + right.lease.ttlMs;
            this.#world.promised();
            resolve(reply);
          });
        }),
    };
  }

  #grant(rights: Map<string, Right>, sent: Sent): void {
    this.counts.granted += 1;
    const right = { ...sent, inFlight: 0, usableUntilMs: this.#world.nowMs + sent.lease.ttlMs };
    rights.set(sent.lease.leaseId, right);
    this.#options.onGrant(right);
  }

  /** What the report leaves out is given back from now on. @returns what it names. */
  #giveBack(rights: Map<string, Right>, report: HolderHeartbeat): readonly Right[] {
    const named = new Set(report.leases.filter(({ done }) => done !== true).map(({ leaseId }) => leaseId));
    for (const [leaseId, right] of rights) {
      if (named.has(leaseId)) continue;
      if (right.inFlight > 0 && this.#isThere(right.lease.instanceId))
        this.#world.fail(new Violation(`${this.id} gives ${leaseId} back with ${right.inFlight} in flight`));
      rights.delete(leaseId);
    }
    return [...rights.values()];
  }

  #isThere(instanceId: string): boolean {
    return this.#options.nodes.some((node) => node.instances.has(instanceId));
  }

  /** Answers once, and never a process that has ended. */
  #acquire(
    process: { readonly ended: boolean },
    wanted: Parameters<SchedulerPort['acquire']>[0],
    answer: (outcome: AcquireOutcome, session: string | undefined) => void,
  ): void {
    const requestId = `r${this.#world.integer(0, 2 ** 50)}`;
    const { run } = this.#scheduler;
    let over = false;
    const end = (outcome: AcquireOutcome): boolean => {
      if (over || process.ended) return false;
      over = true;
      answer(outcome, wanted.session);
      return true;
    };
    const cancel = (leaseId?: string): void => {
      if (this.#scheduler.run === run)
        this.#scheduler.handle({
          type: 'acquireCancelled',
          requestId,
          ...(leaseId === undefined ? {} : { leaseId }),
        });
    };
    const lost = this.#lostBy(() => void end({ kind: 'unavailable', error: new Error('connection lost') }));
    this.#world.after(wanted.deadlineMs + ACQUIRE_GRACE_MS, () => {
      if (end({ kind: 'unavailable', error: new Error('no answer') })) this.link.send(() => cancel());
    });
    this.link.send(() => {
      if (process.ended) return;
      const request = { ...wanted, holderId: this.id };
      this.#scheduler.acquire(
        { type: 'acquire', requestId, request },
        (effect) =>
          this.link.send(() => {
            // A client that has gone closes its connection, and the scheduler notices.
            if (!end(outcomeOf(effect))) cancel(effect.type === 'grant' ? effect.lease.leaseId : undefined);
          }, lost),
        lost,
      );
    }, lost);
  }

  #beat(
    process: { readonly ended: boolean },
    heartbeat: HolderHeartbeat,
    answer: (reply: HolderHeartbeatReply | undefined, sentAtMs: number) => void,
  ): void {
    const sentAtMs = this.#world.nowMs;
    let over = false;
    const end = (reply: HolderHeartbeatReply | undefined): void => {
      if (over || process.ended) return;
      over = true;
      answer(reply, sentAtMs);
    };
    const lost = this.#lostBy(() => end(undefined));
    this.#world.after(HEARTBEAT_TIMEOUT_MS, () => end(undefined));
    this.link.send(() => {
      if (over) return;
      const effects = this.#scheduler.handle({ type: 'gatewayHeartbeat', gatewayId: this.id, heartbeat });
      const reply = effects.find((effect) => effect.type === 'gatewayReply');
      this.link.send(() => end(reply === undefined ? undefined : { revoked: [...reply.revoked] }), lost);
    }, lost);
  }

  /** Most connections break where one hears it; some are silent, until the time is over. */
  #lostBy(tell: () => void): () => void {
    return () => {
      if (!this.#world.chance(0.2)) tell();
    };
  }
}

interface Call {
  readonly life: Life;
  readonly version: SimVersion;
  readonly session: string | undefined;
}

function outcomeOf(effect: Effect): AcquireOutcome {
  if (effect.type === 'grant') return { kind: 'lease', lease: effect.lease };
  if (effect.type !== 'refuse') throw new Violation(`an acquire is answered with ${effect.type}`);
  const { fault, retryAfterMs } = effect;
  return {
    kind: 'refused',
    error: new PlatformError(
      fault.code,
      'refused by the scheduler',
      retryAfterMs === undefined ? {} : { retryAfterMs },
    ),
  };
}
