/** The database on every engine: a file, and a real libSQL server over HTTP and over a WebSocket. */
import { join } from 'node:path';
import { sql } from 'drizzle-orm';
import { describe, test, type TestContext } from 'vitest';
import type { Problem } from '#shared/errors.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { memoryLog } from '#shared/testing/fakes.ts';
import { noSqld, Sqld } from '#shared/testing/sqld.node.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { world, type World } from '../testing/world.ts';
import { Database, type DatabaseOptions } from './database.ts';
import { acceptLoss } from './mark.ts';
import { changes, meta } from './schema.ts';

const ENGINES = ['file', 'http', 'ws'] as const;
type EngineName = (typeof ENGINES)[number];

/** A place for a database, which any number of processes open. */
class Place implements AsyncDisposable {
  readonly folder: string;
  readonly options: Partial<DatabaseOptions>;
  readonly #parts: AsyncDisposableStack;

  private constructor(folder: string, options: Partial<DatabaseOptions>, parts: AsyncDisposableStack) {
    this.folder = folder;
    this.options = options;
    this.#parts = parts;
  }

  static async make(engine: EngineName, { skip }: TestContext): Promise<Place> {
    if (engine !== 'file' && noSqld !== undefined) skip(noSqld);
    await using parts = new AsyncDisposableStack();
    const folder = parts.use(await tempFolder()).path;
    if (engine === 'file') return new Place(folder, {}, parts.move());
    const sqld = parts.use(await Sqld.start(join(folder, 'sqld')));
    const server = { url: sqld.url(engine), token: undefined, timers: systemTimers, log: memoryLog() };
    return new Place(folder, { server, cluster: 'ours' }, parts.move());
  }

  open(options: Partial<DatabaseOptions> = {}): Promise<Database> {
    return Database.open({
      path: join(this.folder, 'control.db'),
      clock: systemClock,
      random: Math.random,
      randomId: () => crypto.randomUUID(),
      ...this.options,
      ...options,
    });
  }

  world(): Promise<World> {
    return world({ database: this.options });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }
}

const bump = (db: Database, key: string): Promise<number> => db.write((tx) => tx.change('account', key));

for (const engine of ENGINES)
  describe(`the database over ${engine}`, () => {
    test('writes one after the other and loses nothing, with reads in between', async (context) => {
      const { expect } = context;
      await using place = await Place.make(engine, context);
      const db = await place.open();
      const writes = Array.from({ length: 40 }, (_, index) => bump(db, `k${index}`));
      const reads = Array.from({ length: 40 }, () => db.read((orm) => orm.select().from(meta)));
      expect(await Promise.all(writes)).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
      await Promise.all(reads);
      expect(db.revision).toBe(40);
      await db.close();
    });

    test('takes a transaction back that fails, and goes on', async (context) => {
      const { expect } = context;
      await using place = await Place.make(engine, context);
      const db = await place.open();
      await expect(
        db.write(async (tx) => {
          await tx.change('account', 'never');
          throw new Error('no');
        }),
      ).rejects.toThrow('no');
      await expect(db.write((tx) => tx.orm.run(sql`INSERT INTO nowhere VALUES (1)`))).rejects.toMatchObject({
        code: 'internal',
      });
      expect(await bump(db, 'kept')).toBe(1);
      const rows = await db.read((orm) => orm.select().from(changes));
      expect(rows.map(({ key }) => key)).toEqual(['kept']);
      await db.close();
    });

    test('reads one state, whatever is written meanwhile', async (context) => {
      const { expect } = context;
      await using place = await Place.make(engine, context);
      const db = await place.open();
      await bump(db, 'before');
      const count = async (): Promise<number> => (await db.read((orm) => orm.select().from(changes))).length;
      const [first, second] = await db.read(async (orm) => {
        const early = (await orm.select().from(changes)).length;
        await bump(db, 'meanwhile');
        return [early, (await orm.select().from(changes)).length];
      });
      expect([first, second, await count()]).toEqual([1, 1, 2]);
      await db.close();
    });

    test('is the same after it was opened again, and by several at once', async (context) => {
      const { expect } = context;
      await using place = await Place.make(engine, context);
      const opened = await Promise.all([place.open(), place.open(), place.open()]);
      expect(new Set(opened.map((db) => `${db.cluster} ${db.epoch}`)).size).toBe(1);
      for (const db of opened) await db.close();
      const [epoch] = opened.map((db) => db.epoch);
      const db = await place.open();
      expect([await bump(db, 'a'), db.epoch]).toEqual([1, epoch]);
      await db.close();
    });

    test('of a newer release is refused', async (context) => {
      const { expect } = context;
      await using place = await Place.make(engine, context);
      const db = await place.open();
      await db.write((tx) => tx.orm.run(sql`INSERT INTO migration (name) VALUES ('9999_future.sql')`));
      await db.close();
      await expect(place.open()).rejects.toThrow(/newer release.*9999_future/);
    });

    test('that ends before what was answered is refused, and begins anew when that is accepted', async (context) => {
      const { expect } = context;
      await using place = await Place.make(engine, context);
      const db = await place.open();
      for (const key of ['a', 'b', 'c']) await bump(db, key);
      // What an older backup would be.
      await db.write(async (tx) => {
        await tx.orm.delete(changes);
        await tx.orm.run(sql`UPDATE sqlite_sequence SET seq = 1 WHERE name = 'change'`);
      });
      const { epoch } = db;
      await db.close();
      await expect(place.open()).rejects.toMatchObject({ code: 'database_behind' });
      await acceptLoss(join(place.folder, 'control.db'));
      const anew = await place.open();
      expect([anew.revision, await bump(anew, 'd'), anew.epoch === epoch]).toEqual([3, 4, false]);
      await anew.close();
    });

    test('that is empty where one was in use is refused, and made when that is accepted', async (context) => {
      const { expect } = context;
      await using place = await Place.make(engine, context);
      await expect(place.open({ expected: true })).rejects.toMatchObject({ code: 'database_missing' });
      await acceptLoss(join(place.folder, 'control.db'));
      const db = await place.open({ expected: true });
      expect(await bump(db, 'a')).toBe(1);
      await db.close();
    });

    test('keeps the newest changes alone', async (context) => {
      const { expect } = context;
      await using place = await Place.make(engine, context);
      const db = await place.open({ changesKept: 3 });
      for (let index = 0; index < 6; index += 1) await bump(db, `k${index}`);
      const rows = await db.read((orm) => orm.select().from(changes));
      expect(rows.map(({ key }) => key)).toEqual(['k3', 'k4', 'k5']);
      await db.close();
    });

    test('carries the control plane: publish, roll back, names that are taken, the feed', async (context) => {
      const { expect } = context;
      await using place = await Place.make(engine, context);
      await using w = await place.world();
      const base = '/v1/accounts/default';
      for (const number of [1, 2])
        expect((await w.publish('hello', { 'main.js': `// ${number}` })).body.version.number).toBe(number);
      const back = await w.call('POST', `${base}/functions/hello/aliases/live/rollback`, { body: {} });
      expect(back.status).toBe(200);
      const made = await w.call('POST', `${base}/kv-namespaces`, { body: { name: 'notes' } });
      const again = await w.call<Problem>('POST', `${base}/kv-namespaces`, { body: { name: 'notes' } });
      expect([made.status, again.status, again.body.code]).toEqual([201, 409, 'name_taken']);
      const listed = await w.call<{ items: { number: number }[] }>('GET', `${base}/functions/hello/versions`);
      expect(listed.body.items.map(({ number }) => number)).toEqual([2, 1]);
      const query = new URLSearchParams({ consumer: 'g', role: 'gateway', from: '0', epoch: '' });
      const feed = await w.internal.request(`/internal/feed?${query.toString()}`);
      const reader = (feed.body as ReadableStream<Uint8Array>).getReader();
      const { value } = await reader.read();
      await reader.cancel();
      const line = JSON.parse(Buffer.from(value ?? []).toString('utf8')) as {
        revision: number;
        items: { key: string }[];
      };
      expect(line.revision).toBe(w.deps.db.revision);
      expect(line.items.map(({ key }) => key)).toContain('default/hello');
    });
  });
