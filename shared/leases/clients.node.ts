/** The scheduler and the agents as a holder of leases calls them. */
import { parseVersionId } from '../ids.ts';
import { Shares } from '../shares.ts';
import { z } from 'zod';
import type { Address } from '../contracts/address.ts';
import { holderHeartbeatReplySchema, leaseSchema, type Lease } from '../contracts/leases.ts';
import {
  exitReportSchema,
  SLOW_INSTANCES_MAX,
  type BrokenReport,
  type SlowReport,
} from '../contracts/nodes.ts';
import { asPlatformError, PlatformError } from '../errors.ts';
import type { Timers } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import { machineMs } from '../runtime/machine-clock.node.ts';
import { keyOf, listens, peerOf } from '../runtime/transport.node.ts';
import type { Peer } from '../runtime/peer.ts';
import type { AgentPort } from './ports.ts';
import type { SchedulerPort } from './manager.ts';

/** Beyond the deadline it was given, the scheduler is taken for hung. */
const ACQUIRE_GRACE_MS = 1_000;
const HEARTBEAT_TIMEOUT_MS = 2_000;
const AGENT_TIMEOUT_MS = 1_000;

function timeout(timers: Timers, delayMs: number): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const timer = timers.after(delayMs, () => controller.abort(new Error(`no answer within ${delayMs} ms`)));
  return { signal: controller.signal, [Symbol.dispose]: () => timer.cancel() };
}

/** Message and stack of code that did not start are for its owner, who finds them in the log. */
function forCallers(error: PlatformError): PlatformError {
  return new PlatformError(error.code, error.message, {
    cause: error,
    ...(error.publicDetail === undefined ? {} : { publicDetail: error.publicDetail }),
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  });
}

export function createSchedulerClient(options: {
  readonly address: Address;
  readonly holderId: string;
  readonly timers: Timers;
}): SchedulerPort & { close(): Promise<void> } {
  const acquires = new Shares('leases.acquires');
  const peer = peerOf(options.address, { connections: acquires.total });
  // Its own connection: acquires that wait must not keep leases from being renewed.
  const heartbeats = peerOf(options.address, { connections: 1 });
  return {
    async acquire(request) {
      const { account } = parseVersionId(request.versionId);
      // Each that waits holds a connection: one account's must not keep those of others from asking.
      if (!acquires.take(account, 1)) return { kind: 'refused', error: acquires.full(account) };
      using limit = timeout(options.timers, request.deadlineMs + ACQUIRE_GRACE_MS);
      try {
        const lease = await peer.call('/v1/leases', leaseSchema, {
          method: 'POST',
          body: { ...request, holderId: options.holderId },
          signal: limit.signal,
        });
        return { kind: 'lease', lease };
      } catch (thrown) {
        const error = asPlatformError(thrown);
        // `internal` is what an unreachable or broken peer looks like; all else is the scheduler's word.
        return error.code === 'internal'
          ? { kind: 'unavailable', error }
          : { kind: 'refused', error: forCallers(error) };
      } finally {
        acquires.give(account, 1);
      }
    },
    async heartbeat(report) {
      using limit = timeout(options.timers, HEARTBEAT_TIMEOUT_MS);
      try {
        return await heartbeats.call(
          `/v1/holders/${encodeURIComponent(options.holderId)}/heartbeat`,
          holderHeartbeatReplySchema,
          { method: 'POST', body: report, signal: limit.signal },
        );
      } catch {
        return undefined;
      }
    },
    close: async () => {
      await Promise.all([peer.close(), heartbeats.close()]);
    },
  };
}

/** Longest that a report of slow instances waits for others to go with it. */
const SLOW_BATCH_MS = 5;

/** Slow instances of one agent, told together. */
class SlowReports {
  readonly #waiting = new Map<string, number>();
  readonly #timers: Timers;
  readonly #send: (report: SlowReport) => Promise<void>;
  #busy = false;

  constructor(timers: Timers, send: (report: SlowReport) => Promise<void>) {
    this.#timers = timers;
    this.#send = send;
  }

  add(instanceId: string, ageMs: number): void {
    if (this.#waiting.size >= SLOW_INSTANCES_MAX) return;
    this.#waiting.set(instanceId, Math.max(ageMs, this.#waiting.get(instanceId) ?? 0));
    if (this.#busy) return;
    this.#busy = true;
    this.#timers.after(SLOW_BATCH_MS, () => void this.#flush());
  }

  /** One report at a time: an agent that is slow itself must not be given more to do. */
  async #flush(): Promise<void> {
    const instances = [...this.#waiting].map(([instanceId, ageMs]) => ({ instanceId, ageMs }));
    this.#waiting.clear();
    await this.#send({ instances, sentAtMs: machineMs() });
    this.#busy = false;
    const [next] = this.#waiting;
    if (next !== undefined) this.add(...next);
  }
}

export function createAgentClient(options: {
  readonly timers: Timers;
  readonly log: Log;
}): AgentPort & { close(): Promise<void> } {
  /** One per node of this machine, so the number is small. */
  const peers = new Map<string, Peer>();
  const agentOf = (lease: Lease): Peer => {
    const { agent } = lease.endpoint;
    const known = peers.get(keyOf(agent)) ?? peerOf(agent);
    peers.set(keyOf(agent), known);
    return known;
  };
  const slowReports = new Map<string, SlowReports>();
  const slowReportsOf = (lease: Lease): SlowReports => {
    const key = keyOf(lease.endpoint.agent);
    const known = slowReports.get(key);
    if (known !== undefined) return known;
    const fresh = new SlowReports(options.timers, async (body) => {
      using limit = timeout(options.timers, AGENT_TIMEOUT_MS);
      await agentOf(lease)
        .call('/v1/slow', z.unknown(), { method: 'POST', body, signal: limit.signal })
        .catch((thrown: unknown) => options.log.debug('slow_not_reported', { error: thrown }));
    });
    slowReports.set(key, fresh);
    return fresh;
  };
  const instancePath = (lease: Lease): string => `/v1/instances/${encodeURIComponent(lease.instanceId)}`;
  const tell = (lease: Lease, what: 'overdue' | 'broken', body: object): void => {
    const limit = timeout(options.timers, AGENT_TIMEOUT_MS);
    agentOf(lease)
      .call(`${instancePath(lease)}/${what}`, z.unknown(), { method: 'POST', body, signal: limit.signal })
      .catch((thrown: unknown) =>
        options.log.warn(`${what}_not_reported`, { instance: lease.instanceId, error: thrown }),
      )
      .finally(() => limit[Symbol.dispose]());
  };
  return {
    async exit(lease, waitMs) {
      using limit = timeout(options.timers, waitMs + AGENT_TIMEOUT_MS);
      try {
        return await agentOf(lease).call(`${instancePath(lease)}/exit?waitMs=${waitMs}`, exitReportSchema, {
          signal: limit.signal,
        });
      } catch (thrown) {
        options.log.warn('agent_unreachable', { instance: lease.instanceId, error: thrown });
        // The instance itself can be asked: what still listens has not ended.
        return (await listens(lease.endpoint.instance)) ? { ended: false } : undefined;
      }
    },
    overdue(lease, report) {
      tell(lease, 'overdue', { ...report, sentAtMs: machineMs() });
    },
    broken(lease, requestId) {
      tell(lease, 'broken', { requestId } satisfies BrokenReport);
    },
    slow(lease, ageMs) {
      slowReportsOf(lease).add(lease.instanceId, ageMs);
    },
    async close() {
      await Promise.all([...peers.values()].map((peer) => peer.close()));
    },
  };
}
