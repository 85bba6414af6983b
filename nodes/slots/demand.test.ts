/** Pool sizes as values: starts at given times, the target at a given time. */
import { describe, test } from 'vitest';
import { NO_DEMAND, onDemand, poolTarget, SLOT_BYTES, type Demand, type PoolSupply } from './demand.ts';

const SPAWN_MS = 25;
const bounds = { min: 4, max: 100 };
const plenty = 1_000 * SLOT_BYTES * 8;
const starts = (times: readonly number[], from: Demand = NO_DEMAND): Demand =>
  times.reduce((demand, atMs) => onDemand(demand, atMs, SPAWN_MS), from);
const target = (demand: Demand, supply: Partial<PoolSupply> = {}): number =>
  poolTarget(demand, bounds, { nowMs: demand.atMs, waiting: 0, freeBytes: plenty, ...supply });
const every = (periodMs: number, durationMs: number): number[] =>
  Array.from({ length: Math.floor(durationMs / periodMs) }, (_, index) => index * periodMs);

describe('poolTarget()', () => {
  test('is the least without demand, and for a single start', ({ expect }) => {
    expect(target(NO_DEMAND)).toBe(4);
    expect(target(starts([0]))).toBe(4);
  });

  test('follows the rate of starts times the time that refilling takes', ({ expect }) => {
    const slow = target(starts(every(200, 10_000)));
    const fast = target(starts(every(20, 10_000)));
    expect(slow).toBeLessThan(10);
    // 50 a second for half a second, and two deviations more.
    expect(fast).toBeGreaterThanOrEqual(25);
    expect(fast).toBeLessThanOrEqual(40);
  });

  test('slow machines keep more', ({ expect }) => {
    const times = every(100, 10_000);
    const slow = times.reduce((demand, atMs) => onDemand(demand, atMs, 200), NO_DEMAND);
    expect(target(slow)).toBeGreaterThan(target(starts(times)));
  });

  test('remembers a burst and lets it fade', ({ expect }) => {
    const burst = starts(Array.from({ length: 50 }, () => 1_000));
    expect(target(burst)).toBe(65);
    expect(target(burst, { nowMs: 61_000 })).toBe(35);
    expect(target(burst, { nowMs: 600_000 })).toBe(4);
  });

  test('stays within its bounds, the largest included', ({ expect }) => {
    const burst = starts(Array.from({ length: 10_000 }, () => 0));
    expect(target(burst)).toBe(100);
    expect(poolTarget(burst, { min: 0, max: 0 }, { nowMs: 0, waiting: 0, freeBytes: plenty })).toBe(0);
  });

  test('takes at most an eighth of the free memory, also for the least size', ({ expect }) => {
    const burst = starts(Array.from({ length: 50 }, () => 0));
    expect(target(burst, { freeBytes: 8 * SLOT_BYTES * 10 })).toBe(10);
    expect(target(burst, { freeBytes: 8 * SLOT_BYTES * 10, waiting: 3 })).toBe(13);
    expect(target(NO_DEMAND, { freeBytes: 0 })).toBe(0);
  });

  test('a clock that stands still or a late event does no harm', ({ expect }) => {
    expect(target(onDemand(starts([5_000]), 4_000, SPAWN_MS))).toBeGreaterThanOrEqual(4);
  });
});
