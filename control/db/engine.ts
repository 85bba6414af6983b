/** What the control plane needs of a database: transactions, and who to blame when there are none. */
import type { Client, InStatement, ResultSet } from '@libsql/client';
import { drizzle, type LibSQLDatabase } from 'drizzle-orm/libsql';
import type { PlatformError } from '#shared/errors.ts';

export type Orm = LibSQLDatabase;

export interface Tx {
  execute(statement: InStatement): Promise<ResultSet>;
  batch(statements: InStatement[]): Promise<ResultSet[]>;
}

/** Drizzle needs only `execute` and `batch` of a client. */
export function ormOn(tx: Tx): Orm {
  return drizzle({ client: tx as unknown as Client });
}

/** What an engine is opened with by whoever knows what is to be in it. */
export interface Opening {
  /** Runs in one write transaction, in which no other process is. */
  prepare(tx: Tx): Promise<void>;
  /** What an empty database means here; undefined: it is a new one. */
  ifEmpty(name: string): PlatformError | undefined;
  /** An operator has said that what is missing may be missing. */
  readonly accepted: boolean;
}

/** Failures leave an engine as those of the error table, and what `work` throws as it is. */
export interface Engine {
  /** For operators: where it is. */
  readonly name: string;
  /** One consistent view. */
  read<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
  /** All or nothing; called one at a time. `work` may run again. */
  write<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
  /** Runs when the database is back after it was away: what it throws is what calls go on to be refused with. */
  onReturn(check: (tx: Tx) => Promise<void>): void;
  /** Nothing is tidied up: what is damaged is left as it is. */
  abandon(): void;
  close(): Promise<void>;
}

export const REMEDY =
  'restore the database from a backup, or accept the loss with `isoplane accept-data-loss` and start again';

/** The SQLite code anywhere in the chain of causes (Drizzle wraps what libSQL throws). */
export function sqliteCode(thrown: unknown): string | undefined {
  let current: unknown = thrown;
  for (let depth = 0; depth < 5 && current instanceof Error; depth += 1) {
    const code: unknown = 'code' in current ? current.code : undefined;
    if (typeof code === 'string' && /^SQLITE_|^TRANSACTION_/.test(code)) return code;
    current = current.cause;
  }
  return undefined;
}
