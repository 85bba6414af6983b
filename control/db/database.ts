/**
 * The one owner of the database: a serial writer, a pool of readers, and what happens on commit. Where the database
 * is, and what that means for its failures, is the engine's business.
 */
import { PlatformError } from '#shared/errors.ts';
import type { AccountName } from '#shared/ids.ts';
import { LibsqlServer } from '#shared/libsql/server.node.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import { Semaphore } from './semaphore.ts';
import { ormOn, REMEDY, type Engine, type Opening, type Orm, type Tx } from './engine.ts';
import { FileEngine } from './engine.file.ts';
import { ServerEngine } from './engine.server.ts';
import { markPath, readMark, RevisionMark, type Mark } from './mark.ts';
import { migrate, readMigrations } from './migrate.ts';
import { audits, changes, meta, type ChangeKind } from './schema.ts';
import { lte } from 'drizzle-orm';

export type { Orm } from './engine.ts';

/** A change of one account's things, as the audit keeps it. */
interface AuditEntry {
  readonly account: AccountName;
  /** Key id. */
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

export interface WriteTx {
  readonly orm: Orm;
  /** Instant of the transaction, ms since the epoch. */
  readonly nowMs: number;
  /** Records that the feed value of (kind, key) may differ from now on. @returns the new revision. */
  change(kind: ChangeKind, key: string): Promise<number>;
  audit(entry: AuditEntry): Promise<void>;
}

/** A libSQL server instead of a file. */
export interface DatabaseServer {
  readonly url: string;
  readonly token: string | undefined;
  readonly timers: Timers;
  readonly log: Log;
  /** Of one call. Default: longer than the 5 s for which a server keeps the lock for a writer that is gone. */
  readonly timeoutMs?: number;
}

export interface DatabaseOptions {
  /** Of the file; beside it lies what this machine knows of the database, wherever that is. */
  readonly path: string;
  readonly server?: DatabaseServer;
  /** Identity of the platform: a server with the database of another one is refused. Default: a new one. */
  readonly cluster?: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly randomId: () => string;
  /** How long a write waits for a foreign lock before `database_busy`, in ms. Default 5,000. */
  readonly busyMs?: number;
  /** The data folder was in use before: a database that is not there was lost. */
  readonly expected?: boolean;
  /** Newest changes that are kept for deltas; older consumers get a snapshot. Default 10,000. */
  readonly changesKept?: number;
}

const READERS_MAX = 16;
const WAITING_MAX = 1_000;
const BUSY_MS = 5_000;
const SERVER_TIMEOUT_MS = 8_000;

type CommitListener = (revision: number) => void;

/** Row of `meta`: the first number of a counter is above it. */
export const NUMBER_FLOOR = 'number_floor';

export class Database {
  readonly #options: DatabaseOptions;
  readonly #engine: Engine;
  readonly #readers = new Semaphore(READERS_MAX, WAITING_MAX);
  readonly #writers = new Semaphore(1, WAITING_MAX);
  readonly #listeners = new Set<CommitListener>();
  #cluster = '';
  #epoch = '';
  #revision = 0;
  #mark: RevisionMark | undefined;
  /** A revision that somebody had from this database and that it does not have. */
  #missing: number | undefined;

  private constructor(options: DatabaseOptions, engine: Engine) {
    this.#options = options;
    this.#engine = engine;
    engine.onReturn((tx) => this.#returned(ormOn(tx)));
  }

  /**
   * @throws {PlatformError} `database_corrupt`, `database_missing`, `database_behind` or `database_foreign` (the
   * database is left as it was), or `database_busy`; of a server also `database_unreachable` and `database_refused`.
   */
  static async open(options: DatabaseOptions): Promise<Database> {
    const mark = await readMark(markPath(options.path));
    const engine = await openEngine(options, await openingFor(options, mark));
    try {
      const database = new Database(options, engine);
      await database.#readState();
      await database.#compare(mark);
      return database;
    } catch (thrown) {
      engine.abandon();
      throw thrown;
    }
  }

  async #readState(): Promise<void> {
    const { cluster, epoch, revision } = await this.read(stateIn);
    this.#cluster = cluster;
    this.#epoch = epoch;
    this.#revision = revision;
  }

  /** It may have been replaced meanwhile, or have a change whose answer was lost. */
  async #returned(orm: Orm): Promise<void> {
    const { rows } = await orm.run("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'");
    if (rows.length === 0)
      throw new PlatformError('database_missing', `${this.#engine.name} came back empty; ${REMEDY}`);
    const { cluster, epoch, revision } = await stateIn(orm);
    if (cluster !== this.#cluster)
      throw new PlatformError('database_foreign', `${this.#engine.name} is another platform's since`);
    if (epoch !== this.#epoch || revision < this.#revision)
      throw new PlatformError(
        'database_behind',
        `${this.#engine.name} came back with revision ${revision}, but revision ${this.#revision} was answered; stop the platform, then: ${REMEDY}`,
      );
    this.#committed(revision);
  }

  /** Everything that was ever answered is there, or an operator has said that it may be missing. */
  async #compare(mark: Mark): Promise<void> {
    const lost = mark.revision - this.#revision;
    if (lost > 0) {
      if (!mark.accepted)
        throw new PlatformError(
          'database_behind',
          `${this.#engine.name} ends at revision ${this.#revision}, but revision ${mark.revision} was answered: ${lost} changes are missing; ${REMEDY}`,
        );
      await this.#beginAnew(mark.revision, lost);
    }
    this.#mark = await RevisionMark.create(markPath(this.#options.path), this.#revision);
  }

  /** Another history: consumers drop what they have, and no number that was given is given again. */
  async #beginAnew(revision: number, lost: number): Promise<void> {
    const epoch = this.#options.randomId();
    await this.#engine.write(async (tx) => {
      await tx.execute({ sql: "UPDATE meta SET value = ? WHERE name = 'epoch'", args: [epoch] });
      await tx.execute("DELETE FROM sqlite_sequence WHERE name = 'change'");
      await tx.execute({
        sql: "INSERT INTO sqlite_sequence (name, seq) VALUES ('change', ?)",
        args: [revision],
      });
      // No change gives more than one number.
      await tx.execute({ sql: 'UPDATE counter SET last = last + ?', args: [lost] });
      await tx.execute({
        sql: `INSERT INTO meta (name, value) VALUES ('${NUMBER_FLOOR}', ?)
          ON CONFLICT DO UPDATE SET value = CAST(value AS INTEGER) + CAST(excluded.value AS INTEGER)`,
        args: [String(lost)],
      });
    });
    this.#epoch = epoch;
    this.#revision = revision;
  }

  /**
   * Somebody has a later state of this very history: changes that were answered are missing here. Nothing more is
   * accepted, so that the two do not part further, and the next start asks the operator.
   */
  foundBehind(revision: number): void {
    this.#missing = Math.max(this.#missing ?? 0, revision);
    this.#mark?.note(revision);
  }

  /** Identity of the platform that it belongs to. */
  get cluster(): string {
    return this.#cluster;
  }

  /** Identity of this database's history: a restored backup gets another one by `UPDATE meta`. */
  get epoch(): string {
    return this.#epoch;
  }

  /** Revision of the newest commit of this process. */
  get revision(): number {
    return this.#revision;
  }

  /** Called after each commit that changed something the feed shows. */
  onCommit(listener: CommitListener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** One consistent view. */
  async read<T>(work: (orm: Orm) => Promise<T>): Promise<T> {
    return this.#readers.run(() => this.#engine.read((tx) => work(ormOn(tx))));
  }

  /**
   * All or nothing. `work` may run again when a foreign process held the lock, so it must not have effects
   * outside the transaction.
   *
   * @throws {PlatformError} `database_busy` after `busyMs`; what `work` throws, with nothing changed.
   */
  async write<T>(work: (tx: WriteTx) => Promise<T>): Promise<T> {
    if (this.#missing !== undefined)
      throw new PlatformError(
        'database_behind',
        `revision ${this.#missing} was answered, but the database ends at ${this.#revision}; stop the platform, then: ${REMEDY}`,
      );
    return this.#writers.run(async () => {
      const { result, revision } = await this.#engine.write((tx) => this.#perform(ormOn(tx), work));
      this.#committed(revision);
      return result;
    });
  }

  #committed(revision: number): void {
    if (revision <= this.#revision) return;
    this.#revision = revision;
    this.#mark?.note(revision);
    for (const listener of this.#listeners) listener(revision);
  }

  async #perform<T>(
    orm: Orm,
    work: (tx: WriteTx) => Promise<T>,
  ): Promise<{ readonly result: T; readonly revision: number }> {
    const nowMs = Math.round(this.#options.clock.wallMs());
    let revision = 0;
    const result = await work({
      orm,
      nowMs,
      change: async (kind, key) => {
        const [row] = await orm
          .insert(changes)
          .values({ kind, key, at: nowMs })
          .returning({ revision: changes.revision });
        if (row === undefined) throw new PlatformError('internal', 'a change got no revision');
        revision = row.revision;
        return revision;
      },
      audit: async (entry) => {
        await orm.insert(audits).values({ ...entry, at: nowMs });
      },
    });
    const kept = this.#options.changesKept ?? 10_000;
    if (revision > kept) await orm.delete(changes).where(lte(changes.revision, revision - kept));
    return { result, revision };
  }

  async close(): Promise<void> {
    await this.#mark?.close();
    await this.#engine.close();
  }
}

async function openingFor(options: DatabaseOptions, mark: Mark): Promise<Opening> {
  const migrations = await readMigrations();
  const wasUsed = mark.revision > 0 || options.expected === true;
  const cluster = options.cluster ?? options.randomId();
  return {
    accepted: mark.accepted,
    prepare: async (tx) => {
      await migrate(tx, migrations);
      for (const [name, value] of [
        ['epoch', options.randomId()],
        ['cluster', cluster],
      ] as const)
        await tx.execute({
          sql: 'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING',
          args: [name, value],
        });
      // A file belongs to the folder in which it lies.
      if (options.server !== undefined) await refuseForeign(tx, cluster, options.server.url);
    },
    ifEmpty: (name) =>
      mark.accepted || !wasUsed
        ? undefined
        : new PlatformError(
            'database_missing',
            `${name} is not there or empty, but this data folder was in use${mark.revision > 0 ? ` up to revision ${mark.revision}` : ''}; ${REMEDY}`,
          ),
  };
}

async function refuseForeign(tx: Tx, cluster: string, url: string): Promise<void> {
  const { rows } = await tx.execute("SELECT value FROM meta WHERE name = 'cluster'");
  const value = rows[0]?.['value'];
  const found = typeof value === 'string' ? value : 'unknown';
  if (found === cluster) return;
  throw new PlatformError(
    'database_foreign',
    `${url} holds the database of platform ${found}, and this data folder is of platform ${cluster}; name its own with --database. To move a control plane here, copy \`cluster\`, \`credentials.json\` and \`keys/\` of its data folder into this one`,
  );
}

function openEngine(options: DatabaseOptions, opening: Opening): Promise<Engine> {
  const { path, clock, random, randomId, server, busyMs = BUSY_MS } = options;
  if (server === undefined)
    return FileEngine.open({ path, readers: READERS_MAX, clock, random, busyMs }, opening);
  const { url, token, timers, log, timeoutMs = SERVER_TIMEOUT_MS } = server;
  return ServerEngine.open(
    {
      server: new LibsqlServer({ url, token, timeoutMs }),
      clock,
      timers,
      log,
      random,
      randomId,
      busyMs,
    },
    opening,
  );
}

interface State {
  readonly cluster: string;
  readonly epoch: string;
  readonly revision: number;
}

async function stateIn(orm: Orm): Promise<State> {
  const rows = await orm.select().from(meta);
  const valueOf = (name: string): string => rows.find((row) => row.name === name)?.value ?? '';
  return { cluster: valueOf('cluster'), epoch: valueOf('epoch'), revision: await newestRevision(orm) };
}

export async function newestRevision(orm: Orm): Promise<number> {
  const { rows } = await orm.run("SELECT seq FROM sqlite_sequence WHERE name = 'change'");
  return Number(rows[0]?.['seq'] ?? 0);
}
