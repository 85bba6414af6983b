/** The store of KV on every engine: a file, and a real libSQL server over HTTP and over a WebSocket. */
import { join } from 'node:path';
import { describe, test, type TestContext } from 'vitest';
import { PlatformError } from '#shared/errors.ts';
import { systemTimers, type Clock } from '#shared/runtime/clock.ts';
import { noSqld, Sqld } from '#shared/testing/sqld.node.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import type { KvEntry, ListRequest } from './rules.ts';
import { KvStore } from './store.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString('utf8');
const entry = (value: string, parts: Partial<KvEntry> = {}): KvEntry => ({
  value: bytes(value),
  metadata: undefined,
  expires: undefined,
  ...parts,
});

class WallClock implements Clock {
  wall = 1_700_000_000_000;
  wallMs(): number {
    return this.wall;
  }
  monotonicMs(): number {
    return performance.now();
  }
}

const ENGINES = ['file', 'http', 'ws'] as const;

interface OpenOptions {
  readonly bytesMax?: number;
  readonly clock?: Clock;
}

/** Where values lie: a file, or a real libSQL server. */
class Place implements AsyncDisposable {
  readonly sqld: Sqld | undefined;
  readonly #url: string;
  readonly #parts: AsyncDisposableStack;

  private constructor(url: string, sqld: Sqld | undefined, parts: AsyncDisposableStack) {
    this.#url = url;
    this.sqld = sqld;
    this.#parts = parts;
  }

  static async make(engine: (typeof ENGINES)[number], { skip }: TestContext): Promise<Place> {
    if (engine !== 'file' && noSqld !== undefined) skip(noSqld);
    await using parts = new AsyncDisposableStack();
    const folder = parts.use(await tempFolder()).path;
    if (engine === 'file') return new Place(`file:${join(folder, 'kv.db')}`, undefined, parts.move());
    const sqld = parts.use(await Sqld.start(join(folder, 'sqld')));
    return new Place(sqld.url(engine), sqld, parts.move());
  }

  open({ bytesMax = 1e9, clock = new WallClock() }: OpenOptions = {}): Promise<KvStore> {
    return KvStore.open({
      url: this.#url,
      authToken: undefined,
      bytesMax,
      clock,
      timers: systemTimers,
      random: Math.random,
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }
}

const everything = { prefix: bytes(''), limit: 1_000, after: undefined };

async function rejection(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work;
  } catch (thrown) {
    return thrown instanceof PlatformError ? thrown.code : String(thrown);
  }
  return undefined;
}

describe.each(ENGINES)('KvStore over %s', (engine) => {
  test('keeps values over a restart, namespaces apart', async (context) => {
    const { expect } = context;
    await using place = await Place.make(engine, context);
    const first = await place.open();
    await first.put('n1', bytes('k'), entry('one', { metadata: '{"a":1}' }));
    await first.put('n2', bytes('k'), entry('two'));
    await first.close();
    const second = await place.open();
    const one = await second.get('n1', bytes('k'));
    expect([text(one?.value), one?.metadata]).toEqual(['one', '{"a":1}']);
    expect(text((await second.get('n2', bytes('k')))?.value)).toBe('two');
    await second.close();
  });

  test('hides what has expired at once, and sweeps it', async (context) => {
    const { expect } = context;
    await using place = await Place.make(engine, context);
    const clock = new WallClock();
    const store = await place.open({ clock });
    const expires = clock.wall / 1_000 + 60;
    for (let index = 0; index < 450; index += 1)
      await store.put('n', bytes(`k${index}`), entry('v', { expires }));
    await store.put('n', bytes('stays'), entry('v'));
    clock.wall += 60_000;
    expect(await store.get('n', bytes('k1'))).toBeUndefined();
    expect((await store.list('n', everything)).keys.map(({ key }) => text(key))).toEqual(['stays']);
    const sweeps = [await store.sweep(), await store.sweep(), await store.sweep()];
    expect(sweeps).toEqual([true, true, false]);
    clock.wall -= 60_000;
    expect((await store.list('n', everything)).keys).toHaveLength(1);
    await store.close();
  });

  test('removes a dropped namespace bit by bit, and no other', async (context) => {
    const { expect } = context;
    await using place = await Place.make(engine, context);
    const store = await place.open();
    await Promise.all(
      Array.from({ length: 300 }, (_, index) => store.put('old', bytes(`k${index}`), entry('v'))),
    );
    await store.put('new', bytes('k'), entry('v'));
    await store.drop('old');
    let rounds = 0;
    while (await store.sweep()) rounds += 1;
    expect(rounds).toBe(3);
    expect((await store.list('old', everything)).keys).toEqual([]);
    expect((await store.list('new', everything)).keys).toHaveLength(1);
    await store.close();
  });

  test('lists by the bytes of keys, from a cursor, within a prefix', async (context) => {
    const { expect } = context;
    await using place = await Place.make(engine, context);
    const store = await place.open();
    for (const key of ['b', 'a', 'ä', 'a\u0000', 'a/1', 'Z', '😀', 'a/2'])
      await store.put('n', bytes(key), entry('v'));
    const list = async (parts: Partial<ListRequest>) => {
      const { keys, complete } = await store.list('n', { ...everything, ...parts });
      return [...keys.map(({ key }) => text(key)), complete];
    };
    expect(await list({})).toEqual(['Z', 'a', 'a\u0000', 'a/1', 'a/2', 'b', 'ä', '😀', true]);
    expect(await list({ prefix: bytes('a/') })).toEqual(['a/1', 'a/2', true]);
    expect(await list({ limit: 2 })).toEqual(['Z', 'a', false]);
    expect(await list({ limit: 8, after: bytes('a') })).toEqual([
      'a\u0000',
      'a/1',
      'a/2',
      'b',
      'ä',
      '😀',
      true,
    ]);
    await store.close();
  });

  test('answers kv_full at its bound, goes on reading, and takes puts again after deletes', async (context) => {
    const { expect } = context;
    await using place = await Place.make(engine, context);
    if (engine !== 'file') context.skip('a server has the bound of its disk');
    const store = await place.open({ bytesMax: 400_000 });
    const large = 'x'.repeat(50_000);
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, index) => rejection(store.put('n', bytes(`k${index}`), entry(large)))),
    );
    expect(new Set(outcomes)).toEqual(new Set([undefined, 'kv_full']));
    // Each of a transaction that failed got its own answer.
    expect(outcomes.filter((code) => code === undefined).length).toBeGreaterThan(3);
    expect(text((await store.get('n', bytes('k0')))?.value)).toBe(large);
    for (let index = 0; index < 5; index += 1) await store.delete('n', bytes(`k${index}`));
    expect(await rejection(store.put('n', bytes('again'), entry(large)))).toBeUndefined();
    await store.close();
  });

  test('holds an account to its quota over all its namespaces, to the byte', async (context) => {
    const { expect } = context;
    await using place = await Place.make(engine, context);
    const clock = new WallClock();
    const store = await place.open({ clock });
    const within = { account: 'a', bytesMax: 100 };
    const put = (namespace: string, key: string, size: number, parts: Partial<KvEntry> = {}) =>
      rejection(store.put(namespace, bytes(key), entry('x'.repeat(size), parts), within));
    expect(await put('n1', 'k1', 48)).toBeUndefined();
    expect(await put('n2', 'k2', 43, { metadata: '"äö"' })).toBe('kv_full');
    const expires = clock.wall / 1_000 + 60;
    expect(await put('n2', 'k2', 42, { metadata: '"ä"', expires })).toBeUndefined();
    expect([await put('n1', 'k', 2), await put('n1', 'k', 1)]).toEqual(['kv_full', undefined]);
    // In place of a value counts the difference; of two at once for the last byte one is refused.
    expect([await put('n1', 'k1', 49), await put('n1', 'k1', 47)]).toEqual(['kv_full', undefined]);
    const both = await Promise.all([put('n1', 'y', 0), put('n2', 'z', 0)]);
    expect([...both].toSorted((a) => (a === undefined ? 1 : -1))).toEqual(['kv_full', undefined]);
    // Others have their own, or none.
    const other = { account: 'b', bytesMax: undefined };
    expect(await rejection(store.put('n3', bytes('k'), entry('x'.repeat(1_000)), other))).toBeUndefined();
    // What goes makes room: by a delete, by its end, with its namespace.
    await store.delete('n1', bytes('k1'));
    expect([await put('n1', 'k1', 48), await put('n1', 'k1', 47)]).toEqual(['kv_full', undefined]);
    clock.wall += 60_000;
    await store.sweep();
    expect([await put('n2', 'k3', 46), await put('n2', 'k3', 46)]).toEqual([undefined, undefined]);
    await store.drop('n1');
    while (await store.sweep());
    expect(await put('n2', 'k4', 48)).toBeUndefined();
    await store.close();
  });

  test('shares it with other processes', async (context) => {
    const { expect } = context;
    await using place = await Place.make(engine, context);
    const [left, right] = await Promise.all([place.open(), place.open()]);
    await Promise.all(
      [left, right].flatMap((store, side) =>
        Array.from({ length: 50 }, (_, index) => store.put('n', bytes(`${side}-${index}`), entry('v'))),
      ),
    );
    expect((await left.list('n', everything)).keys).toHaveLength(100);
    await Promise.all([left.close(), right.close()]);
  });

  test('that is away refuses what waits at once, and takes puts again when it is back', async (context) => {
    const { expect } = context;
    await using place = await Place.make(engine, context);
    const { sqld } = place;
    if (sqld === undefined) return context.skip('a file is always there');
    const store = await place.open();
    await store.put('n', bytes('before'), entry('v'));
    await sqld.kill();
    const puts = Array.from({ length: 50 }, (_, index) =>
      rejection(store.put('n', bytes(`k${index}`), entry('v'))),
    );
    expect(new Set(await Promise.all(puts))).toEqual(new Set(['kv_unavailable']));
    expect(await rejection(store.get('n', bytes('before')))).toBe('kv_unavailable');
    await sqld.start();
    await store.put('n', bytes('after'), entry('v'));
    expect((await store.list('n', everything)).keys.map(({ key }) => text(key))).toEqual(['after', 'before']);
    await store.close();
  });

  test('keeps what was answered over kill -9 of the server', async (context) => {
    const { expect } = context;
    await using place = await Place.make(engine, context);
    const { sqld } = place;
    if (sqld === undefined) return context.skip('there is none');
    const store = await place.open();
    const kept: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const puts = Array.from({ length: 100 }, async (_, index) => {
        const key = `${round}-${index}`;
        if ((await rejection(store.put('n', bytes(key), entry('v')))) === undefined) kept.push(key);
      });
      await sqld.kill();
      await Promise.all(puts);
      await sqld.start();
      await store.put('n', bytes(`end-${round}`), entry('v'));
      kept.push(`end-${round}`);
    }
    const found = new Set((await store.list('n', everything)).keys.map(({ key }) => text(key)));
    expect(kept.filter((key) => !found.has(key))).toEqual([]);
    await store.close();
  });
});
