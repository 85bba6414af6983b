/**
 * The one owner of the database file: a serial writer, a pool of readers, and what happens on commit.
 *
 * libSQL's native calls are synchronous and a pooled connection that saw SQLITE_BUSY can never commit again
 * (libsql-client-ts#352), hence: one writer connection, a mutex in JavaScript, a short native wait, and on
 * BUSY a fresh connection after a macrotask, so that a holder in this very process can finish.
 *
 * synchronous stays FULL (libSQL's default): an answered change is on the disk.
 */
import { open, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createClient, type Client, type Transaction } from '@libsql/client';
import { drizzle, type LibSQLDatabase } from 'drizzle-orm/libsql';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName } from '#shared/ids.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import { isDiskFull } from '#shared/runtime/disk.node.ts';
import { Semaphore } from './semaphore.ts';
import { markPath, readMark, RevisionMark, type Mark } from './mark.ts';
import { migrate, readMigrations } from './migrate.ts';
import { audits, changes, meta, type ChangeKind } from './schema.ts';
import { eq, lte } from 'drizzle-orm';

export type Orm = LibSQLDatabase;

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

export interface DatabaseOptions {
  readonly path: string;
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

const BUSY_TIMEOUT_MS = 200;
const READERS_MAX = 16;
const WAITING_MAX = 1_000;
const HEADER = 'SQLite format 3\0';

type CommitListener = (revision: number) => void;

/** The SQLite code anywhere in the chain of causes (Drizzle wraps what libSQL throws). */
function sqliteCode(thrown: unknown): string | undefined {
  let current: unknown = thrown;
  for (let depth = 0; depth < 5 && current instanceof Error; depth += 1) {
    const code: unknown = 'code' in current ? current.code : undefined;
    if (typeof code === 'string' && /^SQLITE_|^TRANSACTION_/.test(code)) return code;
    current = current.cause;
  }
  return undefined;
}

function isBusy(thrown: unknown): boolean {
  return sqliteCode(thrown)?.startsWith('SQLITE_BUSY') === true;
}

async function wrap(thrown: unknown, path: string): Promise<unknown> {
  const code = sqliteCode(thrown);
  if (code === undefined || thrown instanceof PlatformError) return thrown;
  // The cause's text may quote parameters, which may hold secrets: keep the code only.
  if (code.startsWith('SQLITE_BUSY') || code === 'SQLITE_LOCKED')
    return new PlatformError('database_busy', `another process holds a lock on ${path} (${code})`, {
      retryAfterMs: 1_000,
    });
  if (code.startsWith('SQLITE_FULL') || (ofFiles(code) && (await isDiskFull(dirname(path)))))
    return new PlatformError('storage_full', `no space to write ${path} (${code})`, { retryAfterMs: 60_000 });
  if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') return corrupt(path, code);
  return new PlatformError('internal', `database failure ${code}`, { cause: new Error(code) });
}

/** What SQLite says when it cannot make or grow one of its files, for whatever cause. */
function ofFiles(code: string): boolean {
  return code.startsWith('SQLITE_IOERR') || code.startsWith('SQLITE_CANTOPEN');
}

function corrupt(path: string, reason: string): PlatformError {
  return new PlatformError(
    'database_corrupt',
    `${path} is damaged (${reason}). It was left as it is: keep a copy, restore a backup in its place, and start again`,
  );
}

/** Creates the file with mode 0600 (SQLite gives its -wal and -shm the same) and refuses what is no database. */
async function prepareFile(path: string): Promise<void> {
  const file = await open(path, 'a+', 0o600);
  try {
    const { size } = await file.stat();
    if (size === 0) return;
    const head = Buffer.alloc(HEADER.length);
    await file.read(head, 0, head.length, 0);
    if (head.toString('latin1') !== HEADER) throw corrupt(path, 'no SQLite header');
  } finally {
    await file.close();
  }
}

async function checkIntegrity(client: Client, path: string): Promise<void> {
  const { rows } = await client.execute('PRAGMA quick_check(1)');
  const verdict = rows[0]?.['quick_check'];
  if (verdict !== 'ok') throw corrupt(path, typeof verdict === 'string' ? verdict : 'no verdict');
}

const REMEDY =
  'restore the database from a backup, or accept the loss with `isoplane accept-data-loss` and start again';

/** Row of `meta`: the first number of a counter is above it. */
export const NUMBER_FLOOR = 'number_floor';

async function isEmpty(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size === 0;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw thrown;
  }
}

/** What belonged to a database that is gone would be taken for the new one's. */
async function setAside(path: string): Promise<void> {
  for (const suffix of ['', '-wal', '-shm'])
    await rename(`${path}${suffix}`, `${path}${suffix}.lost`).catch((thrown: unknown) => {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
    });
}

export class Database {
  readonly #options: DatabaseOptions;
  readonly #writer: Client;
  readonly #reader: Client;
  readonly #readers = new Semaphore(READERS_MAX, WAITING_MAX);
  readonly #writers = new Semaphore(1, WAITING_MAX);
  readonly #listeners = new Set<CommitListener>();
  #epoch = '';
  #revision = 0;
  #mark: RevisionMark | undefined;
  /** A revision that somebody had from this database and that it does not have. */
  #missing: number | undefined;

  private constructor(options: DatabaseOptions) {
    this.#options = options;
    const url = `file:${options.path}`;
    this.#writer = createClient({ url, timeout: BUSY_TIMEOUT_MS, concurrency: 1 });
    this.#reader = createClient({ url, timeout: BUSY_TIMEOUT_MS, concurrency: READERS_MAX });
  }

  /**
   * @throws {PlatformError} `database_corrupt`, `database_missing` or `database_behind` (the files are left as they
   * were), or `database_busy`.
   */
  static async open(options: DatabaseOptions): Promise<Database> {
    const mark = await readMark(markPath(options.path));
    if (!mark.accepted && (mark.revision > 0 || options.expected === true) && (await isEmpty(options.path)))
      throw new PlatformError(
        'database_missing',
        `${options.path} is not there or empty, but this data folder was in use${mark.revision > 0 ? ` up to revision ${mark.revision}` : ''}; ${REMEDY}`,
      );
    if (mark.accepted && (await isEmpty(options.path))) await setAside(options.path);
    await prepareFile(options.path);
    const { size } = await stat(options.path);
    let database: Database | undefined;
    try {
      database = new Database(options);
      if (size > 0) await checkIntegrity(database.#reader, options.path);
      await database.#start();
      await database.#compare(mark);
      return database;
    } catch (thrown) {
      // No checkpoint here: a damaged file must be left as it is.
      if (database !== undefined) database.#abandon();
      throw await wrap(thrown, options.path);
    }
  }

  async #start(): Promise<void> {
    const migrations = await readMigrations();
    await this.#retrying(async () => {
      await this.#writer.execute('PRAGMA journal_mode=WAL');
      const tx = await this.#writer.transaction('write');
      try {
        await migrate(tx, migrations);
        await tx.execute({
          sql: "INSERT INTO meta (name, value) VALUES ('epoch', ?) ON CONFLICT DO NOTHING",
          args: [this.#options.randomId()],
        });
        await tx.commit();
      } finally {
        tx.close();
      }
    });
    await this.read(async (orm) => {
      const [row] = await orm.select().from(meta).where(eq(meta.name, 'epoch'));
      this.#epoch = row?.value ?? '';
      this.#revision = await newestRevision(orm);
    });
  }

  /** Everything that was ever answered is there, or an operator has said that it may be missing. */
  async #compare(mark: Mark): Promise<void> {
    const lost = mark.revision - this.#revision;
    if (lost > 0) {
      if (!mark.accepted)
        throw new PlatformError(
          'database_behind',
          `${this.#options.path} ends at revision ${this.#revision}, but revision ${mark.revision} was answered: ${lost} changes are missing; ${REMEDY}`,
        );
      await this.#beginAnew(mark.revision, lost);
    }
    this.#mark = await RevisionMark.create(markPath(this.#options.path), this.#revision);
  }

  /** Another history: consumers drop what they have, and no number that was given is given again. */
  async #beginAnew(revision: number, lost: number): Promise<void> {
    const epoch = this.#options.randomId();
    const tx = await this.#writer.transaction('write');
    try {
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
      await tx.commit();
    } finally {
      tx.close();
    }
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
    return this.#readers.run(async () => {
      let tx: Transaction | undefined;
      try {
        tx = await this.#reader.transaction('read');
        return await work(ormOn(tx));
      } catch (thrown) {
        throw await wrap(thrown, this.#options.path);
      } finally {
        tx?.close();
      }
    });
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
      try {
        const { result, revision } = await this.#retrying(() => this.#transaction(work));
        if (revision > this.#revision) {
          this.#revision = revision;
          this.#mark?.note(revision);
          for (const listener of this.#listeners) listener(revision);
        }
        return result;
      } catch (thrown) {
        throw await wrap(thrown, this.#options.path);
      }
    });
  }

  async #transaction<T>(work: (tx: WriteTx) => Promise<T>): Promise<{ result: T; revision: number }> {
    const nowMs = Math.round(this.#options.clock.wallMs());
    const tx = await this.#writer.transaction('write');
    try {
      const orm = ormOn(tx);
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
      await tx.commit();
      return { result, revision };
    } finally {
      tx.close();
    }
  }

  async #retrying<T>(attempt: () => Promise<T>): Promise<T> {
    const giveUpMs = this.#options.clock.monotonicMs() + (this.#options.busyMs ?? 5_000);
    for (;;) {
      try {
        return await attempt();
      } catch (thrown) {
        if (!isBusy(thrown) || this.#options.clock.monotonicMs() >= giveUpMs) throw thrown;
        this.#writer.reconnect();
        const pauseMs = 10 + this.#options.random() * 40;
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }

  #abandon(): void {
    this.#writer.close();
    this.#reader.close();
  }

  /** Moves everything into the main file first, so that a copy of it alone is a whole backup. */
  async close(): Promise<void> {
    await this.#mark?.close();
    this.#reader.close();
    try {
      await this.#writer.execute('PRAGMA wal_checkpoint(TRUNCATE)');
    } catch {
      // Busy or damaged: the write-ahead log stays and is read at the next start.
    }
    this.#writer.close();
  }
}

/** Drizzle needs only `execute` and `batch` of a client, and a transaction has both. */
function ormOn(tx: Transaction): Orm {
  return drizzle({ client: tx as unknown as Client });
}

export async function newestRevision(orm: Orm): Promise<number> {
  const { rows } = await orm.run("SELECT seq FROM sqlite_sequence WHERE name = 'change'");
  return Number(rows[0]?.['seq'] ?? 0);
}
