/**
 * One supervised plane: starts its process, waits for `ready`, keeps its log, restarts it as
 * supervision.ts decides, and stops it within a bound.
 *
 * Each plane leads its own process group. So Ctrl-C in the terminal reaches the supervisor alone, which
 * stops the planes in order, and what a killed plane leaves behind is ended with its group.
 */
import { fork, type ChildProcess } from 'node:child_process';
import process from 'node:process';
import { isMainThread } from 'node:worker_threads';
import { isErrorCode, PlatformError } from '#shared/errors.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import { PING, planeMessageSchema } from '#shared/runtime/plane.node.ts';
import { LineSplitter, LogFile } from './log-file.ts';
import { ProcessWatch } from './watch.ts';
import { afterExit, afterReady, FRESH, type PlaneHistory } from './supervision.ts';

const START_TIMEOUT_MS = 60_000;
/** A plane that was told to stop and still lives is killed. Longer than runPlane's own grace of 7 s. */
const STOP_TIMEOUT_MS = 9_000;
/** Last words of a plane that ended before it was ready. */
const TAIL_LINES_MAX = 20;

/**
 * Of glibc: what is freed goes back to the kernel. By itself it raises the size from which a piece has pages of its
 * own to that of the largest one freed, so that bodies come to lie in heaps, one for each thread, which only shrink
 * from their ends.
 */
const MALLOC = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '262144',
  MALLOC_TRIM_THRESHOLD_: '1048576',
} as const;

export interface PlaneSpec {
  readonly name: string;
  /** File that runs the plane. */
  readonly main: string;
  readonly logPath: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Of its V8. */
  readonly v8Flags: readonly string[];
  /** File mode mask of the process. */
  readonly umask: number;
}

export type PlaneEvent =
  | { readonly type: 'line'; readonly plane: string; readonly line: string }
  | { readonly type: 'ready'; readonly plane: string; readonly restarted: boolean; readonly pid: number }
  | { readonly type: 'ended'; readonly plane: string; readonly how: string; readonly restartInMs: number }
  | { readonly type: 'hung'; readonly plane: string; readonly how: string }
  | { readonly type: 'storage_full'; readonly plane: string };

export interface PlaneDeps {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly onEvent: (event: PlaneEvent) => void;
}

type Addresses = Readonly<Record<string, string>>;

export class SupervisedPlane {
  readonly name: string;
  readonly #spec: PlaneSpec;
  readonly #deps: PlaneDeps;
  readonly #log: LogFile;
  #environment: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  #history: PlaneHistory = FRESH;
  #restart: Timer | undefined;
  #stopping = false;
  #replacing = false;
  #watch: ProcessWatch | undefined;
  #tail: string[] = [];

  constructor(spec: PlaneSpec, deps: PlaneDeps) {
    this.name = spec.name;
    this.#spec = spec;
    this.#deps = deps;
    this.#environment = spec.environment;
    this.#log = new LogFile(spec.logPath);
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Environment of the next start: a port that the system chose must stay the same after a restart. */
  pin(environment: Readonly<Record<string, string>>): void {
    this.#environment = { ...this.#environment, ...environment };
  }

  /** First start. Rejects with the plane's own code; nothing is retried, since a person is waiting. */
  async start(): Promise<Addresses> {
    const addresses = await this.#launch();
    this.#becameReady(false);
    return addresses;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#restart?.cancel();
    await this.#end('exit');
    this.#log.close();
  }

  /** Over Node's IPC channel; lost when the process is not there. */
  send(message: object): void {
    if (this.#child?.connected === true) this.#child.send(message, () => undefined);
  }

  /** A new process in the place of this one. A start that fails is tried again as after a crash. */
  async replace(): Promise<void> {
    if (this.#stopping || this.#replacing) return;
    this.#replacing = true;
    this.#restart?.cancel();
    try {
      await this.#end('close');
    } finally {
      this.#replacing = false;
    }
    if (this.#stopping) return;
    try {
      await this.#launch();
      this.#becameReady(true);
    } catch (thrown) {
      this.#ended('it did not start again', thrown as PlatformError);
      throw thrown;
    }
  }

  /** @param until - `close`: also its output was read, which is when an end that nobody asked for is noticed. */
  async #end(until: 'exit' | 'close'): Promise<void> {
    const child = this.#child;
    if (child === undefined || !isAlive(child)) return;
    const ended = new Promise<void>((resolve) => child.once(until, () => resolve()));
    child.kill('SIGTERM');
    const force = setTimeout(() => killGroup(child), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(force);
  }

  #launch(): Promise<Addresses> {
    const child = withUmask(this.#spec.umask, () =>
      fork(this.#spec.main, [], {
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        execArgv: ['--disable-warning=ExperimentalWarning', ...this.#spec.v8Flags],
        env: { ...MALLOC, ...inheritedEnvironment(), ...this.#environment },
      }),
    );
    this.#child = child;
    this.#tail = [];
    for (const stream of [child.stdout, child.stderr]) {
      const splitter = new LineSplitter((line) => this.#line(line));
      stream?.on('data', (chunk: Uint8Array) => splitter.push(chunk));
      stream?.on('end', () => splitter.flush());
    }
    return new Promise<Addresses>((resolve, reject) => {
      let isReady = false;
      let failure: PlatformError | undefined;
      const timeout = setTimeout(() => {
        failure = new PlatformError('internal', `${this.name} was not ready within ${START_TIMEOUT_MS} ms`);
        killGroup(child);
      }, START_TIMEOUT_MS);
      child.on('message', (message) => {
        const parsed = planeMessageSchema.safeParse(message);
        if (!parsed.success) return;
        if (parsed.data.type === 'pong') {
          this.#watch?.answered();
          return;
        }
        if (parsed.data.type === 'ready') {
          isReady = true;
          clearTimeout(timeout);
          this.#lookAfter(child);
          resolve(parsed.data.addresses);
          return;
        }
        const code = isErrorCode(parsed.data.code) ? parsed.data.code : 'internal';
        failure = new PlatformError(code, `${this.name}: ${parsed.data.message}`);
      });
      child.once('error', (error) => {
        clearTimeout(timeout);
        reject(new PlatformError('internal', `${this.name} cannot be started`, { cause: error }));
      });
      // `close`, not `exit`: the last lines of a crash are read before it is reported.
      child.once('close', (code, signal) => {
        clearTimeout(timeout);
        this.#watch?.[Symbol.dispose]();
        killGroup(child);
        const how = signal === null ? `exit code ${code}` : signal;
        if (isReady) this.#ended(how);
        else
          reject(
            failure ??
              new PlatformError(
                'internal',
                `${this.name} ended (${how}) before it was ready:\n${this.#tail.join('\n')}`,
              ),
          );
      });
    });
  }

  /** One that hangs is ended as if it had died: what it held goes back to others, and a new one starts. */
  #lookAfter(child: ChildProcess): void {
    const { pid } = child;
    if (pid === undefined) return;
    this.#watch = new ProcessWatch(
      {
        pid,
        ask: () => {
          if (child.connected) child.send(PING, () => undefined);
        },
        hangs: (how) => {
          if (this.#stopping) return;
          this.#deps.onEvent({ type: 'hung', plane: this.name, how });
          killGroup(child);
        },
      },
      this.#deps,
    );
  }

  #line(line: string): void {
    if (line === '') return;
    if (this.#tail.length >= TAIL_LINES_MAX) this.#tail.shift();
    this.#tail.push(line);
    this.#log.write(line);
    this.#deps.onEvent({ type: 'line', plane: this.name, line });
  }

  #becameReady(restarted: boolean): void {
    this.#history = afterReady(this.#history, this.#deps.clock.monotonicMs());
    this.#deps.onEvent({ type: 'ready', plane: this.name, restarted, pid: this.pid ?? 0 });
  }

  #ended(how: string, failure?: PlatformError): void {
    if (this.#stopping || this.#replacing) return;
    const { delayMs, history } = afterExit(this.#history, this.#deps.clock.monotonicMs());
    this.#history = history;
    const why = failure === undefined ? how : `${how} [${failure.code}]`;
    this.#deps.onEvent({ type: 'ended', plane: this.name, how: why, restartInMs: delayMs });
    this.#restart = this.#deps.timers.after(delayMs, () => {
      this.#launch().then(
        () => this.#becameReady(true),
        (error: PlatformError) => this.#ended(error.message, error),
      );
    });
  }
}

/** A child inherits the mask at the moment it is made; there is no option for it. Threads cannot set it. */
function withUmask<T>(mask: number, work: () => T): T {
  if (!isMainThread) return work();
  const before = process.umask(mask);
  try {
    return work();
  } finally {
    process.umask(before);
  }
}

function isAlive(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** Ends whatever the plane left in its group; without leftovers there is nothing to do. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // ESRCH: the group is empty, which is the normal case.
  }
}

/** Planes see the user's environment without the supervisor's own settings: those are passed explicitly. */
function inheritedEnvironment(): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value === undefined || name === 'NODE_OPTIONS' || name === 'NODE_CHANNEL_FD') continue;
    if (name.startsWith('ISOPLANE_') && !['ISOPLANE_RUN_ROOT', 'ISOPLANE_LOG_LEVEL'].includes(name)) continue;
    kept[name] = value;
  }
  return kept;
}
