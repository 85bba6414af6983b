/** Back-off, on plain values. */
import { describe, test } from 'vitest';
import { afterExit, afterReady, FRESH, SUPERVISION, type PlaneHistory } from './supervision.ts';

const delays = (count: number, step: (history: PlaneHistory) => PlaneHistory): number[] => {
  const seen: number[] = [];
  let history = FRESH;
  for (let index = 0; index < count; index += 1) {
    const { delayMs, history: after } = afterExit(step(history), 1_000);
    history = after;
    seen.push(delayMs);
  }
  return seen;
};

describe('afterExit()', () => {
  test.for([
    ['after each short run', (history: PlaneHistory) => afterReady(history, 999)],
    ['after each start that fails', (history: PlaneHistory) => history],
  ] as const)('waits twice as long %s, up to the bound', ([, step], { expect }) => {
    const bound = Array.from({ length: 6 }, () => SUPERVISION.backoffMsMax);
    expect(delays(12, step)).toEqual([100, 200, 400, 800, 1_600, 3_200, ...bound]);
  });

  test('starts again at the minimum after a healthy run', ({ expect }) => {
    const tired: PlaneHistory = { shortRuns: 9, readyAtMs: 0 };
    expect(afterExit(tired, SUPERVISION.healthyAfterMs)).toMatchObject({ delayMs: SUPERVISION.backoffMsMin });
    expect(afterExit(tired, SUPERVISION.healthyAfterMs - 1)).toMatchObject({
      delayMs: SUPERVISION.backoffMsMax,
    });
  });
});
