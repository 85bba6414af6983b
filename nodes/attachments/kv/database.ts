/**
 * The database under the KV store: a file of this machine, or a libSQL server.
 *
 * A file is opened with the native library that `@libsql/client` stands on, since its statements can be kept: preparing
 * one costs more than to run it.
 */
import Libsql from 'libsql';
import { LibsqlServer } from '#shared/libsql/server.node.ts';

export interface Statement {
  /** One of few texts: each is prepared once and kept. */
  readonly sql: string;
  readonly args: readonly (string | number | Uint8Array | null)[];
}

export type Row = Readonly<Record<string, unknown>>;

/** What fails is thrown with SQLite's name of it as `code`; of a server as a `ServerFailure`. */
export interface KvDatabase {
  one(statement: Statement): Row | undefined | Promise<Row | undefined>;
  /** How many rows there may be is the statement's to bound. */
  all(statement: Statement): readonly Row[] | Promise<readonly Row[]>;
  /** All or none, and on the disk when it is over. @returns the number of rows that each has changed. */
  write(statements: readonly Statement[]): readonly number[] | Promise<readonly number[]>;
  /** Writes through a new connection from now on: what another process did may keep the old one busy for good. */
  reopen(): void;
  close(): void;
}

/** How long a call waits for another process. */
const BUSY_TIMEOUT_MS = 200;
/** Longer than the 5 s for which a server keeps the lock for a writer that is gone. */
const SERVER_TIMEOUT_MS = 8_000;
const PAGE_BYTES = 4_096;
/** More than there are texts. */
const KEPT_MAX = 64;

class Connection {
  readonly #database: Libsql.Database;
  readonly #kept = new Map<string, Libsql.Statement>();

  constructor(path: string) {
    this.#database = new Libsql(path, { timeout: BUSY_TIMEOUT_MS });
  }

  prepared(sql: string): Libsql.Statement {
    let statement = this.#kept.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare(sql);
      if (this.#kept.size >= KEPT_MAX) this.#kept.clear();
      this.#kept.set(sql, statement);
    }
    return statement;
  }

  exec(sql: string): void {
    this.#database.exec(sql);
  }

  get inTransaction(): boolean {
    return this.#database.inTransaction;
  }

  close(): void {
    this.#kept.clear();
    this.#database.close();
  }
}

export class FileDatabase implements KvDatabase {
  readonly #path: string;
  readonly #pagesMax: number;
  /** Opened when they are first needed: a file that cannot be opened now may be later. */
  #writer: Connection | undefined;
  #reader: Connection | undefined;

  constructor(path: string, bytesMax: number) {
    this.#path = path;
    this.#pagesMax = Math.max(1, Math.floor(bytesMax / PAGE_BYTES));
  }

  one({ sql, args }: Statement): Row | undefined {
    return this.#read().prepared(sql).get(args) as Row | undefined;
  }

  all({ sql, args }: Statement): readonly Row[] {
    return this.#read().prepared(sql).all(args) as Row[];
  }

  write(statements: readonly Statement[]): readonly number[] {
    this.#writer ??= this.#openWriter();
    const writer = this.#writer;
    writer.exec('BEGIN IMMEDIATE');
    try {
      const changed = statements.map(({ sql, args }) => writer.prepared(sql).run(args).changes);
      writer.exec('COMMIT');
      return changed;
    } finally {
      // Some failures have ended it already.
      if (writer.inTransaction) writer.exec('ROLLBACK');
    }
  }

  /** The bound holds for a connection, and is no part of the file. */
  #openWriter(): Connection {
    const writer = new Connection(this.#path);
    try {
      writer.exec('PRAGMA journal_mode = WAL');
      writer.exec('PRAGMA synchronous = FULL');
      writer.exec(`PRAGMA max_page_count = ${this.#pagesMax}`);
      return writer;
    } catch (thrown) {
      writer.close();
      throw thrown;
    }
  }

  #read(): Connection {
    this.#reader ??= new Connection(this.#path);
    return this.#reader;
  }

  reopen(): void {
    this.#writer?.close();
    this.#writer = undefined;
  }

  close(): void {
    this.reopen();
    this.#reader?.close();
    this.#reader = undefined;
  }
}

/** It speaks for itself: its bounds, its connections and their state are its operator's. */
export class ServerDatabase implements KvDatabase {
  readonly #server: LibsqlServer;

  constructor(url: string, token: string | undefined) {
    this.#server = new LibsqlServer({ url, token, timeoutMs: SERVER_TIMEOUT_MS });
  }

  async one(statement: Statement): Promise<Row | undefined> {
    const [row] = await this.all(statement);
    return row;
  }

  async all({ sql, args }: Statement): Promise<readonly Row[]> {
    const { rows } = await this.#server.execute({ sql, args: [...args] });
    return rows;
  }

  async write(statements: readonly Statement[]): Promise<readonly number[]> {
    const results = await this.#server.batch(
      statements.map(({ sql, args }) => ({ sql, args: [...args] })),
      'write',
    );
    return results.map(({ rowsAffected }) => rowsAffected);
  }

  reopen(): void {}

  close(): void {
    this.#server.close();
  }
}
