/** Whose start is next, and what one hears whose turn does not come. Starts end when the test says so. */
import { describe, test } from 'vitest';
import { FakeClock } from '#shared/testing/fakes.ts';
import { Starts, stoppedBeforeStart, WAIT_MS_MAX } from './starts.ts';

function setUp(permits: number) {
  const clock = new FakeClock();
  const starts = new Starts({ cores: 2, timers: clock, permits });
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const refused: string[] = [];
  const start = (account: string, stopped?: AbortSignal): void => {
    starts
      .run(account, stopped, () => {
        begun.push(account);
        return new Promise<void>((resolve) => ends.push(resolve));
      })
      .catch((thrown: { code: string }) => refused.push(`${account} ${thrown.code}`));
  };
  return { clock, starts, begun, ends, refused, start };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('Starts', () => {
  test('one account floods with starts, and each start of another begins at once', async ({ expect }) => {
    const { begun, ends, start } = setUp(4);
    for (let count = 0; count < 100; count += 1) start('hostile');
    await turn();
    expect(begun).toEqual(['hostile', 'hostile']);
    for (let round = 0; round < 20; round += 1) {
      start('good');
      await turn();
      expect(begun.at(-1)).toBe('good');
      ends.pop()?.();
      await turn();
    }
    expect(begun.filter((account) => account === 'hostile')).toHaveLength(2);
  });

  test('of several that want all of it, each has its turn', async ({ expect }) => {
    const { begun, ends, start } = setUp(4);
    for (let count = 0; count < 50; count += 1)
      for (const account of ['a', 'b', 'c', 'd', 'e']) start(account);
    for (let count = 0; count < 100; count += 1) {
      await turn();
      ends.shift()?.();
    }
    for (const account of ['a', 'b', 'c', 'd', 'e'])
      expect(begun.filter((each) => each === account).length).toBeGreaterThanOrEqual(15);
  });

  test('who waits for too long is told that it is its own share, and who is stopped waits no more', async ({
    expect,
  }) => {
    const { clock, starts, begun, refused, start, ends } = setUp(4);
    const stopped = new AbortController();
    for (let count = 0; count < 3; count += 1) start('hostile');
    start('hostile', stopped.signal);
    await turn();
    expect(starts.waiting).toBe(2);
    stopped.abort(stoppedBeforeStart());
    await turn();
    expect(refused).toEqual(['hostile instance_lost']);
    clock.advance(WAIT_MS_MAX);
    await turn();
    expect(refused).toEqual(['hostile instance_lost', 'hostile share_full']);
    expect([starts.waiting, begun.length]).toEqual([0, 2]);
    // One that has begun is not cut off by the clock.
    for (const end of ends) end();
    await turn();
    start('hostile', AbortSignal.abort(stoppedBeforeStart()));
    await turn();
    expect(refused.length).toBe(3);
  });
});
