/** For tests of the core: one scheduler, a clock that the test moves, and members that the test plays. */
import {
  accountNameSchema,
  aliasNameSchema,
  functionNameSchema,
  versionIdSchema,
  type VersionId,
} from '#shared/ids.ts';
import { scalingSchema, type Scaling } from '#shared/contracts/config.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import type { Endpoint, HolderHeartbeat, Lease } from '#shared/contracts/leases.ts';
import { type Ceilings } from '#shared/contracts/ceilings.ts';
import { provisionSchema, type Provision } from '#shared/contracts/provision.ts';
import type { ExitReason } from '#shared/contracts/nodes.ts';
import { seededRandom } from '#shared/testing/fakes.ts';
import { CORE_CONFIG, type CoreConfig } from './config.ts';
import type { Effect, Fault, SchedulerEvent } from './events.ts';
import { createState, type State } from './state.ts';
import { step } from './step.ts';

type Bare<E> = E extends unknown ? Omit<E, 'atMs'> : never;
type Of<T extends Effect['type']> = Extract<Effect, { type: T }>;

export class Conversation {
  nowMs = 0;
  readonly state: State;
  readonly config: CoreConfig;
  readonly effects: Effect[] = [];
  /** What runs, by node; heartbeats are made of it. */
  readonly running = new Map<string, Map<string, string>>();
  readonly #random = seededRandom(1);
  #requests = 0;

  constructor(config: Partial<CoreConfig> = {}) {
    this.config = { ...CORE_CONFIG, ...config };
    this.state = createState(0, this.config);
  }

  /** The conversation begins on a Thursday at midnight. */
  get wallMs(): number {
    return this.nowMs;
  }

  /** What this event brought about, in order. */
  say(event: Bare<SchedulerEvent>): readonly Effect[] {
    const full = { ...event, atMs: this.nowMs } as SchedulerEvent;
    const effects = step(this.state, full, { config: this.config, random: this.#random });
    this.effects.push(...effects);
    return effects;
  }

  /** Moves the clock by ticks, with the heartbeats of the nodes (and of `gateways`, naming nothing new). */
  pass(durationMs: number, beat: () => void = () => {}): readonly Effect[] {
    const from = this.effects.length;
    for (const endMs = this.nowMs + durationMs; this.nowMs < endMs;) {
      this.nowMs = Math.min(endMs, this.nowMs + 100);
      if (this.nowMs % 1_000 === 0) {
        for (const nodeId of this.running.keys()) this.node(nodeId);
        beat();
      }
      this.say({ type: 'tick', wallMs: this.wallMs });
    }
    return this.effects.slice(from);
  }

  acquire(
    functionName: string,
    options: {
      gateway?: string;
      waiting?: number;
      deadlineMs?: number;
      session?: string;
      scaling?: Partial<Scaling>;
    } = {},
  ): readonly Effect[] {
    this.#requests += 1;
    return this.say({
      type: 'acquire',
      requestId: `r${this.#requests}`,
      request: {
        holderId: options.gateway ?? 'g1',
        versionId: versionIdOf(functionName),
        scaling: scalingSchema.parse(options.scaling ?? {}),
        waiting: options.waiting ?? 1,
        deadlineMs: options.deadlineMs ?? 10_000,
        ...(options.session === undefined ? {} : { session: options.session }),
      },
    });
  }

  /** The acquire of a function, its start and its lease, when nothing stands in the way. */
  lease(functionName: string, options: Parameters<Conversation['acquire']>[1] = {}): Lease {
    const effects = this.acquire(functionName, options);
    const start = only(effects, 'start');
    const grant = only(start === undefined ? effects : this.started(start), 'grant');
    if (grant === undefined) throw new Error(`no lease: ${told(effects).join(', ')}`);
    return grant.lease;
  }

  gateway(gatewayId: string, leases: Readonly<Record<string, number>> = {}, started = 0): readonly string[] {
    const effects = this.say({
      type: 'gatewayHeartbeat',
      gatewayId,
      heartbeat: {
        leases: Object.entries(leases).map(([leaseId, inFlight]) => ({ leaseId, inFlight, started })),
      },
    });
    return only(effects, 'gatewayReply')?.revoked ?? ['(no reply)'];
  }

  /** Reports of a gateway in the words of the contract. */
  report(gatewayId: string, leases: HolderHeartbeat['leases']): readonly Effect[] {
    return this.say({ type: 'gatewayHeartbeat', gatewayId, heartbeat: { leases } });
  }

  /** What control wants of function `a`: alias `live` with these weights by version number. */
  want(
    functionName: string,
    weights: Readonly<Record<number, number>>,
    options: {
      provision?: Partial<Provision>;
      scaling?: Partial<Scaling>;
      account?: string;
      enabled?: boolean;
    } = {},
  ): readonly Effect[] {
    const account = options.account ?? 'default';
    const versions = Object.keys(weights).map(Number);
    const scaling = scalingSchema.parse(options.scaling ?? {});
    return this.desired({
      kind: 'placement',
      key: `${account}/${functionName}`,
      value: {
        account: accountNameSchema.parse(account),
        name: functionNameSchema.parse(functionName),
        enabled: options.enabled ?? true,
        aliases: [
          {
            name: aliasNameSchema.parse('live'),
            weights: versions.map((version) => ({ version, weight: weights[version] ?? 0 })),
            ...(options.provision === undefined
              ? {}
              : { provision: provisionSchema.parse(options.provision) }),
          },
        ],
        versions: versions.map((number) => ({
          id: versionIdSchema.parse(`${account}/${functionName}@${number}`),
          scaling,
        })),
      },
    });
  }

  ceilings(ceilings: Ceilings, account = 'default'): readonly Effect[] {
    const name = accountNameSchema.parse(account);
    return this.desired({ kind: 'account', key: account, value: { name, ceilings } });
  }

  desired(...items: FeedItem[]): readonly Effect[] {
    return this.say({ type: 'desired', wallMs: this.wallMs, items });
  }

  /** Answers each of the starts well. */
  startedAll(effects: readonly Effect[]): readonly Effect[] {
    return all(effects, 'start').flatMap((start) => this.started(start));
  }

  /** The process has ended, as the node was told. */
  stopped(effects: readonly Effect[]): readonly Effect[] {
    return all(effects, 'stop').flatMap(({ nodeId, instanceId }) =>
      this.node(nodeId, { exits: [[instanceId, 'stopped']] }),
    );
  }

  node(
    nodeId: string,
    options: { capacity?: number; draining?: boolean; exits?: readonly [string, ExitReason][] } = {},
  ): readonly Effect[] {
    const running = this.running.get(nodeId) ?? new Map<string, string>();
    this.running.set(nodeId, running);
    const exits = (options.exits ?? []).map(([instanceId, reason]) => {
      const versionId = versionIdSchema.parse(running.get(instanceId) ?? 'default/unknown@1');
      running.delete(instanceId);
      return { instanceId, versionId, reason };
    });
    return this.say({
      type: 'nodeHeartbeat',
      nodeId,
      heartbeat: {
        endpoint: { kind: 'unix', path: `/${nodeId}` },
        capacity: options.capacity ?? this.state.nodes.get(nodeId)?.capacity ?? 10,
        freeSlots: 1,
        draining: options.draining ?? this.state.nodes.get(nodeId)?.draining ?? false,
        instances: [...running].map(([instanceId, versionId]) => ({
          instanceId,
          versionId: versionIdSchema.parse(versionId),
          endpoint: endpointOf(nodeId, instanceId),
        })),
        exits,
      },
    });
  }

  started(start: Of<'start'>): readonly Effect[] {
    this.running.get(start.nodeId)?.set(start.instanceId, start.versionId);
    const { nodeId, instanceId } = start;
    return this.say({ type: 'startSucceeded', instanceId, endpoint: endpointOf(nodeId, instanceId) });
  }

  failed(start: Of<'start'>, fault: Fault): readonly Effect[] {
    return this.say({ type: 'startFailed', instanceId: start.instanceId, fault });
  }
}

/** `hello` is version 1 of it, `hello@2` the next, `other/hello@1` one of another account. */
function versionIdOf(name: string): VersionId {
  const full = name.includes('/') ? name : `default/${name}`;
  return versionIdSchema.parse(full.includes('@') ? full : `${full}@1`);
}

function endpointOf(nodeId: string, instanceId: string): Endpoint {
  return {
    instance: { kind: 'unix', path: `/${nodeId}/${instanceId}` },
    agent: { kind: 'unix', path: `/${nodeId}` },
  };
}

export function all<T extends Effect['type']>(effects: readonly Effect[], type: T): Of<T>[] {
  return effects.filter((effect): effect is Of<T> => effect.type === type);
}

/** The first of its kind. */
export function only<T extends Effect['type']>(effects: readonly Effect[], type: T): Of<T> | undefined {
  return all(effects, type)[0];
}

/** Effects as one line each, to compare a whole answer at once. */
export function told(effects: readonly Effect[]): string[] {
  return effects.flatMap((effect) => {
    switch (effect.type) {
      case 'grant':
        return [`grant ${effect.requestId} ${effect.lease.slots}`];
      case 'refuse':
        return [`refuse ${effect.requestId} ${effect.fault.code}`];
      case 'start':
        return [`start ${effect.versionId} on ${effect.nodeId}`];
      case 'stop':
        return [`stop on ${effect.nodeId}`];
      case 'nodeForgotten':
        return [`forget ${effect.nodeId}`];
      case 'gatewayReply':
      case 'nodeReply':
      case 'notice':
        return [];
    }
  });
}
