/**
 * A thread of one kind, seen from the agent: started when first needed, started again when it dies.
 *
 * Sockets are listened on by the thread itself, so no byte of user code passes the agent's event loop, which
 * watches over CPU time. After a restart the thread gets the state and all live sockets again; meanwhile
 * connections are refused, and what was in flight fails: code can try again.
 */
import { Worker, type WorkerOptions } from 'node:worker_threads';
import { isErrorCode, PlatformError, type ErrorCode } from '#shared/errors.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { UsageEntry } from '#shared/usage/reporter.ts';
import type { AttachmentSocket, FromThread, StateEntry, ToThread } from './protocol.ts';

export type SpawnThread = (entry: URL, options: WorkerOptions) => Worker;

export interface ThreadOptions {
  readonly name: string;
  readonly entry: URL;
  readonly data: unknown;
  readonly log: Log;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly spawn?: SpawnThread;
  /** Everything that {@link AttachmentThread.state} was told so far. */
  readonly snapshot: () => readonly StateEntry[];
  readonly onRefused: (instanceId: string, message: string, requestId: string | undefined) => void;
  readonly onUsage: (entries: readonly UsageEntry[]) => void;
}

interface Attaching {
  readonly sockets: readonly AttachmentSocket[];
  settle: ((problem: string | undefined) => void) | undefined;
}

interface Asked {
  readonly unavailable: ErrorCode;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: PlatformError) => void;
}

/** Of its V8 heap; bodies lie outside and have bounds of their own. */
const HEAP_MB_MAX = 512;
const RESTART_MS_MIN = 50;
const RESTART_MS_MAX = 5_000;
/** A thread that ran for this long had started well: its next death is not a repetition. */
const STEADY_MS = 10_000;
const ASKED_MAX = 256;
const CLOSE_MS_MAX = 2_000;

export class AttachmentThread {
  readonly #options: ThreadOptions;
  readonly #attached = new Map<string, Attaching>();
  readonly #asked = new Map<number, Asked>();
  #nextAsk = 0;
  #worker: Worker | undefined;
  #startedMs = 0;
  #restart: Timer | undefined;
  #restartMs = RESTART_MS_MIN;
  #closed = false;

  constructor(options: ThreadOptions) {
    this.#options = options;
  }

  /** For a kind that every instance needs: the first one does not wait for the thread. */
  start(): void {
    if (this.#worker === undefined && this.#restart === undefined && !this.#closed) this.#start();
  }

  /** Resolves when every socket listens, or the instance has ended: why it did is told by whoever starts it. */
  attach(instanceId: string, sockets: readonly AttachmentSocket[]): Promise<void> {
    if (this.#closed) return Promise.reject(new PlatformError('internal', 'the bindings are closed'));
    return new Promise((resolve, reject) => {
      this.#attached.set(instanceId, {
        sockets,
        settle: (problem) => {
          if (problem === undefined) resolve();
          else
            reject(new PlatformError('internal', `the sockets of ${instanceId} do not listen: ${problem}`));
        },
      });
      if (this.#worker === undefined && this.#restart === undefined) this.#start();
      else this.#send({ type: 'attach', instanceId, sockets });
    });
  }

  detach(instanceId: string): void {
    const attaching = this.#attached.get(instanceId);
    if (attaching === undefined) return;
    this.#attached.delete(instanceId);
    attaching.settle?.(undefined);
    this.#send({ type: 'detach', instanceId });
  }

  state(entries: readonly StateEntry[]): void {
    this.#send({ type: 'state', entries });
  }

  /** @throws {PlatformError} of the thread; `unavailable` when it is not there or has too much to do. */
  ask(question: unknown, unavailable: ErrorCode): Promise<unknown> {
    if (this.#closed || this.#asked.size >= ASKED_MAX || this.#restart !== undefined)
      return Promise.reject(refusal(unavailable, 'the thread cannot take a question now'));
    if (this.#worker === undefined) this.#start();
    return new Promise((resolve, reject) => {
      this.#nextAsk += 1;
      this.#asked.set(this.#nextAsk, { unavailable, resolve, reject });
      this.#send({ type: 'ask', id: this.#nextAsk, question });
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#restart?.cancel();
    const worker = this.#worker;
    if (worker === undefined) return;
    worker.ref();
    const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    this.#send({ type: 'close' });
    const timer = this.#options.timers.after(CLOSE_MS_MAX, () => void worker.terminate());
    await exited;
    timer.cancel();
  }

  #send(message: ToThread): void {
    this.#worker?.postMessage(message);
  }

  #start(): void {
    const { entry, data, name, log, clock, spawn = spawnThread, snapshot } = this.#options;
    this.#restart = undefined;
    // Of the agent it gets nothing but its data: no environment, no flags.
    const worker = spawn(entry, {
      name,
      workerData: data,
      env: {},
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB_MAX },
    });
    this.#worker = worker;
    // An agent that could not start must be able to end.
    worker.unref();
    this.#startedMs = clock.monotonicMs();
    worker.on('message', (message: FromThread) => this.#receive(message));
    worker.on('error', (error) => log.error('attachment_thread_failed', { kind: name, error }));
    worker.once('exit', () => this.#ended());
    this.#send({ type: 'state', entries: snapshot() });
    for (const [instanceId, { sockets }] of this.#attached)
      this.#send({ type: 'attach', instanceId, sockets });
  }

  #ended(): void {
    this.#worker = undefined;
    for (const { unavailable, reject } of this.#asked.values())
      reject(refusal(unavailable, 'the thread ended'));
    this.#asked.clear();
    if (this.#closed) return;
    const { name, clock, timers, log } = this.#options;
    if (clock.monotonicMs() - this.#startedMs > STEADY_MS) this.#restartMs = RESTART_MS_MIN;
    log.error('attachment_thread_ended', {
      kind: name,
      restartMs: this.#restartMs,
      instances: this.#attached.size,
    });
    this.#restart = timers.after(this.#restartMs, () => this.#start());
    this.#restartMs = Math.min(RESTART_MS_MAX, this.#restartMs * 2);
  }

  #receive(message: FromThread): void {
    switch (message.type) {
      case 'attached': {
        const attaching = this.#attached.get(message.instanceId);
        attaching?.settle?.(message.problem);
        if (attaching !== undefined) attaching.settle = undefined;
        break;
      }
      case 'answer':
        this.#asked.get(message.id)?.resolve(message.value);
        this.#asked.delete(message.id);
        break;
      case 'failed': {
        const code = isErrorCode(message.code) ? message.code : 'internal';
        this.#asked
          .get(message.id)
          ?.reject(
            new PlatformError(
              code,
              'the thread refused',
              message.detail === '' ? {} : { publicDetail: message.detail },
            ),
          );
        this.#asked.delete(message.id);
        break;
      }
      case 'refused':
        this.#options.onRefused(message.instanceId, message.message, message.requestId);
        break;
      case 'usage':
        this.#options.onUsage(message.entries);
        break;
      case 'log':
        this.#options.log[message.level](message.event, { ...message.fields, kind: this.#options.name });
        break;
    }
  }
}

const spawnThread: SpawnThread = (entry, options) => new Worker(entry, options);

function refusal(code: ErrorCode, detail: string): PlatformError {
  return new PlatformError(code, detail, { retryAfterMs: 1_000 });
}
