/**
 * Keys and values in libSQL: a file of this machine, or a libSQL server.
 *
 * Native calls are synchronous, so this lives in a thread of its own. Writes that wait for each other share a
 * transaction and its fsync; an answered write is on the disk (synchronous=FULL). What several processes do to
 * one file is resolved as in control/db: a short native wait, then a fresh connection.
 *
 * Keys are BLOBs, so that they sort by their UTF-8 bytes and every string is allowed.
 */
import { dirname } from 'node:path';
import { PlatformError } from '#shared/errors.ts';
import { ServerFailure } from '#shared/libsql/server.node.ts';
import { isDiskFull } from '#shared/runtime/disk.node.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import { FileDatabase, ServerDatabase, type KvDatabase, type Row, type Statement } from './database.ts';
import { claimStatement, putStatement, QUOTA_SCHEMA, type Within } from './quota.ts';
import { Turns } from './turns.ts';
import { afterPrefix, type KvEntry, type ListRequest } from './rules.ts';

export interface KvStoreOptions {
  /** `file:…`, or the URL of a libSQL server. */
  readonly url: string;
  readonly authToken: string | undefined;
  /** Of the database file. */
  readonly bytesMax: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: () => number;
}

export interface KvListed {
  readonly key: Uint8Array;
  readonly metadata: string | undefined;
  readonly expires: number | undefined;
}

const SCHEMA = [
  // The value last: SQLite reads a row from its beginning, and a list would read every page of every value to come to
  // what lies behind. A file from before has the value third, and slower lists.
  `CREATE TABLE IF NOT EXISTS kv (
    namespace TEXT NOT NULL, key BLOB NOT NULL, metadata TEXT, expires INTEGER, value BLOB NOT NULL,
    PRIMARY KEY (namespace, key))`,
  'CREATE INDEX IF NOT EXISTS kv_expires ON kv (expires) WHERE expires IS NOT NULL',
  // Deleted namespaces whose values are still to be removed. Their ids are never used again.
  'CREATE TABLE IF NOT EXISTS kv_dropped (namespace TEXT PRIMARY KEY NOT NULL)',
  ...QUOTA_SCHEMA,
];
const BUSY_MS_MAX = 5_000;
/** Of one transaction of waiting writes: three or four milliseconds of the thread, which all accounts share. */
const BATCH_MAX = 32;
const BATCH_BYTES_MAX = 512 * 1_024;
/** Of functions and of ourselves; each account's part is bounded before (shared things: kv.requests). */
const WAITING_MAX = 2_048;
/** What a sweep removes at once, so that nothing else waits for long: a large value is many pages. */
const SWEEP_ROWS_MAX = 200;
const SWEEP_BYTES_MAX = 8 * 1_048_576;
const CLAIMED_MAX = 100_000;

const GET = `SELECT value, metadata, expires FROM kv
  WHERE namespace = ? AND key = ? AND (expires IS NULL OR expires > ?)`;

interface Write {
  readonly statement: Statement;
  readonly bytes: number;
  /** With the number of rows that it changed. */
  readonly resolve: (rows: number) => void;
  readonly reject: (error: PlatformError) => void;
}

/** SQLite's name of what went wrong. */
function codeOf(thrown: unknown): string {
  const { code } = thrown as { readonly code?: unknown };
  return typeof code === 'string' && code !== '' ? code : 'unknown';
}

function isBusy(thrown: unknown): boolean {
  if (thrown instanceof ServerFailure && thrown.kind === 'stolen') return true;
  return codeOf(thrown).startsWith('SQLITE_BUSY');
}

/** Nothing that is written is to blame, and nothing else would fare better. */
function isAway(thrown: unknown): thrown is ServerFailure {
  return thrown instanceof ServerFailure && thrown.kind !== 'sql';
}

/** @param path - of the database file; a server speaks for itself. */
async function wrap(thrown: unknown, path: string | undefined, bytes = 0): Promise<PlatformError> {
  if (thrown instanceof PlatformError) return thrown;
  if (isAway(thrown))
    return new PlatformError('kv_unavailable', `the KV server: ${thrown.message}`, { retryAfterMs: 1_000 });
  const code = codeOf(thrown);
  // SQLite says the same of a full disk and of its own bound.
  if (
    /^SQLITE_(?:FULL|IOERR|CANTOPEN)/.test(code) &&
    path !== undefined &&
    (await isDiskFull(dirname(path), bytes))
  )
    return new PlatformError('storage_full', `no disk space for KV (${code})`, { retryAfterMs: 60_000 });
  if (code.startsWith('SQLITE_FULL')) return new PlatformError('kv_full', 'the KV database is full');
  // The text of the cause may quote values: keep the code only.
  return new PlatformError('kv_unavailable', `the KV database failed (${code})`, { retryAfterMs: 1_000 });
}

function entryOf(row: Row): KvEntry {
  return {
    value: bytesOf(row['value']),
    ...described(row),
  };
}

/** The library gives a Buffer of its own memory; a server's client the memory itself. */
function bytesOf(value: unknown): Uint8Array {
  return value instanceof Uint8Array ? value : new Uint8Array(value as ArrayBuffer);
}

function described(row: Row): Pick<KvEntry, 'metadata' | 'expires'> {
  const { metadata, expires } = row;
  return {
    metadata: typeof metadata === 'string' ? metadata : undefined,
    expires: expires === null || expires === undefined ? undefined : Number(expires),
  };
}

export class KvStore {
  readonly #options: KvStoreOptions;
  readonly #isFile: boolean;
  readonly #database: KvDatabase;
  readonly #waiting = new Turns<Write>();
  /** Namespaces whose account the database knows. */
  readonly #claimed = new Set<string>();
  #writing: Promise<void> | undefined;
  #prepared: Promise<void> | undefined;

  private constructor(options: KvStoreOptions) {
    const { url, authToken, bytesMax } = options;
    this.#options = options;
    this.#isFile = url.startsWith('file:');
    this.#database = this.#isFile
      ? new FileDatabase(url.slice('file:'.length), bytesMax)
      : new ServerDatabase(url, authToken);
  }

  /**
   * A database that cannot be prepared now (a server that is away, a full disk) is prepared at a later write:
   * functions that are bound to it start, and each call says what is wrong.
   */
  static async open(options: KvStoreOptions): Promise<KvStore> {
    const store = new KvStore(options);
    const preparing = store.#prepare().catch(() => undefined);
    // A server may take its time to be found missing; a file is there at once.
    if (store.#isFile) await preparing;
    return store;
  }

  #prepare(): Promise<void> {
    this.#prepared ??= this.#retrying(async () => {
      await this.#database.write(SCHEMA.map((sql) => ({ sql, args: [] })));
    }).catch((thrown: unknown) => {
      this.#prepared = undefined;
      throw thrown;
    });
    return this.#prepared;
  }

  async get(namespace: string, key: Uint8Array): Promise<KvEntry | undefined> {
    const row = await this.#read(() =>
      this.#database.one({ sql: GET, args: [namespace, key, this.#nowSeconds()] }),
    );
    return row === undefined ? undefined : entryOf(row);
  }

  /** @throws {PlatformError} `kv_full`, when it would pass the quota of the account or the bound of the file. */
  async put(namespace: string, key: Uint8Array, entry: KvEntry, within?: Within): Promise<void> {
    if (within !== undefined && !this.#claimed.has(namespace)) {
      await this.#write(claimStatement(namespace, within.account), 0);
      if (this.#claimed.size >= CLAIMED_MAX) this.#claimed.clear();
      this.#claimed.add(namespace);
    }
    const changed = await this.#write(
      putStatement(namespace, key, entry, within),
      entry.value.byteLength,
      within?.account,
    );
    if (changed > 0 || within?.bytesMax === undefined) return;
    throw new PlatformError('kv_full', `the KV quota of ${within.account} is used up`, {
      publicDetail: `The account may keep ${within.bytesMax} bytes in KV, and this put would pass them.`,
    });
  }

  async delete(namespace: string, key: Uint8Array, account?: string): Promise<void> {
    await this.#write(
      { sql: 'DELETE FROM kv WHERE namespace = ? AND key = ?', args: [namespace, key] },
      0,
      account,
    );
  }

  /** In the order of their bytes. `complete`: there are no more. */
  async list(
    namespace: string,
    { prefix, limit, after }: ListRequest,
  ): Promise<{ readonly keys: readonly KvListed[]; readonly complete: boolean }> {
    const beyond = afterPrefix(prefix);
    const rows = await this.#all(
      `SELECT key, metadata, expires FROM kv
       WHERE namespace = ? AND key >= ? ${after === undefined ? '' : 'AND key > ?'}
         ${beyond === undefined ? '' : 'AND key < ?'} AND (expires IS NULL OR expires > ?)
       ORDER BY key LIMIT ?`,
      [
        namespace,
        prefix,
        ...(after === undefined ? [] : [after]),
        ...(beyond === undefined ? [] : [beyond]),
        this.#nowSeconds(),
        limit + 1,
      ],
    );
    const keys = rows.slice(0, limit).map((row) => ({ key: bytesOf(row['key']), ...described(row) }));
    return { keys, complete: rows.length <= limit };
  }

  /** All values of a namespace will be removed, in the background. */
  async drop(namespace: string): Promise<void> {
    await this.#write(
      { sql: 'INSERT INTO kv_dropped (namespace) VALUES (?) ON CONFLICT DO NOTHING', args: [namespace] },
      0,
    );
  }

  /** Removes a bounded number of rows. @returns whether there may be more. */
  async sweep(): Promise<boolean> {
    const removed = await this.#remove('expires <= ?', this.#nowSeconds());
    const rows = await this.#all('SELECT namespace FROM kv_dropped LIMIT 1', []);
    const namespace = rows[0]?.['namespace'];
    if (typeof namespace !== 'string') return removed === 'some';
    if ((await this.#remove('namespace = ?', namespace)) === 'none') {
      await this.#write({ sql: 'DELETE FROM kv_usage WHERE namespace = ?', args: [namespace] }, 0);
      await this.#write({ sql: 'DELETE FROM kv_dropped WHERE namespace = ?', args: [namespace] }, 0);
    }
    return true;
  }

  async close(): Promise<void> {
    await this.#writing;
    this.#database.close();
  }

  get #path(): string | undefined {
    return this.#isFile ? this.#options.url.slice('file:'.length) : undefined;
  }

  #nowSeconds(): number {
    return Math.floor(this.#options.clock.wallMs() / 1_000);
  }

  #all(sql: string, args: Statement['args']): Promise<readonly Row[]> {
    return this.#read(() => this.#database.all({ sql, args }));
  }

  async #read<T>(work: () => T | Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      throw await wrap(thrown, this.#path);
    }
  }

  /** @returns what there was to remove: `all` of it is gone, or `some` may be left. */
  async #remove(condition: string, value: string | number): Promise<'none' | 'some' | 'all'> {
    const rows = await this.#all(
      `SELECT rowid, length(value) AS bytes FROM kv WHERE ${condition} LIMIT ${SWEEP_ROWS_MAX}`,
      [value],
    );
    if (rows.length === 0) return 'none';
    const ids: number[] = [];
    let bytes = 0;
    for (const row of rows) {
      bytes += Number(row['bytes']);
      if (ids.length > 0 && bytes > SWEEP_BYTES_MAX) break;
      ids.push(Number(row['rowid']));
    }
    // The condition again: a key may have been put anew meanwhile.
    await this.#write(
      {
        sql: `DELETE FROM kv WHERE rowid IN (SELECT value FROM json_each(?)) AND ${condition}`,
        args: [JSON.stringify(ids), value],
      },
      0,
    );
    return rows.length < SWEEP_ROWS_MAX && ids.length === rows.length ? 'all' : 'some';
  }

  #write(statement: Statement, bytes: number, account = ''): Promise<number> {
    if (this.#waiting.length >= WAITING_MAX)
      return Promise.reject(
        new PlatformError('kv_unavailable', `${WAITING_MAX} writes wait`, { retryAfterMs: 1_000 }),
      );
    return new Promise((resolve, reject) => {
      this.#waiting.push(account, { statement, bytes, resolve, reject });
      this.#writing ??= this.#drain().finally(() => {
        this.#writing = undefined;
      });
    });
  }

  async #drain(): Promise<void> {
    // What arrives in the same turn shares the first transaction.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      let bytes = 0;
      let count = 0;
      const batch = this.#waiting.take((write) => {
        if (count > 0 && (count >= BATCH_MAX || bytes + write.bytes > BATCH_BYTES_MAX)) return false;
        bytes += write.bytes;
        count += 1;
        return true;
      });
      await this.#commit(batch);
      // Requests that came meanwhile are read before the next transaction.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  async #commit(writes: readonly Write[]): Promise<void> {
    try {
      await this.#prepare();
      const changed = await this.#retrying(() =>
        this.#database.write(writes.map(({ statement }) => statement)),
      );
      for (const [index, { resolve }] of writes.entries()) resolve(changed[index] ?? 0);
    } catch (thrown) {
      const [only, ...others] = writes;
      if (only === undefined) return;
      if (others.length === 0) return only.reject(await wrap(thrown, this.#path, only.bytes));
      if (isAway(thrown)) {
        for (const write of writes) write.reject(await wrap(thrown, this.#path));
        return;
      }
      // One of them may be to blame for all: each gets its own answer.
      for (const write of writes) await this.#commit([write]);
    }
  }

  async #retrying<T>(attempt: () => T | Promise<T>): Promise<T> {
    const { clock, random, timers } = this.#options;
    const giveUpMs = clock.monotonicMs() + BUSY_MS_MAX;
    for (;;) {
      try {
        return await attempt();
      } catch (thrown) {
        if (!isBusy(thrown) || clock.monotonicMs() >= giveUpMs) throw thrown;
        this.#database.reopen();
        await new Promise<void>((resolve) => timers.after(10 + random() * 40, resolve));
      }
    }
  }
}
