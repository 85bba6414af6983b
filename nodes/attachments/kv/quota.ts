/**
 * How many bytes each account keeps: counted by triggers, so in the transaction of whatever changes them (puts,
 * deletes, sweeps), and right for all processes that share the file. Bytes are those of keys, values, metadata.
 */
import type { StateEntry } from '../protocol.ts';
import type { Statement } from './database.ts';
import type { KvEntry } from './rules.ts';

/** Whose bytes a put adds to. */
export interface Within {
  readonly account: string;
  /** undefined: the file alone is the bound. */
  readonly bytesMax: number | undefined;
}

const size = (row: string): string =>
  `(length(${row}.key) + length(${row}.value) + coalesce(length(CAST(${row}.metadata AS BLOB)), 0))`;

const add = (row: string, sign: '+' | '-'): string =>
  `UPDATE kv_usage SET bytes = bytes ${sign} ${size(row)} WHERE namespace = ${row}.namespace;`;

export const QUOTA_SCHEMA: readonly string[] = [
  // The account is unknown until a put names it: a file from before this table has none.
  `CREATE TABLE IF NOT EXISTS kv_usage (
    namespace TEXT PRIMARY KEY NOT NULL, account TEXT, bytes INTEGER NOT NULL DEFAULT 0)`,
  'CREATE INDEX IF NOT EXISTS kv_usage_account ON kv_usage (account)',
  `INSERT INTO kv_usage (namespace, bytes)
    SELECT namespace, sum(${size('kv')}) FROM kv WHERE NOT EXISTS (SELECT 1 FROM kv_usage) GROUP BY namespace`,
  `CREATE TRIGGER IF NOT EXISTS kv_added AFTER INSERT ON kv BEGIN
    INSERT INTO kv_usage (namespace) VALUES (NEW.namespace) ON CONFLICT DO NOTHING; ${add('NEW', '+')} END`,
  `CREATE TRIGGER IF NOT EXISTS kv_changed AFTER UPDATE ON kv BEGIN ${add('OLD', '-')} ${add('NEW', '+')} END`,
  `CREATE TRIGGER IF NOT EXISTS kv_removed AFTER DELETE ON kv BEGIN ${add('OLD', '-')} END`,
];

export function claimStatement(namespace: string, account: string): Statement {
  return {
    sql: `INSERT INTO kv_usage (namespace, account) VALUES (?, ?)
      ON CONFLICT (namespace) DO UPDATE SET account = excluded.account`,
    args: [namespace, account],
  };
}

/** Changes no row when the account would keep more than its quota. */
export function putStatement(
  namespace: string,
  key: Uint8Array,
  { value, metadata, expires }: KvEntry,
  within: Within | undefined,
): Statement {
  const row = [namespace, key, value, metadata ?? null, expires ?? null];
  const insert = 'INSERT INTO kv (namespace, key, value, metadata, expires)';
  const upsert = `ON CONFLICT (namespace, key) DO UPDATE SET
    value = excluded.value, metadata = excluded.metadata, expires = excluded.expires`;
  if (within?.bytesMax === undefined) return { sql: `${insert} VALUES (?, ?, ?, ?, ?) ${upsert}`, args: row };
  const bytes =
    key.byteLength + value.byteLength + (metadata === undefined ? 0 : Buffer.byteLength(metadata));
  return {
    sql: `${insert} SELECT ?, ?, ?, ?, ? WHERE ? +
        (SELECT coalesce(sum(bytes), 0) FROM kv_usage WHERE account = ?) -
        coalesce((SELECT ${size('kv')} FROM kv WHERE namespace = ? AND key = ?), 0) <= ?
      ${upsert}`,
    args: [...row, bytes, within.account, namespace, key, within.bytesMax],
  };
}

/** The accounts' quotas, as the feed brings them. */
export class Quotas {
  readonly #bytesMax = new Map<string, number>();
  readonly #defaultBytesMax: number | undefined;

  /** @param defaultBytesMax - of an account for which the operator has set nothing. */
  constructor(defaultBytesMax?: number) {
    this.#defaultBytesMax = defaultBytesMax;
  }

  apply(entries: readonly StateEntry[]): void {
    for (const { key, value } of entries)
      if (typeof value === 'number') this.#bytesMax.set(key, value);
      else this.#bytesMax.delete(key);
  }

  of(account: string): Within {
    return { account, bytesMax: this.#bytesMax.get(account) ?? this.#defaultBytesMax };
  }
}
