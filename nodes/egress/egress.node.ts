/**
 * The agent's side of egress: one thread with a proxy socket per instance. When the thread dies it is
 * started again and given every live slot; requests in flight fail, code can try again.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { PlatformError } from '#shared/errors.ts';
import { parseVersionId, type VersionId } from '#shared/ids.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { UsageEntry } from '#shared/usage/reporter.ts';
import type { AttachedSlot, Attachment } from '../instances/attachment.ts';
import { EGRESS_SOCKET } from '../slots/sockets.ts';
import type {
  EgressRefused,
  EgressSettings,
  EgressUsage,
  FromEgress,
  SlotSpec,
  ToEgress,
} from './messages.ts';

const HEAP_MB_MAX = 512;
const RESTART_MS_MIN = 50;
const RESTART_MS_MAX = 5_000;
/** A thread that lived for this long did not fail at its start. */
const SETTLED_MS = 10_000;
const CLOSE_MS_MAX = 2_000;
/** Versions whose usage waits to be fetched; with more, the oldest are dropped. */
const USAGE_VERSIONS_MAX = 10_000;

export interface EgressOptions {
  readonly settings: EgressSettings;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  /** For the function's log. */
  readonly onRefused: (refused: EgressRefused) => void;
  readonly spawn?: (settings: EgressSettings) => Worker;
}

/** TypeScript beside this file in the repository, JavaScript in an installed package. */
export function spawnEgressThread(settings: EgressSettings): Worker {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new Worker(fileURLToPath(new URL(`./thread.node.${extension}`, import.meta.url)), {
    name: 'egress',
    workerData: settings,
    env: {},
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB_MAX },
  });
}

interface Live {
  readonly spec: SlotSpec;
  /** Settles the first attach; none is left once it listened. */
  waiting: { resolve(): void; reject(error: Error): void } | undefined;
}

export class Egress implements Attachment {
  readonly #options: EgressOptions;
  readonly #live = new Map<string, Live>();
  /** Sealed, for the next thread. */
  readonly #secrets = new Map<string, string>();
  #usage = new Map<VersionId, EgressUsage>();
  #worker: Worker | undefined;
  #startedMs = 0;
  #restartMs = RESTART_MS_MIN;
  #restartTimer: Timer | undefined;
  #closed = false;

  constructor(options: EgressOptions) {
    this.#options = options;
    this.#start();
  }

  attach({ instanceId, folder, owner, runnable }: AttachedSlot): Promise<void> {
    const { subrequests, connections, timeoutMs, streamIdleMs } = runnable.limits;
    const spec: SlotSpec = {
      instanceId,
      versionId: runnable.id,
      socketPath: join(folder, EGRESS_SOCKET),
      owner,
      rules: runnable.egress,
      limits: { subrequests, connections, timeoutMs, streamIdleMs },
    };
    return new Promise((resolve, reject) => {
      this.#live.set(instanceId, { spec, waiting: { resolve, reject } });
      this.#tell({ type: 'attach', spec });
    });
  }

  detach(instanceId: string): void {
    const live = this.#live.get(instanceId);
    if (live === undefined) return;
    this.#live.delete(instanceId);
    // Why it ended is told by the one who waits for its start; that its proxy did not listen is no reason.
    live.waiting?.resolve();
    this.#tell({ type: 'detach', instanceId });
  }

  /** @param key - `account/name`. */
  setSecret(key: string, sealed: string | undefined): void {
    if (sealed === undefined) this.#secrets.delete(key);
    else this.#secrets.set(key, sealed);
    this.#tell({ type: 'secret', key, sealed });
  }

  /** What versions used since the last call. At most a second old. */
  *takeUsage(): Generator<UsageEntry> {
    const usage = this.#usage;
    this.#usage = new Map();
    for (const [versionId, { requests, bytes }] of usage) {
      const { account, functionName } = parseVersionId(versionId);
      yield { account, function: functionName, amounts: { egressRequests: requests, egressBytes: bytes } };
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#restartTimer?.cancel();
    const worker = this.#worker;
    if (worker === undefined) return;
    worker.ref();
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    using _timer = this.#options.timers.after(CLOSE_MS_MAX, () => void worker.terminate());
    this.#tell({ type: 'close' });
    await ended;
  }

  #tell(message: ToEgress): void {
    this.#worker?.postMessage(message);
  }

  #start(): void {
    const { settings, clock, log } = this.#options;
    const worker = (this.#options.spawn ?? spawnEgressThread)(settings);
    this.#worker = worker;
    // An agent that could not start must be able to end.
    worker.unref();
    this.#startedMs = clock.monotonicMs();
    worker.on('message', (message: FromEgress) => this.#hear(message));
    worker.on('error', (error: unknown) => log.error('egress_failed', { error }));
    worker.once('exit', () => this.#exited());
    for (const [key, sealed] of this.#secrets) this.#tell({ type: 'secret', key, sealed });
    for (const { spec } of this.#live.values()) this.#tell({ type: 'attach', spec });
  }

  #exited(): void {
    this.#worker = undefined;
    if (this.#closed) return;
    const { clock, timers, log } = this.#options;
    if (clock.monotonicMs() - this.#startedMs > SETTLED_MS) this.#restartMs = RESTART_MS_MIN;
    log.error('egress_restarts', { delayMs: this.#restartMs, instances: this.#live.size });
    this.#restartTimer = timers.after(this.#restartMs, () => this.#start());
    this.#restartMs = Math.min(RESTART_MS_MAX, this.#restartMs * 2);
  }

  #hear(message: FromEgress): void {
    switch (message.type) {
      case 'attached':
        this.#settle(message.instanceId)?.resolve();
        return;
      case 'attach_failed': {
        const { instanceId } = message;
        this.#options.log.error('egress_attach_failed', { instanceId, message: message.message });
        this.#settle(instanceId)?.reject(
          new PlatformError('internal', `the egress proxy of ${instanceId} could not listen`),
        );
        return;
      }
      case 'refused':
        this.#options.onRefused(message);
        return;
      case 'usage':
        for (const [versionId, used] of message.entries) this.#add(versionId, used);
        return;
      case 'problem':
        this.#options.log.error(message.event, { message: message.message });
    }
  }

  #settle(instanceId: string): Live['waiting'] {
    const live = this.#live.get(instanceId);
    const waiting = live?.waiting;
    if (live !== undefined) live.waiting = undefined;
    return waiting;
  }

  #add(versionId: VersionId, used: EgressUsage): void {
    const before = this.#usage.get(versionId) ?? { requests: 0, bytes: 0 };
    this.#usage.set(versionId, {
      requests: before.requests + used.requests,
      bytes: before.bytes + used.bytes,
    });
    for (const oldest of this.#usage.keys()) {
      if (this.#usage.size <= USAGE_VERSIONS_MAX) break;
      this.#usage.delete(oldest);
    }
  }
}
