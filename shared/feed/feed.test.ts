/** The feed state applies lines idempotently, and its journal survives damage. Real files in a temporary folder. */
import { appendFile, mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import type { FeedItem, FeedLine } from '../contracts/feed.ts';
import { accountNameSchema } from '../ids.ts';
import { memoryLog } from '../testing/fakes.ts';
import { tempFolder } from '../testing/temp.node.ts';
import { FeedJournal } from './journal.node.ts';
import { readLineSchema } from './read.ts';
import { FeedState } from './state.ts';

const account = (name: string): FeedItem => ({
  kind: 'account',
  key: name,
  value: { name: accountNameSchema.parse(name) },
});
const gone = (name: string): FeedItem => ({ kind: 'account', key: name, value: null });
const snapshot = (revision: number, items: FeedItem[], epoch = 'e1'): FeedLine => ({
  type: 'snapshot',
  epoch,
  revision,
  items,
});
const delta = (revision: number, items: FeedItem[]): FeedLine => ({ type: 'delta', revision, items });
const names = (state: FeedState) => state.values('account').map((item) => item.name);

describe('FeedState', () => {
  test('sets and deletes whole values, and ignores what it has seen', ({ expect }) => {
    const state = new FeedState();
    state.apply(snapshot(3, [account('a'), account('b')]));
    expect(state.apply(delta(4, [gone('a'), account('c')]))).toHaveLength(2);
    expect(state.apply(delta(4, [account('a')]))).toEqual([]);
    expect(state.apply(delta(2, [account('a')]))).toEqual([]);
    expect([names(state), state.revision]).toEqual([['b', 'c'], 4]);
  });
  test('reports what a new snapshot no longer holds, even at a lower revision', ({ expect }) => {
    const state = new FeedState();
    state.apply(snapshot(9, [account('a'), account('b')]));
    expect(state.apply(snapshot(1, [account('b')], 'e2'))).toEqual([gone('a'), account('b')]);
    expect([state.epoch, state.revision, names(state)]).toEqual(['e2', 1, ['b']]);
  });
});

/** `vars` nested so deep that schemas exhaust their stack. */
const poison = (): unknown => {
  let value: unknown = 1;
  for (let depth = 0; depth < 20_000; depth += 1) value = [value];
  return { kind: 'runnable', key: 'b/deep@1', value: { vars: { value } } };
};

describe('a line with items that cannot be read', () => {
  test('gives the others, and says which were skipped and why', ({ expect }) => {
    const line = readLineSchema.parse({
      type: 'delta',
      revision: 4,
      items: [
        account('a'),
        poison(),
        { kind: 'of a later release', key: 'x', value: {} },
        null,
        account('c'),
      ],
    });
    expect(line).toMatchObject({
      items: [account('a'), account('c')],
      skipped: [
        { kind: 'runnable', key: 'b/deep@1' },
        { kind: 'of a later release', key: 'x' },
        { kind: 'unknown', key: 'unknown' },
      ],
    });
  });
  test('keeps what was known of an item until it can be read again', ({ expect }) => {
    const state = new FeedState();
    state.apply(snapshot(1, [account('a'), account('b')]));
    const bad = { kind: 'account', key: 'a', value: { name: 7 } };
    state.apply(readLineSchema.parse({ type: 'delta', revision: 2, items: [bad] }));
    expect([names(state), state.revision, state.skipped.map(({ key }) => key)]).toEqual([
      ['a', 'b'],
      2,
      ['a'],
    ]);
    state.apply(readLineSchema.parse({ type: 'snapshot', epoch: 'e1', revision: 3, items: [bad] }));
    expect([names(state), state.skipped.map(({ key }) => key)]).toEqual([['a'], ['a']]);
    state.apply(delta(4, [account('a')]));
    expect([names(state), state.skipped]).toEqual([['a'], []]);
  });
  test('keeps nothing of another history', ({ expect }) => {
    const state = new FeedState();
    state.apply(snapshot(1, [account('a')]));
    const bad = { kind: 'account', key: 'a', value: { name: 7 } };
    state.apply(readLineSchema.parse({ type: 'snapshot', epoch: 'e2', revision: 1, items: [bad] }));
    expect(names(state)).toEqual([]);
  });
});

describe('FeedJournal', () => {
  async function written(path: string): Promise<void> {
    const journal = new FeedJournal(path);
    const state = await journal.load(memoryLog());
    for (const line of [snapshot(1, [account('a')]), delta(2, [account('b')]), delta(3, [account('c')])]) {
      state.apply(line);
      await journal.append(line, state);
    }
  }
  test('rebuilds the state from snapshot and deltas', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'feed');
    await written(path);
    const state = await new FeedJournal(path).load(memoryLog());
    expect([names(state), state.revision, state.epoch]).toEqual([['a', 'b', 'c'], 3, 'e1']);
  });
  test('cuts a torn tail and starts from what is whole', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'feed');
    await written(path);
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.slice(0, -20));
    const log = memoryLog();
    const state = await new FeedJournal(path).load(log);
    expect([names(state), state.revision, log.lines.map((line) => line.event)]).toEqual([
      ['a', 'b'],
      2,
      ['feed_journal_cut'],
    ]);
  });
  test('lacks nothing of what came before, when one line could not be written', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'feed');
    const journal = new FeedJournal(path);
    const state = await journal.load(memoryLog());
    const write = async (line: FeedLine): Promise<void> => {
      state.apply(line);
      await journal.append(line, state);
    };
    await write(snapshot(1, [account('a')]));
    const whole = await readFile(path);
    // Nothing can be written there, as on a full disk.
    await rm(path);
    await mkdir(path);
    await expect(write(delta(2, [account('b')]))).rejects.toMatchObject({ code: 'EISDIR' });
    await rmdir(path);
    await writeFile(path, whole);
    expect(names(await new FeedJournal(path).load(memoryLog()))).toEqual(['a']);
    await write(delta(3, [account('c')]));
    const again = await new FeedJournal(path).load(memoryLog());
    expect([names(again), again.revision]).toEqual([['a', 'b', 'c'], 3]);
  });
  test('remembers what was skipped', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'feed');
    await written(path);
    const journal = new FeedJournal(path);
    const state = await journal.load(memoryLog());
    const line = readLineSchema.parse({ type: 'delta', revision: 4, items: [poison()] });
    state.apply(line);
    await journal.append(line, state);
    const again = await new FeedJournal(path).load(memoryLog());
    expect([again.revision, again.skipped.map(({ key }) => key)]).toEqual([4, ['b/deep@1']]);
  });
  test.for([
    ['in the snapshot', '"name":"a"', '"name":"x"', []],
    ['in a delta', '"name":"c"', '"name":"x"', ['a', 'b']],
  ] as const)('serves no value that was changed in place %s', async ([, was, is, left], { expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'feed');
    await written(path);
    const text = await readFile(path, 'utf8');
    expect(text).toContain(was);
    await writeFile(path, text.replace(was, is));
    const log = memoryLog();
    const state = await new FeedJournal(path).load(log);
    expect([names(state), log.lines.map((line) => line.event)]).toEqual([left, ['feed_journal_cut']]);
  });
  test.for(['', 'garbage\n', '{"type":"delta","revision":5,"items":[]}\n'])(
    'starts empty from %j',
    async (content, { expect }) => {
      await using folder = await tempFolder();
      const path = join(folder.path, 'feed');
      await appendFile(path, content);
      expect((await new FeedJournal(path).load(memoryLog())).revision).toBe(0);
    },
  );
});
