/**
 * One sandboxed workerd process: spawned, waiting on stdin, running one version, ended.
 *
 * Its descriptors: stdin takes the config once; stdout and stderr are always drained, because workerd
 * writes to them blocking; {@link CONTROL_FD} reports that the socket listens; {@link INFO_FD} tells the
 * pid of workerd behind bwrap, which is the process that is measured and killed.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { chown, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { ExitReason } from '#shared/contracts/nodes.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import type { Cgroups } from '../sandbox/cgroup.node.ts';
import { CONTROL_FD, INFO_FD, type SlotCommand } from '../sandbox/profile.ts';
import { gatherOutput } from './gather.ts';
import { INSTANCE_SOCKET_FILE } from './sockets.ts';
import { nextSlotState, type SlotEvent, type SlotState } from './lifecycle.ts';
import { saysOutOfMemory } from './stderr.ts';

/** Kept of stderr to explain a failed start or a death. */
const STDERR_TAIL_LENGTH = 16_384;

export interface SlotOptions {
  readonly command: SlotCommand;
  readonly slotDir: string;
  /** User that the process runs as, when it is not the agent's. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  readonly seccompFile: string;
  readonly timers: Timers;
  /** Group of the process, when the machine has such: entered while it waits, left after its end. */
  readonly group?: Pick<Cgroups, 'add' | 'ranOutOfMemory' | 'remove'>;
}

export interface SlotSink {
  stdout(chunk: Uint8Array): void;
  stderr(chunk: Uint8Array): void;
}

export type StartOutcome =
  | { readonly kind: 'listening' }
  | { readonly kind: 'ended'; readonly reason: ExitReason; readonly stderr: string };

export class Slot {
  readonly socketPath: string;
  /** Resolves when the process is gone, its pipes are read to the end and its folder is removed. */
  readonly ended: Promise<ExitReason>;
  readonly #child: ChildProcess;
  readonly #options: SlotOptions;
  #state: SlotState = { kind: 'spawning' };
  #pid: number | undefined;
  #stderrTail = '';
  #sink: SlotSink | undefined;
  readonly #spawned: Promise<void>;
  #onStarted: ((outcome: StartOutcome) => void) | undefined;

  private constructor(options: SlotOptions, child: ChildProcess) {
    this.#options = options;
    this.#child = child;
    this.socketPath = join(options.slotDir, INSTANCE_SOCKET_FILE);
    child.stdin?.on('error', () => undefined); // a process that died early is reported by its exit
    gatherOutput(child, options.timers, (chunk) => this.#sink?.stdout(chunk));
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderrTail = (this.#stderrTail + chunk.toString('utf8')).slice(-STDERR_TAIL_LENGTH);
      this.#sink?.stderr(chunk);
    });
    (child.stdio[CONTROL_FD] as Readable).on('data', (chunk: Buffer) => {
      if (chunk.includes('"listen"')) this.#apply({ kind: 'listening' });
    });
    this.#spawned = options.command.sandboxed ? this.#readInfo() : this.#useOwnPid();
    this.ended = this.#waitForEnd();
  }

  static async spawn(options: SlotOptions): Promise<Slot> {
    // Removed first: workerd refuses a socket file that a crashed agent left.
    await rm(options.slotDir, { recursive: true, force: true });
    await mkdir(options.slotDir, { mode: 0o700 });
    const { command, owner } = options;
    if (owner !== undefined) await chown(options.slotDir, owner.uid, owner.gid);
    const filter = command.sandboxed ? openSync(options.seccompFile, 'r') : 'ignore';
    try {
      const child = spawn(command.file, command.args, {
        env: {},
        // Sockets are named relative to it, so that one config fits every slot.
        cwd: options.slotDir,
        stdio: ['pipe', 'pipe', 'pipe', 'pipe', filter, command.sandboxed ? 'pipe' : 'ignore'],
      });
      return new Slot(options, child);
    } finally {
      if (typeof filter === 'number') closeSync(filter);
    }
  }

  get state(): SlotState {
    return this.#state;
  }

  /** workerd's pid as this machine sees it; undefined until the sandbox is up and after the end. */
  get pid(): number | undefined {
    return this.#state.kind === 'ended' ? undefined : this.#pid;
  }

  /** Folder that the process has as its working folder. */
  get folder(): string {
    return this.#options.slotDir;
  }

  get owner(): SlotOptions['owner'] {
    return this.#options.owner;
  }

  get stderrTail(): string {
    return this.#stderrTail;
  }

  /** Resolves when the process waits for its config (or has ended). */
  spawned(): Promise<void> {
    return this.#spawned;
  }

  /** Gives the slot its config. From here on output goes to `sink`. May be called once. */
  start(config: Uint8Array, sink: SlotSink): Promise<StartOutcome> {
    this.#sink = sink;
    return new Promise((resolve) => {
      this.#onStarted = resolve;
      const { state } = this;
      if (state.kind === 'ended') return this.#reportStart();
      this.#apply({ kind: 'assigned' });
      (this.#child.stdin as Writable).end(config);
    });
  }

  /** Lets requests in flight finish for `graceMs`, then kills. A second call may only shorten the grace. */
  stop(graceMs: number): void {
    if (this.#state.kind === 'ended') return;
    const before = this.#state.kind;
    this.#apply({ kind: 'stop_requested' });
    if (graceMs <= 0 || (before !== 'running' && before !== 'draining')) {
      this.#signal('SIGKILL');
      return;
    }
    // workerd drains on SIGTERM: no new connections, requests in flight go on.
    if (before === 'running') this.#signal('SIGTERM');
    const timer = this.#options.timers.after(graceMs, () => this.#signal('SIGKILL'));
    void this.ended.then(() => timer.cancel());
  }

  kill(reason: ExitReason): void {
    if (this.#state.kind === 'ended') return;
    this.#apply({ kind: 'kill_requested', reason });
    this.#signal('SIGKILL');
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#state.kind === 'ended' || this.#child.exitCode !== null || this.#child.signalCode !== null)
      return;
    if (this.#pid !== undefined && this.#pid !== this.#child.pid) {
      try {
        process.kill(this.#pid, signal);
      } catch {
        // Already gone; the exit event follows.
      }
    }
    // Killing bwrap takes everything inside with it; SIGTERM must reach workerd alone.
    if (signal === 'SIGKILL' || this.#pid === this.#child.pid) this.#child.kill(signal);
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
      report?.({ kind: 'ended', reason: this.#state.reason, stderr: this.#stderrTail });
  }

  #enter(pid: number): void {
    this.#pid = pid;
    try {
      this.#options.group?.add(pid);
    } catch (thrown) {
      this.#stderrTail += `\nthe process could not enter its group: ${String(thrown)}`;
      this.kill('crashed');
      return;
    }
    this.#apply({ kind: 'spawned' });
  }

  #useOwnPid(): Promise<void> {
    if (this.#child.pid !== undefined) this.#enter(this.#child.pid);
    return Promise.resolve();
  }

  #readInfo(): Promise<void> {
    return new Promise((resolve) => {
      let text = '';
      const info = (this.#child.stdio as readonly unknown[])[INFO_FD] as Readable;
      info.on('data', (chunk: Buffer) => {
        if (text.length < 4_096) text += chunk.toString('utf8');
        const match = /"child-pid":\s*(\d+)/.exec(text);
        if (match === null || this.#pid !== undefined) return;
        this.#enter(Number(match[1]));
        resolve();
      });
      info.on('error', () => resolve());
      info.on('close', () => resolve());
    });
  }

  #waitForEnd(): Promise<ExitReason> {
    return new Promise((resolve) => {
      let finished = false;
      const finish = (): void => {
        if (finished) return;
        finished = true;
        const killedByKernel =
          this.#pid !== undefined && this.#options.group?.ranOutOfMemory(this.#pid) === true;
        if (this.#pid !== undefined) this.#options.group?.remove(this.#pid);
        this.#apply({ kind: 'exited', outOfMemory: killedByKernel || saysOutOfMemory(this.#stderrTail) });
        this.#reportStart();
        const reason = this.#state.kind === 'ended' ? this.#state.reason : 'crashed';
        void rm(this.#options.slotDir, { recursive: true, force: true }).then(
          () => resolve(reason),
          () => resolve(reason),
        );
      };
      // `close` comes after the pipes are drained, so the last words are known.
      this.#child.once('close', finish);
      this.#child.once('error', (error) => {
        this.#stderrTail += `\n${error.message}`;
        finish();
      });
    });
  }
}
