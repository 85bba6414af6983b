import { describe, test } from 'vitest';
import { FakeClock } from '#shared/testing/fakes.ts';
import { Line } from './line.ts';

/** Work takes the time that it says, on a clock that moves with it. */
function setUp(breathe: () => Promise<void> = () => Promise.resolve()) {
  const clock = new FakeClock();
  const line = new Line({ clock, breathe });
  const log: string[] = [];
  const send = (account: string, costMs: number): Promise<void> =>
    line.run(account, () => {
      log.push(account);
      clock.advance(costMs);
    });
  return { line, log, send };
}

describe('a line', () => {
  test('does at once what comes first in a turn', async ({ expect }) => {
    const { log, send } = setUp();
    const done = send('a', 0.4);
    expect(log).toEqual(['a']);
    await done;
    await send('a', 0.4);
    expect(log).toEqual(['a', 'a']);
  });

  test('does so much in a turn, however many pieces arrive in it, and begins the next with whoever had least', async ({
    expect,
  }) => {
    const turns: (() => void)[] = [];
    const { log, send } = setUp(() => new Promise((resolve) => turns.push(resolve)));
    // As they are read from one connection after the other: the line is empty between them.
    const read = async (account: string): Promise<void> => {
      done.push(send(account, 0.6));
      await new Promise((resolve) => setImmediate(resolve));
    };
    const done: Promise<void>[] = [];
    for (let index = 0; index < 50; index += 1) await read('hostile');
    await read('good');
    expect(log).toEqual(['hostile', 'hostile']);
    turns.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
    expect([log.length, log[2]]).toEqual([4, 'good']);
    while (log.length < done.length) {
      turns.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(done);
  });

  test('lets one piece of another account wait for one of a flood, however many there are', async ({
    expect,
  }) => {
    const { log, send } = setUp();
    const flood = Array.from({ length: 500 }, () => send('hostile', 1));
    await flood[0];
    for (let round = 0; round < 10; round += 1) {
      const before = log.length;
      await send('good', 1);
      expect(log.slice(before).filter((account) => account === 'hostile').length).toBeLessThanOrEqual(2);
    }
    await Promise.all(flood);
    expect(log.length).toBe(510);
  });

  test('divides time and not numbers: who sends slow pieces has fewer turns', async ({ expect }) => {
    const { log, send } = setUp();
    const all = Array.from({ length: 100 }, () => [send('slow', 10), send('quick', 1)]).flat();
    await Promise.all(all.slice(0, 40));
    const first = log.slice(0, 60);
    expect(first.filter((account) => account === 'slow').length).toBeLessThanOrEqual(7);
    await Promise.all(all);
  });

  test('keeps no credit for who did nothing', async ({ expect }) => {
    const { log, send } = setUp();
    const early = Array.from({ length: 50 }, () => send('early', 1));
    await early[40];
    const before = log.length;
    const late = Array.from({ length: 50 }, () => send('late', 1));
    await Promise.all(early);
    expect(log.slice(before).filter((account) => account === 'late').length).toBeLessThanOrEqual(10);
    await Promise.all(late);
  });

  test('goes on after a piece that fails, and remembers nobody when all is done', async ({ expect }) => {
    const { line, log, send } = setUp();
    const failed = line.run('a', () => Promise.reject(new Error('broken')));
    const after = send('a', 1);
    await expect(failed).rejects.toThrow('broken');
    await after;
    expect([log, line.accounts]).toEqual([['a'], 0]);
  });
});
