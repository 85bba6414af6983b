/** The feed state applies lines idempotently, and its journal survives damage. Real files in a temporary folder. */
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import type { FeedItem, FeedLine } from '../contracts/feed.ts';
import { accountNameSchema } from '../ids.ts';
import { memoryLog } from '../testing/fakes.ts';
import { tempFolder } from '../testing/temp.node.ts';
import { FeedJournal } from './journal.node.ts';
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
