/** Members of the simulated cluster. Each keeps the contract as a careful implementation would. */
import type { VersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Scaling } from '#shared/contracts/config.ts';
import type { Endpoint, GatewayHeartbeat, Lease } from '#shared/contracts/leases.ts';
import type { ExitReason, NodeHeartbeat } from '#shared/contracts/nodes.ts';
import { CORE_CONFIG } from '#scheduler/core/config.ts';
import type { Effect, Fault, SchedulerEvent } from '#scheduler/core/events.ts';
import { createState, type State } from '#scheduler/core/state.ts';
import { step } from '#scheduler/core/step.ts';
import { Link, type World } from './world.ts';

export const TICK_MS = 100;

export interface SimVersion {
  readonly id: VersionId;
  readonly scaling: Scaling;
  readonly startFailProbability: number;
}

type Bare<E> = E extends unknown ? Omit<E, 'atMs'> : never;
export type BareEvent = Bare<SchedulerEvent>;
export type Observer = (event: SchedulerEvent, effects: readonly Effect[], state: State) => void;

export class SimScheduler {
  state: State;
  /** Answers meant for an earlier run of the process are dropped. */
  run = 1;
  readonly nodes = new Map<string, SimNode>();
  readonly observers: Observer[] = [];
  readonly #world: World;
  readonly #answers = new Map<string, (effect: Effect) => void>();

  constructor(world: World) {
    this.#world = world;
    this.state = createState(world.nowMs, CORE_CONFIG);
    world.every(TICK_MS, () => void this.handle({ type: 'tick', wallMs: world.nowMs }));
  }

  restart(): void {
    this.run += 1;
    this.state = createState(this.#world.nowMs, CORE_CONFIG);
    this.#answers.clear();
  }

  handle(bare: BareEvent): readonly Effect[] {
    const event = { ...bare, atMs: this.#world.nowMs } as SchedulerEvent;
    const effects = step(this.state, event, { config: CORE_CONFIG, random: this.#world.random });
    for (const observe of this.observers) observe(event, effects, this.state);
    for (const effect of effects) this.#perform(effect);
    return effects;
  }

  acquire(event: Extract<BareEvent, { type: 'acquire' }>, answer: (effect: Effect) => void): void {
    this.#answers.set(event.requestId, answer);
    this.handle(event);
  }

  #perform(effect: Effect): void {
    if (effect.type === 'grant' || effect.type === 'refuse') {
      this.#answers.get(effect.requestId)?.(effect);
      this.#answers.delete(effect.requestId);
    }
    if (effect.type === 'start') this.#start(effect);
    if (effect.type === 'stop') {
      const node = this.nodes.get(effect.nodeId);
      node?.link.send(() => node.stop(effect.instanceId));
    }
  }

  #start({ nodeId, instanceId, versionId }: Extract<Effect, { type: 'start' }>): void {
    const { run } = this;
    const node = this.nodes.get(nodeId);
    const failed = (fault: Fault): void => {
      if (this.run === run) this.handle({ type: 'startFailed', instanceId, fault });
    };
    const unreachable = (): void => failed({ code: 'internal' });
    if (node === undefined) return this.#world.after(1, unreachable);
    node.link.send(() => {
      node.start(instanceId, versionId, (result) => {
        node.link.send(() => {
          if ('code' in result) failed(result);
          else if (this.run === run) this.handle({ type: 'startSucceeded', instanceId, endpoint: result });
        }, unreachable);
      });
    }, unreachable);
  }
}

export class SimNode {
  readonly id: string;
  readonly link: Link;
  readonly capacity: number;
  readonly instances = new Map<string, VersionId>();
  /** Ids being started: they hold a place too. */
  readonly starting = new Set<string>();
  capacityRefusals = 0;
  readonly #world: World;
  readonly #scheduler: SimScheduler;
  readonly #versions: ReadonlyMap<VersionId, SimVersion>;
  #exits: NodeHeartbeat['exits'] = [];
  #beating = false;
  #beatAgain = false;
  #life = 1;

  constructor(
    world: World,
    scheduler: SimScheduler,
    options: { id: string; capacity: number; versions: ReadonlyMap<VersionId, SimVersion> },
  ) {
    this.id = options.id;
    this.capacity = options.capacity;
    this.link = new Link(world);
    this.#world = world;
    this.#scheduler = scheduler;
    this.#versions = options.versions;
    scheduler.nodes.set(this.id, this);
    world.every(LIMITS.heartbeatMs, () => this.#beat());
  }

  endpoint(instanceId: string): Endpoint {
    return {
      instance: { kind: 'unix', path: `/${this.id}/${instanceId}` },
      agent: { kind: 'unix', path: `/${this.id}` },
    };
  }

  start(instanceId: string, versionId: VersionId, answer: (result: Endpoint | Fault) => void): void {
    if (this.instances.size + this.starting.size >= this.capacity) {
      this.capacityRefusals += 1;
      return answer({ code: 'no_capacity' });
    }
    const life = this.#life;
    this.starting.add(instanceId);
    this.#world.after(this.#world.between(5, 40), () => {
      if (life !== this.#life) return answer({ code: 'internal' });
      // Stopped while it started.
      if (!this.starting.delete(instanceId)) return answer({ code: 'internal' });
      if (this.#world.chance(this.#versions.get(versionId)!.startFailProbability))
        return answer({ code: 'startup_failed', extensions: { stack: 'Error' } });
      this.instances.set(instanceId, versionId);
      answer(this.endpoint(instanceId));
    });
  }

  stop(instanceId: string): void {
    this.starting.delete(instanceId);
    this.#world.after(this.#world.between(1, 20), () => this.end(instanceId, 'stopped'));
  }

  end(instanceId: string, reason: ExitReason): void {
    const versionId = this.instances.get(instanceId);
    if (versionId === undefined) return;
    this.instances.delete(instanceId);
    this.#exits.push({ instanceId, versionId, reason });
    this.#beat();
  }

  /** The machine loses everything and comes back at once. */
  restart(): void {
    this.#life += 1;
    this.instances.clear();
    this.starting.clear();
    this.#exits = [];
  }

  #beat(): void {
    if (this.#beating) {
      this.#beatAgain = true;
      return;
    }
    this.#beating = true;
    const exits = [...this.#exits];
    const heartbeat: NodeHeartbeat = {
      endpoint: { kind: 'unix', path: `/${this.id}` },
      capacity: this.capacity,
      freeSlots: 2,
      draining: false,
      instances: [...this.instances].map(([instanceId, versionId]) => ({
        instanceId,
        versionId,
        endpoint: this.endpoint(instanceId),
      })),
      exits,
    };
    const done = (): void => {
      this.#beating = false;
      if (this.#beatAgain) {
        this.#beatAgain = false;
        this.#beat();
      }
    };
    this.link.send(() => {
      const effects = this.#scheduler.handle({ type: 'nodeHeartbeat', nodeId: this.id, heartbeat });
      const reply = effects.find((effect) => effect.type === 'nodeReply');
      this.link.send(() => {
        this.#exits = this.#exits.filter((exit) => !exits.includes(exit));
        for (const instanceId of reply?.stop ?? []) this.stop(instanceId);
        done();
      }, done);
    }, done);
  }
}

export interface HeldLease {
  readonly lease: Lease;
  inFlight: number;
  started: number;
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
  readonly #waiting = new Map<VersionId, number>();
  readonly #acquiring = new Set<VersionId>();
  readonly onGrant: (gateway: SimGateway, held: HeldLease) => void;
  #beating = false;

  constructor(
    world: World,
    scheduler: SimScheduler,
    options: { id: string; onGrant: (gateway: SimGateway, held: HeldLease) => void },
  ) {
    this.id = options.id;
    this.onGrant = options.onGrant;
    this.link = new Link(world);
    this.#world = world;
    this.#scheduler = scheduler;
    world.every(LIMITS.heartbeatMs, () => this.#beat());
  }

  restart(): void {
    this.life += 1;
    this.leases.clear();
    this.#waiting.clear();
    this.#acquiring.clear();
  }

  request(version: SimVersion): void {
    for (const held of this.leases.values()) {
      const usable = !held.revoked && held.usableUntilMs > this.#world.nowMs;
      if (held.lease.versionId !== version.id || !usable || held.inFlight >= held.lease.slots) continue;
      return this.#send(held, version);
    }
    this.#waiting.set(version.id, (this.#waiting.get(version.id) ?? 0) + 1);
    this.#acquire(version);
  }

  #send(held: HeldLease, version: SimVersion): void {
    held.inFlight += 1;
    held.started += 1;
    const durationMs = this.#world.chance(0.05)
      ? this.#world.between(500, 4_000)
      : this.#world.between(1, 100);
    this.#world.after(durationMs, () => {
      held.inFlight -= 1;
      if (this.leases.has(held.lease.leaseId)) this.#serveWaiting(held, version);
    });
  }

  #serveWaiting(held: HeldLease, version: SimVersion): void {
    let waiting = this.#waiting.get(version.id) ?? 0;
    if (held.revoked || held.usableUntilMs <= this.#world.nowMs) return;
    while (waiting > 0 && held.inFlight < held.lease.slots) {
      waiting -= 1;
      this.#send(held, version);
    }
    this.#waiting.set(version.id, waiting);
  }

  #acquire(version: SimVersion): void {
    const waiting = this.#waiting.get(version.id) ?? 0;
    if (waiting === 0 || this.#acquiring.has(version.id)) return;
    this.#acquiring.add(version.id);
    const requestId = `r${this.#world.integer(0, 2 ** 50)}`;
    const { life } = this;
    const { run } = this.#scheduler;
    let over = false;
    const giveUp = (): void => {
      if (over || life !== this.life) return;
      over = true;
      this.#waiting.set(version.id, 0);
      this.#acquiring.delete(version.id);
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
      gatewayId: this.id,
      versionId: version.id,
      scaling: version.scaling,
      waiting,
      // Sometimes longer than the function allows, often with less time left than those before it.
      deadlineMs: Math.ceil(version.scaling.queueTimeoutMs * this.#world.between(0.2, 1.2)),
    };
    this.link.send(() => {
      this.#scheduler.acquire({ type: 'acquire', requestId, request }, (effect) => {
        this.link.send(() => {
          if (over || life !== this.life)
            return cancel(effect.type === 'grant' ? effect.lease.leaseId : undefined);
          over = true;
          this.#answered(version, effect);
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

  #answered(version: SimVersion, effect: Effect): void {
    this.#acquiring.delete(version.id);
    if (effect.type !== 'grant') {
      this.#waiting.set(version.id, 0);
      return;
    }
    this.granted += 1;
    const held: HeldLease = {
      lease: effect.lease,
      inFlight: 0,
      started: 0,
      revoked: false,
      usableUntilMs: this.#world.nowMs + effect.lease.ttlMs,
    };
    this.leases.set(effect.lease.leaseId, held);
    this.onGrant(this, held);
    this.#serveWaiting(held, version);
    this.#acquire(version);
  }

  #beat(): void {
    for (const [leaseId, held] of this.leases) {
      const expired = held.usableUntilMs <= this.#world.nowMs;
      if (held.inFlight === 0 && (held.revoked || expired)) this.leases.delete(leaseId);
    }
    if (this.#beating) return;
    this.#beating = true;
    const { life } = this;
    const sentAtMs = this.#world.nowMs;
    const heartbeat: GatewayHeartbeat = {
      leases: [...this.leases.values()].map((held) => ({
        leaseId: held.lease.leaseId,
        inFlight: held.inFlight,
        started: held.started,
      })),
    };
    const named = [...this.leases.values()];
    for (const held of named) held.started = 0;
    const done = (): void => void (this.#beating = false);
    this.link.send(() => {
      const effects = this.#scheduler.handle({ type: 'gatewayHeartbeat', gatewayId: this.id, heartbeat });
      const reply = effects.find((effect) => effect.type === 'gatewayReply');
      this.link.send(() => {
        done();
        if (life !== this.life || reply === undefined) return;
        for (const held of named) {
          if (reply.revoked.includes(held.lease.leaseId)) held.revoked = true;
          else held.usableUntilMs = sentAtMs + held.lease.ttlMs;
        }
      }, done);
    }, done);
  }
}
