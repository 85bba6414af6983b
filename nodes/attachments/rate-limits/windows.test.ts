/** Rate limits without workerd: what counts together, when a window ends, and whose room a key takes. */
import { describe, test } from 'vitest';
import { Shares } from '#shared/shares.ts';
import { FakeClock } from '#shared/testing/fakes.ts';
import { Windows, type RateRule } from './windows.ts';

const RULE: RateRule = { account: 'a', namespace: 'login', limit: 2, periodMs: 10_000 };

describe('a window', () => {
  test('lets the limit through, refuses more, and ends one period after its first call', ({ expect }) => {
    const clock = new FakeClock();
    const windows = new Windows(clock);
    const take = (): boolean => windows.take(RULE, 'k', 1);
    expect([take(), take(), take()]).toEqual([true, true, false]);
    clock.advance(9_999);
    expect(take()).toBe(false);
    clock.advance(1);
    expect([take(), take(), take()]).toEqual([true, true, false]);
  });

  test('counts what a call adds, and lets the one through that goes past the limit', ({ expect }) => {
    const windows = new Windows(new FakeClock());
    expect([windows.take(RULE, 'k', 5), windows.take(RULE, 'k', 1)]).toEqual([true, false]);
  });

  test('is of one account, namespace, period and key', ({ expect }) => {
    const windows = new Windows(new FakeClock());
    for (const rule of [RULE, RULE]) expect(windows.take(rule, 'k', 1)).toBe(true);
    const others: readonly Partial<RateRule>[] = [
      { account: 'b' },
      { namespace: 'other' },
      { periodMs: 60_000 },
    ];
    for (const other of others) expect(windows.take({ ...RULE, ...other }, 'k', 1)).toBe(true);
    expect(windows.take(RULE, 'other', 1)).toBe(true);
    // Another binding of the namespace has its own limit, and the same count.
    expect(windows.take({ ...RULE, limit: 3 }, 'k', 1)).toBe(true);
    expect(windows.take({ ...RULE, limit: 3 }, 'k', 1)).toBe(false);
  });

  test('that has ended is forgotten', ({ expect }) => {
    const clock = new FakeClock();
    const windows = new Windows(clock);
    for (let key = 0; key < 100; key += 1) windows.take(RULE, String(key), 1);
    clock.advance(5_000);
    windows.take(RULE, 'late', 1);
    clock.advance(5_000);
    windows.sweep();
    expect(windows.size).toBe(1);
  });
});

test('keys that one account counts without end drive out its own oldest, and none of another', ({
  expect,
}) => {
  const shares = new Shares('rateLimits.keys', { total: 1_000 });
  const windows = new Windows(new FakeClock(), shares);
  const good = { ...RULE, account: 'good', limit: 1 };
  expect(windows.take(good, 'k', 1)).toBe(true);
  for (let key = 0; key < 10_000; key += 1) windows.take(RULE, String(key), 1);
  expect(shares.used).toBeLessThanOrEqual(1_000);
  expect(windows.take(good, 'k', 1)).toBe(false);
  expect(windows.take(good, 'another', 1)).toBe(true);
  expect(windows.take({ ...RULE, limit: 1 }, '9999', 1)).toBe(false);
  expect(windows.take({ ...RULE, limit: 1 }, '0', 1)).toBe(true);
});

test('a key that has reached its limit stays refused, however many others its account counts', ({
  expect,
}) => {
  const windows = new Windows(new FakeClock(), new Shares('rateLimits.keys', { total: 1_000 }));
  expect([1, 2, 3].map(() => windows.take(RULE, 'blocked', 1))).toEqual([true, true, false]);
  for (let key = 0; key < 10_000; key += 1) windows.take(RULE, String(key), 1);
  expect(windows.take(RULE, 'blocked', 1)).toBe(false);
  // What is forgotten instead is what could still be called.
  expect([windows.take(RULE, '0', 1), windows.take(RULE, '0', 1)]).toEqual([true, true]);
});

test('where every key has reached its limit, a new one is counted still', ({ expect }) => {
  const windows = new Windows(new FakeClock(), new Shares('rateLimits.keys', { total: 1_000 }));
  for (let key = 0; key < 10_000; key += 1) windows.take({ ...RULE, limit: 1 }, String(key), 1);
  expect([1, 2, 3].map(() => windows.take(RULE, 'new', 1))).toEqual([true, true, false]);
});
