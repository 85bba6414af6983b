/** Scheduler and nodes of the simulated cluster. Each keeps the contract as a careful implementation would. */
import type { VersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Scaling } from '#shared/contracts/config.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import type { Endpoint } from '#shared/contracts/leases.ts';
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

export interface SimFunction {
  readonly name: string;
  /** Version that the alias serves. */
  version: SimVersion;
  provisioned: number;
}

type Bare<E> = E extends unknown ? Omit<E, 'atMs'> : never;
export type BareEvent = Bare<SchedulerEvent>;
export type Observer = (event: SchedulerEvent, effects: readonly Effect[], state: State) => void;

export class SimScheduler {
  state: State;
  /** Answers meant for an earlier run of the process are dropped. */
  run = 1;
  readonly nodes = new Map<string, SimNode>();
  /** What its journal holds, by kind and key. */
  readonly wanted = new Map<string, FeedItem>();
  readonly observers: Observer[] = [];
  readonly #world: World;
  readonly #answers = new Map<
    string,
    { readonly answer: (effect: Effect) => void; readonly lost: () => void }
  >();

  constructor(world: World) {
    this.#world = world;
    this.state = createState(world.nowMs, CORE_CONFIG);
    world.every(TICK_MS, () => void this.handle({ type: 'tick', wallMs: world.nowMs }));
  }

  restart(): void {
    this.run += 1;
    this.state = createState(this.#world.nowMs, CORE_CONFIG);
    const connections = [...this.#answers.values()];
    this.#answers.clear();
    for (const { lost } of connections) lost();
    this.#desired([...this.wanted.values()]);
  }

  want(...items: FeedItem[]): void {
    for (const item of items) this.wanted.set(`${item.kind} ${item.key}`, item);
    this.#desired(items);
  }

  #desired(items: readonly FeedItem[]): void {
    this.handle({ type: 'desired', wallMs: this.#world.nowMs, items });
  }

  handle(bare: BareEvent): readonly Effect[] {
    const event = { ...bare, atMs: this.#world.nowMs } as SchedulerEvent;
    const effects = step(this.state, event, { config: CORE_CONFIG, random: this.#world.random });
    for (const observe of this.observers) observe(event, effects, this.state);
    for (const effect of effects) this.#perform(effect);
    return effects;
  }

  /** @param lost - the process ended, and the connection with it. */
  acquire(
    event: Extract<BareEvent, { type: 'acquire' }>,
    answer: (effect: Effect) => void,
    lost: () => void,
  ): void {
    this.#answers.set(event.requestId, { answer, lost });
    this.handle(event);
  }

  #perform(effect: Effect): void {
    if (effect.type === 'grant' || effect.type === 'refuse') {
      this.#answers.get(effect.requestId)?.answer(effect);
      this.#answers.delete(effect.requestId);
    }
    if (effect.type === 'start') this.#start(effect);
    if (effect.type === 'stop') {
      // The agent refuses anything else.
      if (!Number.isInteger(effect.graceMs)) throw new Error(`a stop with a grace of ${effect.graceMs} ms`);
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
  /** Called when the process of an instance has ended, after it has left `instances`. */
  readonly onGone: ((instanceId: string) => void)[] = [];
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
    for (const gone of this.onGone) gone(instanceId);
    this.#beat();
  }

  /** The machine loses everything and comes back at once. */
  restart(): void {
    this.#life += 1;
    const lost = [...this.instances.keys()];
    this.instances.clear();
    this.starting.clear();
    this.#exits = [];
    for (const instanceId of lost) for (const gone of this.onGone) gone(instanceId);
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
