/** The soak in small; `npm run soak` does it ten thousand times and says what memory did meanwhile. */
import { describe, test } from 'vitest';
import { slopeOf } from './slope.ts';
import { soak } from './starts.ts';

test('instances that end in every way leave no zombie, process, folder, socket, group or descriptor', async ({
  expect,
}) => {
  const starts = 160;
  const report = await soak({ starts, tell: () => undefined });
  expect(report.leftovers).toEqual({
    zombies: 0,
    processes: 0,
    folders: 0,
    sockets: 0,
    groups: 0,
    descriptors: 0,
  });
  // Every fiftieth is the one whose code throws.
  expect(report.answered).toBe(starts - 3);
}, 120_000);

describe('slopeOf()', () => {
  test('is the change per unit, and 0 for nothing', ({ expect }) => {
    expect(slopeOf([0, 1, 2, 3].map((x) => ({ x, y: 5 + 2 * x })))).toBeCloseTo(2);
    expect(slopeOf([])).toBe(0);
    expect(slopeOf([{ x: 1, y: 1 }])).toBe(0);
  });
});
