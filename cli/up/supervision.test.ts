/** Back-off and giving up, on plain values. */
import { describe, test } from 'vitest';
import { afterExit, afterReady, FRESH, SUPERVISION, type PlaneHistory } from './supervision.ts';

const delays = (count: number, step: (history: PlaneHistory) => PlaneHistory): number[] => {
  const seen: number[] = [];
  let history = FRESH;
  for (let index = 0; index < count; index += 1) {
    const verdict = afterExit(step(history), 1_000);
    history = verdict.history;
    if (verdict.kind === 'restart') seen.push(verdict.delayMs);
  }
  return seen;
};

describe('afterExit()', () => {
  test('waits twice as long after each short run, up to the bound, and never gives up on a plane that starts', ({
    expect,
  }) => {
    const seen = delays(12, (history) => afterReady(history, 999));
    expect(seen).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000, 5_000, 5_000]);
  });

  test('starts again at the minimum after a healthy run', ({ expect }) => {
    const tired: PlaneHistory = { shortRuns: 9, failedStarts: 0, readyAtMs: 0, served: true };
    expect(afterExit(tired, SUPERVISION.healthyAfterMs)).toMatchObject({ delayMs: SUPERVISION.backoffMsMin });
    expect(afterExit(tired, SUPERVISION.healthyAfterMs - 1)).toMatchObject({
      delayMs: SUPERVISION.backoffMsMax,
    });
  });

  test('gives up at the bound of starts that never became ready, not one before', ({ expect }) => {
    const seen = delays(SUPERVISION.failedStartsMax, (history) => history);
    expect(seen).toHaveLength(SUPERVISION.failedStartsMax - 1);
    expect(
      afterExit(
        { shortRuns: 4, failedStarts: SUPERVISION.failedStartsMax - 1, readyAtMs: undefined, served: false },
        0,
      ).kind,
    ).toBe('give_up');
  });

  test('never gives up for what passes by itself: the other planes go on meanwhile', ({ expect }) => {
    const tired: PlaneHistory = { shortRuns: 90, failedStarts: 90, readyAtMs: undefined, served: false };
    for (const code of ['storage_full', 'database_busy'])
      expect(afterExit(tired, 0, code)).toMatchObject({ kind: 'restart', delayMs: SUPERVISION.backoffMsMax });
    expect(afterExit(tired, 0, 'port_in_use').kind).toBe('give_up');
  });

  test('never gives up on a plane that has served, however often it cannot start: the others serve meanwhile', ({
    expect,
  }) => {
    let history = afterReady(FRESH, 0);
    for (let count = 0; count < 50; count += 1) {
      const verdict = afterExit(history, 60_000, 'port_in_use');
      expect(verdict.kind).toBe('restart');
      history = verdict.history;
    }
    expect(afterExit(history, 60_000)).toMatchObject({ delayMs: SUPERVISION.backoffMsMax });
  });

  test('a start that became ready clears the count of failed ones', ({ expect }) => {
    expect(afterReady({ shortRuns: 4, failedStarts: 4, readyAtMs: undefined, served: false }, 5)).toEqual({
      shortRuns: 4,
      failedStarts: 0,
      readyAtMs: 5,
      served: true,
    });
  });
});
