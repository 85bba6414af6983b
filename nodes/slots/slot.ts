/** One guest and its life: waiting for a config, running one version, ended. */
import { join } from 'node:path';
import type { ExitReason } from '#shared/contracts/nodes.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import type { Sample } from '../limits/watch.ts';
import { nextSlotState, type SlotEvent, type SlotState } from './lifecycle.ts';
import type { Guest, GuestEnd, GuestEvents, GuestIdentity, SlotRunner } from './runner.ts';
import { addressAt, type Address } from '#shared/contracts/address.ts';
import { INSTANCE_SOCKET_FILE } from './sockets.ts';
import { saysOutOfMemory } from './stderr.ts';

/** Kept of stderr to explain a failed start or a death. */
const STDERR_TAIL_LENGTH = 16_384;
/**
 * The least grace of a stop. workerd with nothing in flight ends within some 10 ms of being asked (longer on
 * a machine that is out of breath), which is how it is known that nothing was.
 */
const GRACE_MS_MIN = 1_000;

export interface SlotOptions {
  readonly runner: SlotRunner;
  readonly folder: string;
  readonly timers: Timers;
}

export interface SlotSink {
  stdout(chunk: Uint8Array): void;
  stderr(chunk: Uint8Array): void;
}

/** An encoded config and the names of the sockets that it declares. */
export interface Program {
  readonly config: Uint8Array;
  readonly sockets: readonly string[];
  /** Names the address at which the instance takes events of the agent. */
  readonly eventSecret: string;
  /** Begins the lines of its entry code on stdout. */
  readonly logMark: string;
}

export type StartOutcome =
  | { readonly kind: 'listening' }
  | { readonly kind: 'ended'; readonly reason: ExitReason; readonly stderr: string };

/** What a guest tells, from before there is a slot around it. */
class Heard implements GuestEvents {
  readonly #decoder = new TextDecoder();
  stderrTail = '';
  sink: SlotSink | undefined;
  onListening: (() => void) | undefined;

  stdout(chunk: Uint8Array): void {
    this.sink?.stdout(chunk);
  }

  stderr(chunk: Uint8Array): void {
    this.keep(this.#decoder.decode(chunk, { stream: true }));
    this.sink?.stderr(chunk);
  }

  listening(): void {
    this.onListening?.();
  }

  keep(text: string): void {
    this.stderrTail = (this.stderrTail + text).slice(-STDERR_TAIL_LENGTH);
  }
}

export class Slot {
  readonly address: Address;
  /** Resolves when the process is gone, its pipes are read to the end and its folder is removed. */
  readonly ended: Promise<ExitReason>;
  readonly #options: SlotOptions;
  readonly #guest: Guest;
  readonly #spawned: Promise<void>;
  readonly #heard: Heard;
  #state: SlotState = { kind: 'spawning' };
  #onStarted: ((outcome: StartOutcome) => void) | undefined;

  private constructor(options: SlotOptions, guest: Guest, heard: Heard) {
    this.#options = options;
    this.#guest = guest;
    this.#heard = heard;
    this.address = addressAt(join(options.folder, INSTANCE_SOCKET_FILE));
    heard.onListening = () => this.#apply({ kind: 'listening' });
    this.#spawned = guest.ready.then((ready) => {
      if (ready.kind === 'waiting') return this.#apply({ kind: 'spawned' });
      heard.keep(`\n${ready.detail}`);
      return this.kill('crashed');
    });
    this.ended = guest.ended.then((end) => this.#end(end));
  }

  /** @throws what the runner throws; nothing is left then. */
  static async spawn(options: SlotOptions): Promise<Slot> {
    const heard = new Heard();
    return new Slot(options, await options.runner.run(options.folder, heard), heard);
  }

  get state(): SlotState {
    return this.#state;
  }

  sample(nowMs: number, previous?: Sample): Sample | undefined {
    return this.#guest.sample(nowMs, previous);
  }

  lower(): void {
    this.#guest.lower();
  }

  restore(): void {
    this.#guest.restore();
  }

  /** Folder of its sockets, which the process has as its working folder. */
  get folder(): string {
    return this.#options.folder;
  }

  get owner(): GuestIdentity | undefined {
    return this.#guest.owner;
  }

  /** Loopback port of its debugger, when it has one. */
  get inspectorPort(): number | undefined {
    return this.#guest.inspectorPort;
  }

  get stderrTail(): string {
    return this.#heard.stderrTail;
  }

  /** Resolves when the process waits for its config (or has ended). */
  spawned(): Promise<void> {
    return this.#spawned;
  }

  /** @throws when the limit is not in force; the slot must not run then. */
  setMemory(memoryMb: number): Promise<void> {
    return this.#guest.setMemory(memoryMb);
  }

  /** Gives the slot its config. From here on output goes to `sink`. May be called once. */
  start(program: Program, sink: SlotSink): Promise<StartOutcome> {
    this.#heard.sink = sink;
    return new Promise((resolve) => {
      this.#onStarted = resolve;
      const { state } = this;
      if (state.kind === 'ended') return this.#reportStart();
      this.#apply({ kind: 'assigned' });
      // One that is being killed gets no code; its end is the answer.
      if (this.#state.kind === 'starting') this.#guest.give(program.config, program.sockets);
    });
  }

  /**
   * Lets requests in flight finish for `graceMs`, then evicts. A second call may only shorten the grace.
   * Whatever the grace, a process that has nothing in flight ends as `stopped`.
   */
  stop(graceMs: number): void {
    if (this.#state.kind === 'ended') return;
    const before = this.#state.kind;
    if (before !== 'running' && before !== 'draining') return this.kill('stopped');
    this.#apply({ kind: 'stop_requested' });
    // workerd drains when it is asked to end: no new connections, requests in flight go on.
    if (before === 'running') this.#guest.terminate();
    const timer = this.#options.timers.after(Math.max(GRACE_MS_MIN, graceMs), () => this.kill('evicted'));
    void this.ended.then(() => timer.cancel());
  }

  kill(reason: ExitReason): void {
    if (this.#state.kind === 'ended') return;
    this.#apply({ kind: 'kill_requested', reason });
    this.#guest.kill();
  }

  #apply(event: SlotEvent): void {
    const before = this.#state;
    this.#state = nextSlotState(before, event);
    if (before.kind === 'starting' && this.#state.kind === 'running') this.#reportStart();
  }

  #reportStart(): void {
    const report = this.#onStarted;
    this.#onStarted = undefined;
    if (this.#state.kind === 'running') report?.({ kind: 'listening' });
    else if (this.#state.kind === 'ended')
      report?.({ kind: 'ended', reason: this.#state.reason, stderr: this.stderrTail });
  }

  #end({ outOfMemory, inOrder, fromOutside }: GuestEnd): ExitReason {
    this.#apply({
      kind: 'exited',
      outOfMemory: outOfMemory || saysOutOfMemory(this.stderrTail),
      inOrder,
      fromOutside,
    });
    this.#reportStart();
    return this.#state.kind === 'ended' ? this.#state.reason : 'crashed';
  }
}
