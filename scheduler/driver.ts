/**
 * Carries events to the core and its effects into the world: answers long polls, calls node agents,
 * ticks. It decides nothing.
 */
import { PlatformError, asPlatformError } from '#shared/errors.ts';
import type {
  AcquireRequest,
  HolderHeartbeat,
  HolderHeartbeatReply,
  Lease,
} from '#shared/contracts/leases.ts';
import {
  startReplySchema,
  type NodeBeat,
  type NodeHeartbeat,
  type NodeHeartbeatReply,
} from '#shared/contracts/nodes.ts';
import type { Address } from '#shared/contracts/address.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import type { FunctionLife, HeldList } from '#shared/contracts/scheduling.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import { shareSamples } from '#shared/metrics/own.node.ts';
import { byLabel, type Sample } from '#shared/metrics/samples.ts';
import type { Log } from '#shared/runtime/log.ts';
import { keyOf } from '#shared/runtime/transport.node.ts';
import type { Peer } from '#shared/runtime/peer.ts';
import { z } from 'zod';
import { CORE_CONFIG, START_CALL_MS, assertConfig, type CoreConfig } from './core/config.ts';
import type { Effect, Fault, SchedulerEvent } from './core/events.ts';
import { samplesOf } from './core/metrics.ts';
import { createState, type State } from './core/state.ts';
import { heldIn, lifeOf, statusOf, type SchedulerStatus } from './core/report.ts';
import { step } from './core/step.ts';

const TICK_MS = 100;
const STOP_CALL_MS = 10_000;

type AgentPeer = Pick<Peer, 'call' | 'close'>;
type Outcome =
  | { readonly kind: 'granted'; readonly lease: Lease }
  | { readonly kind: 'refused'; readonly error: PlatformError }
  /** Nobody reads the answer. */
  | { readonly kind: 'cancelled' };

export interface DriverOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Numbers in [0, 1) that nobody can guess. */
  readonly random: () => number;
  readonly log: Log;
  /** The agent that listens there. */
  readonly connect: (address: Address) => AgentPeer;
  readonly config?: CoreConfig;
}

export class SchedulerDriver {
  readonly #options: DriverOptions;
  readonly #config: CoreConfig;
  readonly #state: State;
  readonly #ticker: Timer;
  readonly #waiting = new Map<string, (outcome: Outcome) => void>();
  readonly #peers = new Map<string, { readonly key: string; readonly peer: AgentPeer }>();
  readonly #calls = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  /** What each node said last of its instances. */
  readonly #lists = new Map<string, Required<Pick<NodeBeat, 'listMark' | 'instances'>>>();
  #nextRequest = 1;
  #grants = 0;
  /** By code. */
  readonly #refusals = new Map<string, number>();
  readonly #failedStarts = new Map<string, number>();

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#config = options.config ?? CORE_CONFIG;
    assertConfig(this.#config);
    this.#state = createState(options.clock.monotonicMs(), this.#config);
    this.#ticker = options.timers.every(TICK_MS, () => {
      this.#dispatch({ type: 'tick', atMs: this.#nowMs(), wallMs: options.clock.wallMs() });
    });
  }

  /** Resolves when the core has decided. An abort before that withdraws the request. */
  async acquire(request: AcquireRequest, signal: AbortSignal): Promise<Outcome> {
    if (this.#closing.signal.aborted) return { kind: 'refused', error: closingError() };
    const requestId = String(this.#nextRequest);
    this.#nextRequest += 1;
    const cancel = (): void => {
      this.#dispatch({ type: 'acquireCancelled', atMs: this.#nowMs(), requestId });
      this.#settle(requestId, { kind: 'cancelled' });
    };
    const outcome = await new Promise<Outcome>((resolve) => {
      this.#waiting.set(requestId, resolve);
      signal.addEventListener('abort', cancel, { once: true });
      this.#dispatch({ type: 'acquire', atMs: this.#nowMs(), requestId, request });
      if (signal.aborted) cancel();
    });
    signal.removeEventListener('abort', cancel);
    if (outcome.kind !== 'granted' || !signal.aborted) return outcome;
    const { leaseId } = outcome.lease;
    this.#dispatch({ type: 'acquireCancelled', atMs: this.#nowMs(), requestId, leaseId });
    return { kind: 'cancelled' };
  }

  gatewayHeartbeat(gatewayId: string, heartbeat: HolderHeartbeat): HolderHeartbeatReply {
    const effects = this.#dispatch({ type: 'gatewayHeartbeat', atMs: this.#nowMs(), gatewayId, heartbeat });
    for (const effect of effects) if (effect.type === 'gatewayReply') return { revoked: [...effect.revoked] };
    throw new PlatformError('scheduler_unavailable', `more than ${this.#config.gatewaysMax} gateways`);
  }

  nodeHeartbeat(nodeId: string, { listMark, ...beat }: NodeBeat): NodeHeartbeatReply {
    const instances = beat.instances ?? this.#listOf(nodeId, listMark);
    // It says everything again when it hears that.
    if (instances === undefined) return { stop: [] };
    const heartbeat: NodeHeartbeat = { ...beat, instances };
    // The effects of this very event may already start an instance there.
    if (this.#state.nodes.has(nodeId) || this.#state.nodes.size < this.#config.nodesMax)
      this.#usePeer(nodeId, heartbeat.endpoint);
    const effects = this.#dispatch({ type: 'nodeHeartbeat', atMs: this.#nowMs(), nodeId, heartbeat });
    for (const effect of effects) {
      if (effect.type !== 'nodeReply') continue;
      if (listMark === undefined) return { stop: [...effect.stop] };
      this.#lists.set(nodeId, { listMark, instances });
      return { stop: [...effect.stop], listMark };
    }
    throw new PlatformError('scheduler_unavailable', `more than ${this.#config.nodesMax} nodes`);
  }

  #listOf(nodeId: string, listMark: string | undefined): NodeHeartbeat['instances'] | undefined {
    const known = this.#lists.get(nodeId);
    return known?.listMark === listMark ? known?.instances : undefined;
  }

  /** Items of the feed that changed. */
  desired(items: readonly FeedItem[]): void {
    this.#dispatch({ type: 'desired', atMs: this.#nowMs(), wallMs: this.#options.clock.wallMs(), items });
  }

  /** @param key - `account/function`. */
  life(key: string): FunctionLife {
    return lifeOf(this.#state, key, { nowMs: this.#nowMs(), wallMs: this.#options.clock.wallMs() });
  }

  held(account: string): HeldList {
    return heldIn(this.#state, account, this.#nowMs());
  }

  samples(): Sample[] {
    return [
      ...samplesOf(this.#state, this.#nowMs(), this.#config.memberDeadMs),
      { name: 'isoplane_scheduler_grants_total', value: this.#grants },
      ...byLabel('isoplane_scheduler_refusals_total', this.#refusals),
      ...byLabel('isoplane_scheduler_starts_failed_total', this.#failedStarts),
      ...shareSamples([this.#state.places]),
    ];
  }

  status(): SchedulerStatus {
    return statusOf(this.#state, this.#nowMs(), this.#config);
  }

  /** Refuses who waits. Instances go on running: the next scheduler adopts them. */
  async close(): Promise<void> {
    this.#ticker.cancel();
    this.#closing.abort();
    for (const requestId of this.#waiting.keys())
      this.#settle(requestId, { kind: 'refused', error: closingError() });
    await Promise.allSettled(this.#calls);
    await Promise.allSettled([...this.#peers.values()].map(({ peer }) => peer.close()));
    this.#peers.clear();
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  #dispatch(event: SchedulerEvent): readonly Effect[] {
    if (this.#closing.signal.aborted) return [];
    const effects = step(this.#state, event, { config: this.#config, random: this.#options.random });
    for (const effect of effects) this.#perform(effect);
    return effects;
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case 'grant':
        return this.#settle(effect.requestId, { kind: 'granted', lease: effect.lease });
      case 'refuse':
        return this.#settle(effect.requestId, {
          kind: 'refused',
          error: refusalOf(effect.fault, effect.retryAfterMs),
        });
      case 'start':
        return this.#track(this.#start(effect));
      case 'stop':
        return this.#track(this.#stop(effect));
      case 'nodeForgotten': {
        const known = this.#peers.get(effect.nodeId);
        this.#peers.delete(effect.nodeId);
        this.#lists.delete(effect.nodeId);
        if (known !== undefined) this.#track(known.peer.close());
        return;
      }
      case 'notice':
        return this.#options.log.warn(effect.event, effect.fields);
      case 'gatewayReply':
      case 'nodeReply':
        return;
    }
  }

  #settle(requestId: string, outcome: Outcome): void {
    const resolve = this.#waiting.get(requestId);
    this.#waiting.delete(requestId);
    if (outcome.kind === 'granted') this.#grants += 1;
    if (outcome.kind === 'refused') countOne(this.#refusals, outcome.error.code);
    resolve?.(outcome);
  }

  #usePeer(nodeId: string, address: Address): void {
    const known = this.#peers.get(nodeId);
    const key = keyOf(address);
    if (known?.key === key) return;
    this.#peers.set(nodeId, { key, peer: this.#options.connect(address) });
    if (known !== undefined) this.#track(known.peer.close());
  }

  async #start(effect: Extract<Effect, { type: 'start' }>): Promise<void> {
    const { nodeId, instanceId, versionId } = effect;
    let event: SchedulerEvent;
    try {
      const reply = await this.#withTimeout(START_CALL_MS, (signal) =>
        this.#peerOf(nodeId).call('/v1/instances', startReplySchema, {
          method: 'POST',
          body: { instanceId, versionId },
          signal,
        }),
      );
      event = { type: 'startSucceeded', atMs: this.#nowMs(), instanceId, endpoint: reply.endpoint };
    } catch (thrown) {
      const error = asPlatformError(thrown);
      this.#options.log.warn('start_refused', { nodeId, instanceId, versionId, error });
      countOne(this.#failedStarts, error.code);
      event = { type: 'startFailed', atMs: this.#nowMs(), instanceId, fault: faultOf(error) };
    }
    this.#dispatch(event);
  }

  async #stop(effect: Extract<Effect, { type: 'stop' }>): Promise<void> {
    const { nodeId, instanceId, graceMs } = effect;
    try {
      await this.#withTimeout(graceMs + STOP_CALL_MS, (signal) =>
        this.#peerOf(nodeId).call(
          `/v1/instances/${encodeURIComponent(instanceId)}?graceMs=${graceMs}`,
          z.unknown(),
          { method: 'DELETE', signal },
        ),
      );
    } catch (thrown) {
      // The node names the instance in its next list, and the answer to that repeats the stop.
      this.#options.log.warn('stop_failed', { nodeId, instanceId, error: asPlatformError(thrown) });
    }
  }

  #peerOf(nodeId: string): AgentPeer {
    const known = this.#peers.get(nodeId);
    if (known === undefined) throw new PlatformError('internal', `node ${nodeId} is not known any more`);
    return known.peer;
  }

  async #withTimeout<T>(timeoutMs: number, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const timeout = new AbortController();
    using _timer = this.#options.timers.after(timeoutMs, () => timeout.abort());
    return await call(AbortSignal.any([timeout.signal, this.#closing.signal]));
  }

  #track(call: Promise<void>): void {
    const tracked = this.#guard(call).finally(() => this.#calls.delete(tracked));
    this.#calls.add(tracked);
  }

  async #guard(call: Promise<void>): Promise<void> {
    try {
      await call;
    } catch (error) {
      this.#options.log.error('call_failed', { error });
    }
  }
}

function countOne(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

function faultOf(error: PlatformError): Fault {
  return {
    code: error.code,
    ...(error.publicDetail === undefined ? {} : { detail: error.publicDetail }),
    extensions: error.extensions,
  };
}

function refusalOf(fault: Fault, retryAfterMs: number | undefined): PlatformError {
  return new PlatformError(fault.code, 'refused by the scheduler', {
    ...(fault.detail === undefined ? {} : { publicDetail: fault.detail }),
    ...(fault.extensions === undefined ? {} : { extensions: fault.extensions }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function closingError(): PlatformError {
  return new PlatformError('scheduler_unavailable', 'the scheduler is stopping', { retryAfterMs: 1_000 });
}
