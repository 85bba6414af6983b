/**
 * A database on a libSQL server (sqld), which other processes and machines reach too, and which comes and goes.
 *
 * Each write transaction notes who made it and how many before it (row `writer` of `meta`), and checks that its
 * predecessor is the last one of this process. That tells apart what nothing else does:
 * - a commit whose answer was lost happened if the next transaction finds its note, else it did not and is repeated;
 * - another control plane has taken the database over: this one writes no more;
 * - the server lost changes that it had answered: nothing is written on top of that.
 *
 * A server that is gone for a moment is waited for. One that stays away is asked again in the background, and calls
 * are refused at once until it is back and has what it had.
 */
import { PlatformError } from '#shared/errors.ts';
import {
  failureOf,
  serverFailure,
  type LibsqlServer,
  type ServerFailure,
  type ServerTransaction,
} from '#shared/libsql/server.node.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import { REMEDY, type Engine, type Opening, type Tx } from './engine.ts';

export interface ServerEngineOptions {
  readonly server: LibsqlServer;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly random: () => number;
  readonly randomId: () => string;
  /** How long a write waits for other writers before `database_busy`, in ms. */
  readonly busyMs: number;
}

/** A server that is restarted is back within this, and nobody notices. */
const GONE_MS_MAX = 1_500;
/** Whoever waits for what became of a change waits for a server that is restarted slowly. */
const UNSURE_MS_MAX = 10_000;
const ASK_AGAIN_MS = 500;
const RETRY_AFTER_MS = 2_000;

const READ_WRITER = "SELECT value FROM meta WHERE name = 'writer'";
const noteWriter = (note: string) => ({
  sql: "INSERT INTO meta (name, value) VALUES ('writer', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
  args: [note],
});

/** The answer to a commit was lost. */
class CommitUnknown extends Error {
  readonly note: string;
  readonly result: unknown;

  constructor(note: string, result: unknown, options: ErrorOptions) {
    super('the answer to a commit was lost', options);
    this.note = note;
    this.result = result;
  }
}

export class ServerEngine implements Engine {
  readonly #options: ServerEngineOptions;
  readonly #server: LibsqlServer;
  readonly #owner: string;
  #serial = 0;
  /** Note of the last transaction that is known to be in the database. */
  #last = '';
  /** Of one that was given up without knowing. */
  #unsure: string | undefined;
  /** Why calls are refused at once. */
  #down: PlatformError | undefined;
  #asking: Timer | undefined;
  #isAsking = false;
  #check: (tx: Tx) => Promise<void> = () => Promise.resolve();

  private constructor(options: ServerEngineOptions) {
    this.#options = options;
    this.#server = options.server;
    this.#owner = options.randomId();
  }

  get name(): string {
    return this.#server.name;
  }

  /** @throws {PlatformError} `database_unreachable`, `database_refused`, or what `opening` says. */
  static async open(options: ServerEngineOptions, opening: Opening): Promise<ServerEngine> {
    const engine = new ServerEngine(options);
    try {
      await engine.#retrying(() => engine.#prepare(opening));
      return engine;
    } catch (thrown) {
      engine.abandon();
      const failure = serverFailure(thrown);
      throw failure === undefined ? thrown : errorOf(failure, engine.name);
    }
  }

  /** Several may do this at once: the server has one writer, so one prepares and the others find it done. */
  async #prepare(opening: Opening): Promise<void> {
    const tx = await this.#server.transaction('write');
    try {
      const { rows } = await tx.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'");
      const lost = rows.length === 0 ? opening.ifEmpty(this.name) : undefined;
      if (lost !== undefined) throw lost;
      await opening.prepare(tx);
      this.#last = `${this.#owner} 0`;
      await tx.execute(noteWriter(this.#last));
      await tx.commit();
    } finally {
      tx.close();
    }
  }

  onReturn(check: (tx: Tx) => Promise<void>): void {
    this.#check = check;
  }

  async read<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    if (this.#down !== undefined) throw again(this.#down);
    try {
      return await this.#retrying(() => this.#look(work));
    } catch (thrown) {
      throw this.#explain(thrown);
    }
  }

  async #look<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    const tx = await this.#server.transaction('read');
    try {
      return await work(tx);
    } finally {
      tx.close();
    }
  }

  /**
   * @throws {PlatformError} `database_unreachable` or `database_busy` with nothing changed, `change_unknown` when
   * nobody can say, `database_taken` or `database_behind`.
   */
  async write<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    if (this.#down !== undefined) throw again(this.#down);
    const { clock } = this.#options;
    const sinceMs = clock.monotonicMs();
    let unsure: CommitUnknown | undefined;
    for (;;) {
      try {
        return await this.#attempt(work, unsure);
      } catch (thrown) {
        if (thrown instanceof CommitUnknown) unsure = thrown;
        const passedMs = clock.monotonicMs() - sinceMs;
        if (passedMs < this.#patienceMs(thrown, unsure !== undefined)) await this.#pause();
        else if (unsure === undefined) throw this.#explain(thrown);
        else throw this.#giveUp(unsure);
      }
    }
  }

  async #attempt<T>(work: (tx: Tx) => Promise<T>, unsure: CommitUnknown | undefined): Promise<T> {
    this.#serial += 1;
    const note = `${this.#owner} ${this.#serial}`;
    const tx = await this.#server.transaction('write');
    try {
      const [before] = await tx.batch([READ_WRITER, noteWriter(note)]);
      const found = before?.rows[0]?.['value'];
      if (unsure !== undefined && found === unsure.note) {
        this.#last = unsure.note;
        return unsure.result as T;
      }
      if (found !== this.#last && (found === undefined || found !== this.#unsure)) throw this.#parted(found);
      const result = await work(tx);
      await this.#commit(tx, note, result);
      this.#last = note;
      return result;
    } finally {
      tx.close();
    }
  }

  async #commit(tx: ServerTransaction, note: string, result: unknown): Promise<void> {
    try {
      await tx.commit();
    } catch (thrown) {
      if (failureOf(thrown).kind !== 'unreachable') throw thrown;
      throw new CommitUnknown(note, result, { cause: thrown });
    }
  }

  /** What the transaction before ours should have been is not there. */
  #parted(found: unknown): PlatformError {
    if (typeof found === 'string' && found.startsWith(`${this.#owner} `))
      return new PlatformError(
        'database_behind',
        `${this.name} lost changes that were answered; stop the platform, then: ${REMEDY}`,
      );
    return new PlatformError(
      'database_taken',
      `another control plane writes to ${this.name} since; this one writes no more. Stop one of the two: a database has one control plane`,
    );
  }

  /** How long in all it is worth while to try again after this failure, in ms. */
  #patienceMs(thrown: unknown, isUnsure: boolean): number {
    const failure = serverFailure(thrown);
    if (failure === undefined) return 0;
    if (failure.kind === 'unreachable') return isUnsure ? UNSURE_MS_MAX : GONE_MS_MAX;
    if (failure.kind === 'stolen' || isBusy(failure)) return this.#options.busyMs;
    return isUnsure ? UNSURE_MS_MAX : 0;
  }

  async #retrying<T>(attempt: () => Promise<T>): Promise<T> {
    const { clock } = this.#options;
    const sinceMs = clock.monotonicMs();
    for (;;) {
      try {
        return await attempt();
      } catch (thrown) {
        if (clock.monotonicMs() - sinceMs >= this.#patienceMs(thrown, false)) throw thrown;
        await this.#pause();
      }
    }
  }

  #pause(): Promise<void> {
    // Keeps the process alive, which at the start has nothing else to wait for.
    return new Promise((resolve) => setTimeout(resolve, 20 + this.#options.random() * 80));
  }

  #giveUp(unsure: CommitUnknown): PlatformError {
    this.#unsure = unsure.note;
    const error = errorOf(failureOf(unsure.cause), this.name);
    // Also its revision is to be learnt.
    this.#lose(error);
    return new PlatformError('change_unknown', error.message, { cause: error });
  }

  #explain(thrown: unknown): unknown {
    const failure = serverFailure(thrown);
    if (failure === undefined) return thrown;
    const error = errorOf(failure, this.name);
    if (failure.kind === 'unreachable') this.#lose(error);
    return error;
  }

  #lose(error: PlatformError): void {
    if (this.#down !== undefined) return;
    this.#down = error;
    const { clock, log, timers } = this.#options;
    log.error('database_unreachable', { database: this.name, error });
    const sinceMs = clock.monotonicMs();
    this.#asking = timers.every(ASK_AGAIN_MS, () => void this.#askAgain(sinceMs));
  }

  async #askAgain(sinceMs: number): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      await this.#askOnce(sinceMs);
    } finally {
      this.#isAsking = false;
    }
  }

  async #askOnce(sinceMs: number): Promise<void> {
    const { clock, log } = this.#options;
    try {
      await this.#look((tx) => this.#check(tx));
    } catch (thrown) {
      const failure = serverFailure(thrown);
      const error = failure === undefined ? thrown : errorOf(failure, this.name);
      if (!(error instanceof PlatformError) || error.code === this.#down?.code) return;
      this.#down = error;
      log.error(error.code, { database: this.name, error });
      return;
    }
    this.#asking?.cancel();
    this.#down = undefined;
    log.info('database_back', { database: this.name, awayMs: Math.round(clock.monotonicMs() - sinceMs) });
  }

  abandon(): void {
    this.#asking?.cancel();
    this.#server.close();
  }

  close(): Promise<void> {
    this.abandon();
    return Promise.resolve();
  }
}

/** Each refusal has a stack and a cause of its own. */
function again(error: PlatformError): PlatformError {
  return new PlatformError(error.code, error.message, { cause: error, retryAfterMs: RETRY_AFTER_MS });
}

function isBusy({ kind, code }: ServerFailure): boolean {
  return kind === 'sql' && (code.startsWith('SQLITE_BUSY') || code === 'SQLITE_LOCKED');
}

function errorOf(failure: ServerFailure, name: string): PlatformError {
  const { kind, code, message } = failure;
  const later = { retryAfterMs: RETRY_AFTER_MS };
  switch (kind) {
    case 'unreachable':
      return new PlatformError('database_unreachable', `${name} does not answer: ${message}`, later);
    case 'refused':
      return new PlatformError(
        'database_refused',
        `${name} does not accept the token: set the one it accepts for writing as ISOPLANE_DATABASE_TOKEN, or in the file that ISOPLANE_DATABASE_TOKEN_FILE names, and start again`,
        later,
      );
    case 'stolen':
      return new PlatformError('database_busy', `${name} ended transactions that took over 5 s`, later);
    case 'sql':
      if (isBusy(failure))
        return new PlatformError('database_busy', `another process writes to ${name} (${code})`, later);
      if (code.startsWith('SQLITE_FULL') || code.startsWith('SQLITE_IOERR'))
        return new PlatformError('storage_full', `the disk of ${name} is full or fails (${code})`, {
          retryAfterMs: 60_000,
        });
      if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB')
        return new PlatformError('database_corrupt', `${name} is damaged (${code})`);
      return new PlatformError('internal', `database failure ${code}`, { cause: new Error(code) });
  }
}
