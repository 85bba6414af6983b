/** The instances of this node: started on request, listed, stopped, and remembered for a while after their end. */
import type { Address } from '#shared/contracts/address.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import type { Endpoint } from '#shared/contracts/leases.ts';
import type {
  ExitReason,
  ExitReport,
  NodeHeartbeat,
  StartReply,
  StartRequest,
} from '#shared/contracts/nodes.ts';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import type { VersionId } from '#shared/ids.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { Programs } from '../code/programs.ts';
import { LogCollector } from '../logs/collector.ts';
import type { LogStore } from '../logs/store.ts';
import type { Program, Slot } from '../slots/slot.ts';
import { callHook } from './hooks.ts';
import { launch, type LaunchOptions } from './launch.ts';
import { stoppedBeforeStart } from './starts.ts';

export interface InstancesOptions {
  readonly launch: LaunchOptions;
  readonly programs: Programs;
  readonly logs: LogStore;
  readonly log: Log;
  readonly capacity: number;
  /** No start takes memory below the reserve: what runs already needs it. */
  readonly memory: { readonly freeBytes: () => number; readonly reserveBytes: number };
  readonly agentAddress: Address;
  /** Its secrets have changed since it was started. */
  readonly isOutdated: (runnable: Runnable) => boolean;
  /** Waits a while for the feed to bring the version. */
  readonly findRunnable: (versionId: VersionId) => Promise<Runnable | undefined>;
}

/** Hears of the life of each instance that has started. */
export interface InstanceObserver {
  started(instance: RunningInstance): void;
  /** The process is about to be told to end. */
  stopping(instanceId: string): void;
  /** Once, after the end is recorded. */
  ended(instance: RunningInstance): void;
}

export interface RunningInstance {
  readonly id: string;
  readonly runnable: Runnable;
  readonly slot: Slot;
  readonly endpoint: Endpoint;
  readonly collector: LogCollector;
  readonly eventSecret: string;
}

interface Entry {
  readonly versionId: VersionId;
  started: Promise<StartReply>;
  running: RunningInstance | undefined;
  slot: Slot | undefined;
  /** Set by the first stop; later ones may only shorten it. */
  graceMs: number | undefined;
  blamedRequestId: string | undefined;
  /** Of its wait for a turn to start. */
  readonly stopped: AbortController;
}

type Exit = NodeHeartbeat['exits'][number];

/** Ends that are remembered for gateways which ask later, and that wait for the scheduler. */
const ENDED_MAX = 2_000;
/** A full node is asked again after this. */
const RETRY_AFTER_MS = 1_000;

export class Instances {
  readonly #options: InstancesOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #ended = new Map<string, ExitReport>();
  readonly #waiters = new Map<string, Set<() => void>>();
  readonly #observers: InstanceObserver[] = [];
  #unreported: Exit[] = [];
  /** What {@link list} said last, while nothing has started or ended since. */
  #listed: NodeHeartbeat['instances'] | undefined;
  #starts = 0;
  readonly #exitCounts = new Map<ExitReason, number>();

  constructor(options: InstancesOptions) {
    this.#options = options;
  }

  /** For as long as there are instances. */
  observe(observer: InstanceObserver): void {
    this.#observers.push(observer);
  }

  get count(): number {
    return this.#entries.size;
  }

  get(instanceId: string): RunningInstance | undefined {
    return this.#entries.get(instanceId)?.running;
  }

  /** Since the start of the agent: instances that came up, and how they ended. */
  counts(): { readonly starts: number; readonly exits: ReadonlyMap<ExitReason, number> } {
    return { starts: this.#starts, exits: this.#exitCounts };
  }

  /** The same object for as long as it is the same list. */
  list(): NodeHeartbeat['instances'] {
    if (this.#listed === undefined || !this.#isListed(this.#listed)) this.#listed = this.#makeList();
    return this.#listed;
  }

  #isListed(list: NodeHeartbeat['instances']): boolean {
    return list.every(({ instanceId, outdated = false }) => {
      const running = this.#entries.get(instanceId)?.running;
      return running !== undefined && this.#options.isOutdated(running.runnable) === outdated;
    });
  }

  #makeList(): NodeHeartbeat['instances'] {
    return [...this.#entries.values()].flatMap(({ running }) =>
      running === undefined
        ? []
        : [
            {
              instanceId: running.id,
              versionId: running.runnable.id,
              endpoint: running.endpoint,
              ...(this.#options.isOutdated(running.runnable) ? { outdated: true } : {}),
            },
          ],
    );
  }

  /** Ends that the scheduler has not confirmed yet. */
  exits(): readonly Exit[] {
    return this.#unreported;
  }

  confirmExits(reported: readonly Exit[]): void {
    const gone = new Set(reported);
    this.#unreported = this.#unreported.filter((exit) => !gone.has(exit));
  }

  /** Idempotent by instance id: a repeated request gets the answer of the first. */
  start(request: StartRequest): Promise<StartReply> {
    const known = this.#entries.get(request.instanceId);
    if (known !== undefined) return known.started;
    if (this.#ended.has(request.instanceId))
      return Promise.reject(
        new PlatformError('conflict', `instance ${request.instanceId} has already ended`),
      );
    const full = this.#whyFull();
    if (full !== undefined)
      return Promise.reject(new PlatformError('no_capacity', full, { retryAfterMs: RETRY_AFTER_MS }));
    const entry: Entry = {
      versionId: request.versionId,
      started: Promise.resolve(undefined as never),
      running: undefined,
      slot: undefined,
      graceMs: undefined,
      blamedRequestId: undefined,
      stopped: new AbortController(),
    };
    this.#entries.set(request.instanceId, entry);
    entry.started = this.#start(request, entry).catch((thrown: unknown) => {
      this.#entries.delete(request.instanceId);
      throw thrown;
    });
    return entry.started;
  }

  /** Drains for `graceMs`, after the `preStop` hook when there is one. A second call may only shorten the grace. */
  stop(instanceId: string, graceMs: number): void {
    this.#stop(instanceId, { graceMs, preStopMsMax: Infinity });
  }

  /** Kills for a broken limit and tells the function's owner why. */
  kill(instanceId: string, cause: { reason: ExitReason; message: string; requestId?: string }): void {
    const entry = this.#entries.get(instanceId);
    if (entry?.running === undefined || entry.running.slot.state.kind === 'killing') return;
    entry.blamedRequestId = cause.requestId;
    entry.running.collector.platform(cause.message, cause.requestId === '' ? undefined : cause.requestId);
    entry.running.slot.kill(cause.reason);
  }

  /** Resolves with the end, or with `{ ended: false }` after `waitMs`. Unknown instances have ended. */
  async exit(instanceId: string, waitMs: number): Promise<ExitReport> {
    if (this.#entries.has(instanceId) && waitMs > 0) await this.#waitForEnd(instanceId, waitMs);
    if (this.#entries.has(instanceId)) return { ended: false };
    return this.#ended.get(instanceId) ?? { ended: true };
  }

  async close(graceMs: number): Promise<void> {
    const ends = [...this.#entries.entries()].map(async ([id, entry]) => {
      // The node's own end does not wait longer than it was told.
      const terms = { graceMs, preStopMsMax: graceMs };
      this.#stop(id, terms);
      await entry.started.catch(() => undefined);
      this.#stop(id, terms);
      await entry.slot?.ended;
    });
    await Promise.all(ends);
  }

  #whyFull(): string | undefined {
    const { capacity, memory } = this.#options;
    if (this.#entries.size >= capacity) return `the node holds ${capacity} instances`;
    return memory.freeBytes() < memory.reserveBytes ? 'the node has no memory to spare' : undefined;
  }

  #stop(instanceId: string, terms: { readonly graceMs: number; readonly preStopMsMax: number }): void {
    const entry = this.#entries.get(instanceId);
    if (entry === undefined) return;
    const isFirst = entry.graceMs === undefined;
    const graceMs = Math.min(entry.graceMs ?? Infinity, terms.graceMs);
    entry.graceMs = graceMs;
    const preStop = graceMs === 0 ? undefined : entry.running?.runnable.hooks.preStop;
    const end = (): void => {
      entry.stopped.abort(stoppedBeforeStart());
      for (const observer of this.#observers) observer.stopping(instanceId);
      entry.slot?.stop(entry.graceMs ?? graceMs);
    };
    if (preStop === undefined || entry.running === undefined) end();
    else if (isFirst)
      void this.#preStop(entry.running, Math.min(preStop.timeoutMs, terms.preStopMsMax)).then(end);
  }

  /** A hook that fails is told to the function's owner and holds up nothing. */
  async #preStop({ slot, collector, eventSecret }: RunningInstance, timeoutMs: number): Promise<void> {
    const { timers } = this.#options.launch;
    const outcome = await callHook({
      folder: slot.folder,
      name: 'preStop',
      secret: eventSecret,
      timeoutMs,
      timers,
    });
    if (outcome.kind !== 'done') collector.platform(`The instance is being stopped: ${outcome.message}.`);
  }

  async #start(request: StartRequest, entry: Entry): Promise<StartReply> {
    const { instanceId, versionId } = request;
    const runnable = await this.#options.findRunnable(versionId);
    if (runnable === undefined)
      throw new PlatformError('version_not_found', `the feed has not brought ${versionId}`);
    let mark = '';
    const programOf = async (): Promise<Program> => {
      const program = await this.#options.programs.of(runnable).catch(ofServed);
      mark = program.logMark;
      return program;
    };
    const collector = new LogCollector({
      // Known once the code was read, which is before there is a process that could write a line.
      get mark() {
        return mark;
      },
      instanceId,
      versionId,
      bucket: this.#options.logs.bucketOf(versionId, runnable.limits.logBytesPerSecond),
      append: (line) => this.#options.logs.append(line),
      clock: this.#options.launch.clock,
      timers: this.#options.launch.timers,
    });
    const outcome = await launch(this.#options.launch, runnable, programOf, {
      instanceId,
      stopped: entry.stopped.signal,
      purpose: 'serve',
      sink: collector,
      refused: (message, requestId) => collector.platform(message, requestId),
      onSlot: (slot) => {
        entry.slot = slot;
        if (entry.graceMs !== undefined) slot.stop(0);
      },
    });
    if (outcome.kind === 'failed') {
      collector.end();
      const { message, stack } = outcome.failure;
      if (outcome.reason === 'startup_failed') collector.platform(`The instance did not start: ${message}`);
      throw new PlatformError(startCode(outcome.reason), message, {
        extensions: { reason: message, ...(stack === undefined ? {} : { stack }) },
      });
    }
    const endpoint: Endpoint = {
      instance: outcome.slot.address,
      agent: this.#options.agentAddress,
    };
    const running = {
      id: instanceId,
      runnable,
      slot: outcome.slot,
      endpoint,
      collector,
      eventSecret: outcome.program.eventSecret,
    };
    entry.running = running;
    this.#listed = undefined;
    this.#starts += 1;
    for (const observer of this.#observers) observer.started(running);
    void outcome.slot.ended.then((reason) => this.#finish(running, entry, reason));
    return { endpoint, startMs: outcome.startMs };
  }

  #finish(running: RunningInstance, entry: Entry, reason: ExitReason): void {
    const { id, collector, slot } = running;
    const blamed = entry.blamedRequestId;
    this.#exitCounts.set(reason, (this.#exitCounts.get(reason) ?? 0) + 1);
    if (reason === 'crashed')
      collector.platform(`The process of the instance ended by itself. ${lastWords(slot.stderrTail)}`.trim());
    if (reason === 'evicted')
      collector.platform(
        'The instance was being stopped and still worked at the end of its grace: it was killed. Work that goes on after the answer must end by itself.',
      );
    if (reason === 'memory_exceeded' && slot.stderrTail !== '')
      collector.platform('The instance ran out of memory and ended.');
    collector.end();
    this.#entries.delete(id);
    this.#listed = undefined;
    this.#ended.set(id, {
      ended: true,
      reason,
      ...(blamed === undefined ? {} : { blamedRequestId: blamed }),
    });
    for (const oldest of this.#ended.keys()) {
      if (this.#ended.size <= ENDED_MAX) break;
      this.#ended.delete(oldest);
    }
    this.#unreported = [...this.#unreported, { instanceId: id, versionId: entry.versionId, reason }].slice(
      -ENDED_MAX,
    );
    this.#options.log.info('instance_ended', { instanceId: id, versionId: entry.versionId, reason });
    for (const wake of this.#waiters.get(id) ?? []) wake();
    this.#waiters.delete(id);
    for (const observer of this.#observers) observer.ended(running);
  }

  #waitForEnd(instanceId: string, waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.#waiters.get(instanceId) ?? new Set();
      this.#waiters.set(instanceId, waiters);
      const timer = this.#options.launch.timers.after(waitMs, finish);
      function finish(): void {
        timer.cancel();
        waiters.delete(finish);
        resolve();
      }
      waiters.add(finish);
    });
  }
}

/** Callers name a function, which is there; that a blob of it is lost is not "not found" to them. */
function ofServed(thrown: unknown): never {
  if (!(thrown instanceof PlatformError) || thrown.code !== 'blob_not_found') throw thrown;
  throw new PlatformError('code_unavailable', 'control lacks code of a served version', {
    cause: thrown,
    retryAfterMs: 1_000,
  });
}

function startCode(reason: ExitReason): ErrorCode {
  if (reason === 'memory_exceeded') return 'memory_exceeded';
  // One that crashed did so before it had its code: afterwards the reason would be `startup_failed`.
  return reason === 'stopped' || reason === 'evicted' || reason === 'crashed'
    ? 'instance_lost'
    : 'startup_failed';
}

/** The first line of a fatal message, if there is one; workerd's own paths are not for users. */
function lastWords(stderr: string): string {
  const fatal = stderr.split('\n').find((line) => /^# Fatal|fatal|Fatal error/.test(line));
  return fatal === undefined ? '' : `V8 said: ${fatal.replace(/^[#\s]+/, '').slice(0, 300)}`;
}
