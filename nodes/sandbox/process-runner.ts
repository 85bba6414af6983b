/**
 * Guests as processes: workerd behind bwrap, or as much of that as the machine has.
 *
 * Descriptors of the process: stdin takes the config once; stdout and stderr are always drained, because
 * workerd writes to them blocking; {@link CONTROL_FD} reports the sockets that listen; {@link INFO_FD} tells
 * the pid of workerd behind bwrap, which is the process that is measured, lowered and killed. Nobody else knows it.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { chown, mkdir, readdir, rm, rmdir, unlink } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';
import { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Timer, Timers } from '#shared/runtime/clock.ts';
import { gatherOutput } from '../slots/gather.ts';
import type { Guest, GuestEnd, GuestEvents, GuestIdentity, GuestReady, SlotRunner } from '../slots/runner.ts';
import type { Cgroups, GroupTerms } from './cgroup.ts';
import type { IdentitySource } from './identities.ts';
import type { Sample } from '../limits/watch.ts';
import type { Priority } from './priority.ts';
import { sampleProcess } from './proc.ts';
import {
  CONTROL_FD,
  dataLimitBytes,
  dataLimitCommand,
  INFO_FD,
  slotCommand,
  type DataLimit,
  type SandboxProfile,
} from './profile.ts';
import type { TierLimits } from './tiers.ts';

const run = promisify(execFile);
/** A sandbox that has not come up by then is killed as it is. */
const COMING_UP_MS_MAX = 5_000;
const INFO_LENGTH_MAX = 4_096;
/** A listen line is some 50 bytes; a config has at most 36 sockets. */
const CONTROL_LENGTH_MAX = 65_536;
const INSPECTOR_LISTENS = /"event":"listen-inspector","port":(?<port>\d+)/;

export interface ProcessRunnerOptions {
  readonly profile: SandboxProfile;
  readonly rootfs: string;
  readonly workerd: string;
  readonly seccompFile: string;
  readonly tier: TierLimits;
  readonly identities: IdentitySource;
  readonly timers: Timers;
  readonly priority: Priority;
  /** Tells the process to who looks at it from outside: the trial at the agent's start. */
  readonly onEntered?: (pid: number) => void;
  /** Opens the debugger of each guest on a loopback port: for development, and only where there is no sandbox. */
  readonly inspect?: boolean;
  /** When the machine has them: entered while the slot waits, left after its end. */
  readonly groups?: Pick<Cgroups, 'add' | 'setLimits' | 'ranOutOfMemory' | 'remove'>;
}

/** Every slot waits with the limit of the default size; most starts then change nothing. */
export const WAITING_DATA_LIMIT: DataLimit = {
  softBytes: dataLimitBytes(LIMITS.memoryMbDefault),
  hardBytes: dataLimitBytes(LIMITS.memoryMbMax),
};

export function processRunner(options: ProcessRunnerOptions): SlotRunner {
  return {
    run: async (folder, events) => {
      const identity = options.identities.take();
      const release = (): void => {
        if (identity !== undefined) options.identities.release(identity);
      };
      try {
        await makeFolder(folder, identity);
        return new ProcessGuest(options, { folder, identity, events, release });
      } catch (thrown) {
        await rm(folder, { recursive: true, force: true });
        release();
        throw thrown;
      }
    },
  };
}

/** Empty: workerd refuses a socket file that a crashed agent left. */
async function makeFolder(folder: string, owner: GuestIdentity | undefined): Promise<void> {
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { mode: 0o700 });
  }
  if (owner !== undefined) await chown(folder, owner.uid, owner.gid);
}

/** Sockets and nothing else, as a rule; what fails is removed by the agent's next start. */
async function removeFolder(folder: string): Promise<void> {
  try {
    for (const name of await readdir(folder)) await unlink(join(folder, name));
    await rmdir(folder);
  } catch {
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

/**
 * Signals that a fault inside never raises: crashes are SIGSEGV, SIGABRT, SIGILL, SIGTRAP …, a refused system call
 * is SIGSYS, and code in an isolate has no way to send one. What bwrap had inside it tells as 128 + the signal.
 */
const OUTSIDE: readonly NodeJS.Signals[] = ['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP'];

function endedFromOutside(code: number | null, signal: NodeJS.Signals | null): boolean {
  return OUTSIDE.some((name) => signal === name || code === 128 + constants.signals[name]);
}

interface Start {
  readonly folder: string;
  readonly identity: GuestIdentity | undefined;
  readonly events: GuestEvents;
  readonly release: () => void;
}

class ProcessGuest implements Guest {
  readonly ready: Promise<GuestReady>;
  readonly ended: Promise<GuestEnd>;
  readonly owner: GuestIdentity | undefined;
  readonly #options: ProcessRunnerOptions;
  readonly #start: Start;
  readonly #child: ChildProcess;
  #pid: number | undefined;
  #gone = false;
  #isUp = false;
  #killWhenUp: Timer | undefined;
  #memoryMb: number = LIMITS.memoryMbDefault;
  #inspectorPort: number | undefined;

  constructor(options: ProcessRunnerOptions, start: Start) {
    this.#options = options;
    this.#start = start;
    this.owner = start.identity;
    const { profile, tier, rootfs, workerd } = options;
    const command = slotCommand(
      profile,
      { rootfs, slotDir: start.folder, workerd },
      { identity: start.identity, tier, data: WAITING_DATA_LIMIT, inspect: options.inspect === true },
    );
    const filter = command.sandboxed ? openSync(options.seccompFile, 'r') : 'ignore';
    try {
      this.#child = spawn(command.file, command.args, {
        env: {},
        // Sockets are named relative to it, so that one config fits every slot.
        cwd: start.folder,
        stdio: ['pipe', 'pipe', 'pipe', 'pipe', filter, command.sandboxed ? 'pipe' : 'ignore'],
      });
    } finally {
      if (typeof filter === 'number') closeSync(filter);
    }
    const { stdin, stderr } = this.#child;
    stdin?.on('error', () => undefined); // a process that died early is reported by its exit
    gatherOutput(this.#child, options.timers, (chunk) => start.events.stdout(chunk));
    stderr?.on('data', (chunk: Uint8Array) => start.events.stderr(chunk));
    this.ended = this.#waitForEnd();
    this.ready = (command.sandboxed ? this.#readInfo() : this.#enter(this.#child.pid)).finally(() => {
      this.#isUp = true;
    });
  }

  sample(nowMs: number, previous?: Sample): Sample | undefined {
    return this.#gone || this.#pid === undefined ? undefined : sampleProcess(this.#pid, nowMs, previous);
  }

  lower(): void {
    if (!this.#gone && this.#pid !== undefined) this.#options.priority.lower(this.#pid);
  }

  restore(): void {
    if (!this.#gone && this.#pid !== undefined) this.#options.priority.restore(this.#pid);
  }

  get inspectorPort(): number | undefined {
    return this.#inspectorPort;
  }

  give(config: Uint8Array, sockets: readonly string[]): void {
    const control = this.#child.stdio[CONTROL_FD] as Readable;
    let text = '';
    control.on('data', (chunk: Buffer) => {
      if (text.length < CONTROL_LENGTH_MAX) text += chunk.toString('latin1');
      if (!sockets.every((name) => text.includes(`"socket":"${name}"`))) return;
      if (this.#options.inspect === true) {
        const port = INSPECTOR_LISTENS.exec(text)?.groups?.['port'];
        if (port === undefined) return;
        this.#inspectorPort = Number(port);
      }
      this.#start.events.listening();
      // One descriptor less for as long as the instance lives.
      control.destroy();
    });
    (this.#child.stdin as Writable).end(config);
  }

  async setMemory(memoryMb: number): Promise<void> {
    const pid = this.#pid;
    if (pid === undefined || memoryMb === this.#memoryMb) return;
    this.#memoryMb = memoryMb;
    const { groups, profile } = this.#options;
    try {
      await groups?.setLimits(pid, this.#terms());
      // Also where a group enforces memory: groups of version 1 do not count swap, and without its own limit
      // an instance of 64 MB could reserve what the largest may.
      const command = dataLimitCommand(
        profile,
        { pid, identity: this.#start.identity },
        dataLimitBytes(memoryMb),
      );
      if (command === undefined) return;
      const [file, ...args] = command;
      await run(file, args);
    } catch (thrown) {
      // A process that has ended meanwhile is told by its own outcome.
      if (this.#gone) return;
      throw new PlatformError('internal', 'the memory limit of an instance could not be set', {
        cause: thrown,
      });
    }
  }

  terminate(): void {
    this.#signal('SIGTERM');
  }

  kill(): void {
    if (this.#isUp) this.#signal('SIGKILL');
    else if (this.#killWhenUp === undefined) {
      // bwrap dies with what is inside only when that has come up: in between, an orphan would wait for ever.
      this.#killWhenUp = this.#options.timers.after(COMING_UP_MS_MAX, () => this.#signal('SIGKILL'));
      void this.ready.then(() => this.#signal('SIGKILL'));
    }
  }

  #terms(): GroupTerms {
    return { tier: this.#options.tier, memoryMb: this.#memoryMb };
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#gone || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const behind = this.#pid !== undefined && this.#pid !== this.#child.pid;
    if (behind && this.#pid !== undefined) {
      try {
        process.kill(this.#pid, signal);
      } catch {
        // Already gone; the exit event follows.
      }
    }
    // Killing bwrap takes everything inside with it; SIGTERM must reach workerd alone.
    if (signal === 'SIGKILL' || !behind) this.#child.kill(signal);
  }

  async #enter(pid: number | undefined): Promise<GuestReady> {
    if (pid === undefined) return { kind: 'failed', detail: 'the process could not be started' };
    this.#pid = pid;
    try {
      await this.#options.groups?.add(pid, this.#terms());
      this.#options.onEntered?.(pid);
      return { kind: 'waiting' };
    } catch (thrown) {
      return { kind: 'failed', detail: `the process could not enter its group: ${String(thrown)}` };
    }
  }

  #readInfo(): Promise<GuestReady> {
    return new Promise((resolve) => {
      let text = '';
      // Without any: Node makes no pipes when the process has no file descriptor left for them.
      const pipes: readonly unknown[] | undefined = this.#child.stdio;
      const gone = (): void => resolve({ kind: 'failed', detail: 'the sandbox did not come up' });
      if (pipes === undefined) return gone();
      const info = pipes[INFO_FD] as Readable;
      info.on('data', (chunk: Buffer) => {
        if (text.length < INFO_LENGTH_MAX) text += chunk.toString('utf8');
        const match = /"child-pid":\s*(\d+)/.exec(text);
        if (match !== null && this.#pid === undefined) resolve(this.#enter(Number(match[1])));
      });
      info.on('error', gone);
      info.on('close', gone);
    });
  }

  #waitForEnd(): Promise<GuestEnd> {
    return new Promise((resolve) => {
      const finish = async (how: Omit<GuestEnd, 'outOfMemory'>): Promise<void> => {
        if (this.#gone) return;
        this.#gone = true;
        this.#killWhenUp?.cancel();
        const { groups } = this.#options;
        // It may still be on its way into its group.
        await this.ready;
        const pid = this.#pid;
        const outOfMemory = pid !== undefined && (await groups?.ranOutOfMemory(pid)) === true;
        await Promise.all([
          pid === undefined ? undefined : groups?.remove(pid),
          removeFolder(this.#start.folder),
        ]);
        this.#start.release();
        resolve({ outOfMemory, ...how });
      };
      // `close` comes after the pipes are drained, so the last words are known.
      this.#child.once(
        'close',
        (code, signal) => void finish({ inOrder: code === 0, fromOutside: endedFromOutside(code, signal) }),
      );
      this.#child.once('error', (error) => {
        this.#start.events.stderr(new TextEncoder().encode(`\n${error.message}\n`));
        void finish({ inOrder: false, fromOutside: false });
      });
    });
  }
}
