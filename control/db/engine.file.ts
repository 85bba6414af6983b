/**
 * A database that is a file of this machine.
 *
 * libSQL's native calls are synchronous and a pooled connection that saw SQLITE_BUSY can never commit again
 * (libsql-client-ts#352), hence: one writer connection, a short native wait, and on BUSY a fresh connection after a
 * macrotask, so that a holder in this very process can finish.
 *
 * synchronous stays FULL (libSQL's default): an answered change is on the disk.
 */
import { open, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createClient, type Client, type Transaction } from '@libsql/client';
import { PlatformError } from '#shared/errors.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import { isDiskFull } from '#shared/runtime/disk.node.ts';
import { sqliteCode, type Engine, type Opening, type Tx } from './engine.ts';

export interface FileEngineOptions {
  readonly path: string;
  readonly readers: number;
  readonly clock: Clock;
  readonly random: () => number;
  /** How long a write waits for a foreign lock before `database_busy`, in ms. */
  readonly busyMs: number;
}

const BUSY_TIMEOUT_MS = 200;
const HEADER = 'SQLite format 3\0';

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

export class FileEngine implements Engine {
  readonly name: string;
  readonly #options: FileEngineOptions;
  readonly #writer: Client;
  readonly #reader: Client;

  private constructor(options: FileEngineOptions) {
    this.name = options.path;
    this.#options = options;
    const url = `file:${options.path}`;
    this.#writer = createClient({ url, timeout: BUSY_TIMEOUT_MS, concurrency: 1 });
    this.#reader = createClient({ url, timeout: BUSY_TIMEOUT_MS, concurrency: options.readers });
  }

  /** @throws {PlatformError} `database_corrupt` or what `opening` says; the files are left as they were. */
  static async open(options: FileEngineOptions, opening: Opening): Promise<FileEngine> {
    const { path } = options;
    if (await isEmpty(path)) {
      const lost = opening.ifEmpty(path);
      if (lost !== undefined) throw lost;
      if (opening.accepted) await setAside(path);
    }
    await prepareFile(path);
    const { size } = await stat(path);
    let engine: FileEngine | undefined;
    try {
      engine = new FileEngine(options);
      if (size > 0) await checkIntegrity(engine.#reader, path);
      await engine.#prepare(opening);
      return engine;
    } catch (thrown) {
      // No checkpoint here: a damaged file must be left as it is.
      engine?.abandon();
      throw await wrap(thrown, path);
    }
  }

  async #prepare(opening: Opening): Promise<void> {
    await this.#retrying(async () => {
      await this.#writer.execute('PRAGMA journal_mode=WAL');
      await this.#transaction((tx) => opening.prepare(tx));
    });
  }

  async read<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    let tx: Transaction | undefined;
    try {
      tx = await this.#reader.transaction('read');
      return await work(tx);
    } catch (thrown) {
      throw await wrap(thrown, this.#options.path);
    } finally {
      tx?.close();
    }
  }

  /** @throws {PlatformError} `database_busy` after `busyMs`. */
  async write<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    try {
      return await this.#retrying(() => this.#transaction(work));
    } catch (thrown) {
      throw await wrap(thrown, this.#options.path);
    }
  }

  async #transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    const tx = await this.#writer.transaction('write');
    try {
      const result = await work(tx);
      await tx.commit();
      return result;
    } finally {
      tx.close();
    }
  }

  async #retrying<T>(attempt: () => Promise<T>): Promise<T> {
    const { clock, busyMs, random } = this.#options;
    const giveUpMs = clock.monotonicMs() + busyMs;
    for (;;) {
      try {
        return await attempt();
      } catch (thrown) {
        if (!isBusy(thrown) || clock.monotonicMs() >= giveUpMs) throw thrown;
        this.#writer.reconnect();
        const pauseMs = 10 + random() * 40;
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }

  /** A file is there as long as it is open. */
  onReturn(): void {}

  abandon(): void {
    this.#writer.close();
    this.#reader.close();
  }

  /** Moves everything into the main file first, so that a copy of it alone is a whole backup. */
  async close(): Promise<void> {
    this.#reader.close();
    try {
      await this.#writer.execute('PRAGMA wal_checkpoint(TRUNCATE)');
    } catch {
      // Busy or damaged: the write-ahead log stays and is read at the next start.
    }
    this.#writer.close();
  }
}
