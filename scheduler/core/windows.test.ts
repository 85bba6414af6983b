import { describe, expect, test } from 'vitest';
import { provisionSchema, type Provision } from '#shared/contracts/provision.ts';
import { seededRandom } from '#shared/testing/fakes.ts';
import { provisionedAt, splitByWeight } from './windows.ts';

const at = (text: string): number => Date.parse(`${text}:00Z`);
const window = (days: number[], from: string, to: string, instances = 5): Provision =>
  provisionSchema.parse({ instances: 1, schedule: [{ days, from, to, instances }] });

describe('a provision', () => {
  // 25 November 2026 is a Wednesday.
  test.for([
    ['before the window', [3], '08:00', '18:00', '2026-11-25T07:59', 1],
    ['at its first minute', [3], '08:00', '18:00', '2026-11-25T08:00', 5],
    ['in its last minute', [3], '08:00', '18:00', '2026-11-25T17:59', 5],
    ['after it', [3], '08:00', '18:00', '2026-11-25T18:00', 1],
    ['on another day', [4], '08:00', '18:00', '2026-11-25T12:00', 1],
    ['before midnight of a night', [3], '22:00', '06:00', '2026-11-25T23:00', 5],
    ['after midnight of a night', [3], '22:00', '06:00', '2026-11-26T05:59', 5],
    ['at the end of a night', [3], '22:00', '06:00', '2026-11-26T06:00', 1],
    ['in the morning before a night', [3], '22:00', '06:00', '2026-11-25T05:00', 1],
    ['on Sunday morning after a Saturday night', [6], '22:00', '06:00', '2026-11-29T01:00', 5],
    ['in a window of a whole day', [3], '09:00', '09:00', '2026-11-26T08:59', 5],
  ] as const)('%s', ([, days, from, to, now, expected]) => {
    expect(provisionedAt(window([...days], from, to), at(now))).toBe(expected);
  });

  test('is the largest of its base and all open windows', () => {
    const schedule = [2, 9, 4].map((instances) => ({
      days: [3],
      from: '00:00',
      to: '23:59',
      instances,
    }));
    const now = at('2026-11-25T12:00');
    expect(provisionedAt(provisionSchema.parse({ instances: 3, schedule }), now)).toBe(9);
    expect(provisionedAt(provisionSchema.parse({ instances: 30, schedule }), now)).toBe(30);
  });
});

describe('splitByWeight()', () => {
  test.for([
    [10, [90, 10], [9, 1]],
    [3, [90, 5, 5], [1, 1, 1]],
    [4, [90, 5, 5], [2, 1, 1]],
    [1, [50, 50], [1, 1]],
    [0, [50, 50], [0, 0]],
    [5, [50, 50], [3, 2]],
  ] as const)('%j by %j', ([instances, weights, expected]) => {
    expect(splitByWeight(instances, weights)).toEqual(expected);
  });

  test('gives each version at least 1 and all together what was asked for', () => {
    const random = seededRandom(1);
    const integer = (most: number): number => 1 + Math.floor(random() * most);
    for (let run = 0; run < 500; run += 1) {
      const instances = integer(1_000);
      const weights = Array.from({ length: integer(10) }, () => integer(100));
      const parts = splitByWeight(instances, weights);
      const sum = parts.reduce((all, part) => all + part, 0);
      expect(sum).toBe(Math.max(instances, weights.length));
      expect(Math.min(...parts)).toBeGreaterThanOrEqual(1);
    }
  });
});
