/**
 * Applies the SQL files of migrations/ in order of name, each once.
 *
 * Everything happens in one write transaction. It is the mutex too: SQLite has one writer, so of several
 * processes that start at once one applies and the others find nothing left to do.
 */
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { PlatformError } from '#shared/errors.ts';
import type { Tx } from './engine.ts';

const FOLDER = fileURLToPath(new URL('migrations/', import.meta.url));
const BREAKPOINT = '--> statement-breakpoint';

interface Migration {
  readonly name: string;
  readonly statements: readonly string[];
}

export async function readMigrations(folder: string = FOLDER): Promise<readonly Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
  if (names.length === 0) throw new PlatformError('internal', `no migrations in ${folder}`);
  return Promise.all(
    names.map(async (name) => ({
      name,
      statements: (await readFile(`${folder}/${name}`, 'utf8')).split(BREAKPOINT),
    })),
  );
}

/** @throws {PlatformError} `internal` when the database was written by a newer release. */
export async function migrate(tx: Tx, migrations: readonly Migration[]): Promise<void> {
  await tx.execute(
    'CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY NOT NULL, applied_at INTEGER NOT NULL DEFAULT (unixepoch()))',
  );
  const { rows } = await tx.execute('SELECT name FROM migration');
  const applied = new Set(rows.map((row) => row['name']).filter((name) => typeof name === 'string'));
  const known = new Set(migrations.map((migration) => migration.name));
  const unknown = [...applied].filter((name) => !known.has(name));
  if (unknown.length > 0)
    throw new PlatformError(
      'internal',
      `the database was written by a newer release (unknown migrations: ${unknown.join(', ')}); start that release`,
    );
  for (const migration of migrations) {
    if (applied.has(migration.name)) continue;
    for (const statement of migration.statements) await tx.execute(statement);
    await tx.execute({ sql: 'INSERT INTO migration (name) VALUES (?)', args: [migration.name] });
  }
}
