/** The database when things go wrong: damaged, locked by somebody else, full of history, newer than us. */
import { appendFile, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '@libsql/client';
import { getTableConfig } from 'drizzle-orm/sqlite-core';
import { describe, test } from 'vitest';
import type { Problem } from '#shared/errors.ts';
import { systemClock } from '#shared/runtime/clock.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { world } from '../testing/world.ts';
import { Database, type DatabaseOptions } from './database.ts';
import * as schema from './schema.ts';

function open(path: string, options: Partial<DatabaseOptions> = {}): Promise<Database> {
  return Database.open({
    path,
    clock: systemClock,
    random: Math.random,
    randomId: () => crypto.randomUUID(),
    ...options,
  });
}

describe('Database', () => {
  test('the tables in the file are the tables in the schema', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'control.db');
    await (await open(path)).close();
    const client = createClient({ url: `file:${path}` });
    const tables = Object.values(schema).map((table) => getTableConfig(table));
    for (const table of tables) {
      const { rows } = await client.execute(`PRAGMA table_info("${table.name}")`);
      const actual = rows.map((row) => [row['name'], row['type'], row['notnull'] === 1 || row['pk'] !== 0]);
      const declared = table.columns.map((column) => [
        column.name,
        column.getSQLType().toUpperCase(),
        column.notNull || column.primary,
      ]);
      expect([table.name, actual]).toEqual([table.name, declared]);
    }
    const { rows } = await client.execute(
      "SELECT count(*) AS n FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'migration'",
    );
    expect(rows[0]?.['n']).toBe(tables.length);
    client.close();
  });

  test('a file that is no database is refused with its path and left as it was', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'control.db');
    const garbage = Buffer.alloc(9_000, 'not a database ');
    await writeFile(path, garbage);
    await expect(open(path)).rejects.toMatchObject({
      code: 'database_corrupt',
      message: expect.stringContaining(path) as string,
    });
    expect(await readFile(path)).toEqual(garbage);
  });

  test('a database with overwritten pages is refused and left as it was', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'control.db');
    await (await open(path)).close();
    const bytes = await readFile(path);
    expect(bytes.byteLength).toBeGreaterThan(16_384);
    bytes.fill(0xa5, 4_096, 12_288);
    await writeFile(path, bytes);
    await expect(open(path)).rejects.toMatchObject({ code: 'database_corrupt' });
    expect(await readFile(path)).toEqual(bytes);
  });

  test('a truncated database is refused and left as it was', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'control.db');
    await (await open(path)).close();
    const bytes = (await readFile(path)).subarray(0, 20_000);
    await writeFile(path, bytes);
    await expect(open(path)).rejects.toMatchObject({ code: 'database_corrupt' });
    expect(await readFile(path)).toEqual(bytes);
  });

  test('files are for the owner only', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'control.db');
    const db = await open(path);
    await db.write((tx) => tx.change('account', 'a'));
    for (const name of [path, `${path}-wal`, `${path}-shm`])
      expect([name, (await stat(name)).mode & 0o777]).toEqual([name, 0o600]);
    await db.close();
  });

  test('a foreign write lock → database_busy in bounded time, reads go on, and work goes on after it', async ({
    expect,
  }) => {
    await using w = await world({ database: { busyMs: 600 } });
    const foreign = createClient({ url: `file:${w.folder}/control.db` });
    const tx = await foreign.transaction('write');
    await tx.execute("UPDATE meta SET value = value WHERE name = 'epoch'");
    const busy = await w.publish('hello');
    expect([busy.status, busy.body.code]).toEqual([503, 'database_busy']);
    expect(busy.headers.get('retry-after')).toBe('1');
    expect((await w.call('GET', '/v1/accounts/default/functions')).status).toBe(200);
    await tx.rollback();
    foreign.close();
    expect((await w.publish('hello')).body.version.number).toBe(1);
  });

  test('a lock that is released in time is waited for', async ({ expect }) => {
    let pauses = 0;
    // Asked for the length of each pause.
    const random = (): number => {
      pauses += 1;
      return 0;
    };
    await using w = await world({ database: { random, busyMs: 60_000 } });
    const foreign = createClient({ url: `file:${w.folder}/control.db` });
    const tx = await foreign.transaction('write');
    await tx.execute("UPDATE meta SET value = value WHERE name = 'epoch'");
    const before = pauses;
    const writing = w.deps.db.write((own) => own.change('account', 'default'));
    await waitFor('the write to have met the lock several times', () => pauses - before > 3);
    await tx.rollback();
    expect(await writing).toBeGreaterThan(0);
    foreign.close();
  });

  test('writes are serial and lose nothing under load, with reads in between', async ({ expect }) => {
    await using w = await world();
    const before = w.deps.db.revision;
    const writes = Array.from({ length: 100 }, () =>
      w.deps.db.write((tx) => tx.change('account', 'default')),
    );
    const reads = Array.from({ length: 100 }, () => w.deps.db.read((orm) => orm.select().from(schema.meta)));
    const revisions = await Promise.all(writes);
    await Promise.all(reads);
    expect(revisions).toEqual(Array.from({ length: 100 }, (_, index) => before + index + 1));
  });

  test('of several that open a new file at once, one migrates and the others wait', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'control.db');
    const opened = await Promise.all([open(path), open(path), open(path)]);
    expect(new Set(opened.map((db) => db.epoch)).size).toBe(1);
    for (const db of opened) await db.close();
  });

  test('a database of a newer release is refused', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'control.db');
    await (await open(path)).close();
    const client = createClient({ url: `file:${path}` });
    await client.execute("INSERT INTO migration (name) VALUES ('9999_future.sql')");
    client.close();
    await expect(open(path)).rejects.toThrow(/newer release.*9999_future/);
  });

  test('the write-ahead log is folded in at close, so one file is the backup', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'control.db');
    const db = await open(path);
    await db.write((tx) => tx.change('account', 'kept'));
    await db.close();
    const copy = join(folder.path, 'copy.db');
    await writeFile(copy, await readFile(path));
    const restored = await open(copy);
    expect(restored.revision).toBe(1);
    await restored.close();
    await appendFile(copy, '');
  });

  test('every answer without its database is a problem document', async ({ expect }) => {
    await using w = await world();
    await w.deps.db.close();
    const ready = await w.call<Problem>('GET', '/readyz', { anonymous: true });
    expect([ready.status, ready.body.code]).toEqual([503, 'control_unavailable']);
  });
});
