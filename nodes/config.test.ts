/** Defaults by memory, and what the environment may say. */
import { describe, test } from 'vitest';
import { defaultCapacity, defaultReserveBytes, defaultSlots, nodeEnvironmentSchema } from './config.ts';

const GIB = 2 ** 30;
const MIB = 2 ** 20;

describe('defaults', () => {
  test('a machine of 24 GB holds 2,000 instances, and 47 slots wait', ({ expect }) => {
    const bytes = 24_105 * MIB;
    expect([defaultCapacity(bytes), defaultSlots(bytes)]).toEqual([2_000, 47]);
    expect(defaultReserveBytes(bytes)).toBeGreaterThan(1.4 * GIB);
  });

  test('small machines hold what fits, large ones no more than is sensible', ({ expect }) => {
    expect([defaultCapacity(GIB), defaultSlots(GIB), defaultReserveBytes(GIB)]).toEqual([76, 3, 128 * MIB]);
    expect(defaultCapacity(64 * MIB)).toBe(1);
    expect([defaultCapacity(1_024 * GIB), defaultSlots(1_024 * GIB)]).toEqual([2_000, 48]);
  });
});

describe('ISOPLANE_STRICT_UIDS', () => {
  const parse = (range: string) =>
    nodeEnvironmentSchema.safeParse({ ISOPLANE_DATA_DIR: '/d', ISOPLANE_STRICT_UIDS: range });

  test('is a range of ids that no system user has', ({ expect }) => {
    expect(parse('2000-2009').data?.ISOPLANE_STRICT_UIDS).toEqual({ first: 2_000, count: 10 });
    expect(parse('2147483647-2147483647').success).toBe(true);
    for (const range of ['0-10', '999-2000', '2009-2000', '2000', 'a-b', '2000-2147483648', '-1-5'])
      expect(parse(range).success, range).toBe(false);
  });
});
