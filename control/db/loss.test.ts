/** A database that lost what was answered says so, and goes on only when an operator accepts it. */
import { copyFile, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { accountNameSchema, functionNameSchema } from '#shared/ids.ts';
import { systemClock } from '#shared/runtime/clock.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { world } from '../testing/world.ts';
import { Database } from './database.ts';
import { nextNumber } from './functions.ts';
import { acceptLoss, markPath, readMark } from './mark.ts';

const pathIn = (folder: TempFolder): string => join(folder.path, 'control.db');
const open = (path: string, expected = false): Promise<Database> =>
  Database.open({
    path,
    clock: systemClock,
    random: Math.random,
    randomId: () => crypto.randomUUID(),
    expected,
  });

const counter = (name: string) => ({
  kind: 'function' as const,
  account: accountNameSchema.parse('default'),
  name: functionNameSchema.parse(name),
});

/** Publishes, as far as the database sees it: a number and a change. */
const publish = (db: Database, name: string): Promise<number> =>
  db.write(async (tx) => {
    await tx.change('function', `default/${name}`);
    return nextNumber(tx, counter(name));
  });

/** Files as a crash would leave them after five publishes, the write-ahead log not yet moved into the database. */
async function crashed(folder: TempFolder): Promise<{ readonly path: string; readonly epoch: string }> {
  const db = await open(pathIn(folder));
  for (let index = 0; index < 5; index += 1) await publish(db, 'hello');
  await waitFor('the mark', async () => (await readMark(markPath(pathIn(folder)))).revision === db.revision);
  const path = join(folder.path, 'crashed.db');
  for (const suffix of ['', '-wal', '.mark'])
    await copyFile(`${pathIn(folder)}${suffix}`, `${path}${suffix}`);
  const { epoch } = db;
  await db.close();
  return { path, epoch };
}

const damages: readonly (readonly [string, (path: string) => Promise<void>])[] = [
  ['was removed', (path) => rm(`${path}-wal`)],
  [
    'was cut in half',
    async (path) => truncate(`${path}-wal`, Math.floor((await readFile(`${path}-wal`)).length / 2)),
  ],
  [
    'has one byte flipped',
    async (path) => {
      const bytes = await readFile(`${path}-wal`);
      const at = Math.floor(bytes.length / 2);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      await writeFile(`${path}-wal`, bytes);
    },
  ],
];

describe('a database', () => {
  test('whose write-ahead log is whole goes on after a crash', async ({ expect }) => {
    await using folder = await tempFolder();
    const { path, epoch } = await crashed(folder);
    const db = await open(path);
    expect([db.revision, db.epoch, await publish(db, 'hello')]).toEqual([5, epoch, 6]);
    await db.close();
  });
  test.for(damages)('whose write-ahead log %s is refused', async ([, damage], { expect }) => {
    await using folder = await tempFolder();
    const { path } = await crashed(folder);
    await damage(path);
    await expect(open(path)).rejects.toMatchObject({ code: 'database_behind' });
    // Also the second time: the refusal has not made it right.
    await expect(open(path)).rejects.toMatchObject({ code: 'database_behind' });
  });
  test.for(damages)(
    'whose write-ahead log %s begins a new history when that is accepted',
    async ([, damage], { expect }) => {
      await using folder = await tempFolder();
      const { path, epoch } = await crashed(folder);
      await damage(path);
      await acceptLoss(path);
      const db = await open(path);
      expect(db.epoch).not.toBe(epoch);
      // Neither a revision nor a number that somebody may have seen is given again.
      expect(await publish(db, 'hello')).toBeGreaterThan(5);
      expect(await publish(db, 'made-in-what-was-lost')).toBeGreaterThan(0);
      expect(db.revision).toBe(7);
      await db.close();
      // Accepted once, not for ever.
      await rm(path);
      await expect(open(path)).rejects.toMatchObject({ code: 'database_missing' });
    },
  );
  test.for([
    ['is not there', (path: string) => rm(path)],
    ['is empty', (path: string) => truncate(path, 0)],
  ] as const)(
    'that %s where one was is refused, and made anew when that is accepted',
    async ([, lose], { expect }) => {
      await using folder = await tempFolder();
      const path = pathIn(folder);
      const first = await open(path);
      const { epoch } = first;
      for (let index = 0; index < 3; index += 1) await publish(first, 'hello');
      await first.close();
      await lose(path);
      await expect(open(path)).rejects.toMatchObject({ code: 'database_missing' });
      await acceptLoss(path);
      const db = await open(path);
      expect([db.revision, await publish(db, 'hello')]).toEqual([3, 4]);
      expect(db.epoch).not.toBe(epoch);
      await db.close();
    },
  );
  test('that was lost with its mark is missed by what lies beside it', async ({ expect }) => {
    await using folder = await tempFolder();
    await expect(open(pathIn(folder), true)).rejects.toMatchObject({ code: 'database_missing' });
  });
});

test('a consumer that knows more than the database keeps it, and no further change is accepted', async ({
  expect,
}) => {
  await using w = await world();
  await w.publish('hello');
  const ahead = w.deps.db.revision + 3;
  const query = new URLSearchParams({
    consumer: 'g',
    role: 'gateway',
    from: String(ahead),
    epoch: w.deps.db.epoch,
  });
  const feed = await w.internal.request(`/internal/feed?${query.toString()}`);
  expect([feed.status, ((await feed.json()) as { code: string }).code]).toEqual([503, 'database_behind']);
  const refused = await w.publish('other');
  expect([refused.status, refused.body.code]).toEqual([503, 'database_behind']);
  expect((await w.call('GET', '/v1/accounts/default/functions')).status).toBe(200);
});
