/** Name cache, budgets and refusals in the log: each at its bound and one past it, on a clock that stands. */
import { describe, test } from 'vitest';
import { Shares } from '#shared/shares.ts';
import { FakeClock } from '#shared/testing/fakes.ts';
import { Budget, TAGS_MAX } from './budget.ts';
import { Names, type NameAnswer, type Resolve } from './names.ts';
import { RefusalMeter } from '../refusal-meter.ts';

const sharesOf = (total: number) => ({
  lookups: new Shares('egress.lookups'),
  remembered: new Shares('egress.names', { total, floor: total / 2 }),
});

/** @param entriesMax - of one account. */
function names(resolve: Resolve, entriesMax = 10): { names: Names; clock: FakeClock } {
  const clock = new FakeClock();
  return { clock, names: new Names({ resolve, clock, timers: clock, ...sharesOf(2 * entriesMax) }) };
}

function counting(answer: (host: string) => NameAnswer): { resolve: Resolve; asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    resolve: (host) => {
      asked.push(host);
      return Promise.resolve(answer(host));
    },
  };
}

describe('Names', () => {
  test('an answer is kept for its TTL, and for a minute at most', async ({ expect }) => {
    for (const [ttlS, keptMs] of [
      [0, 1_000],
      [30, 30_000],
      [86_400, 60_000],
    ] as const) {
      const dns = counting(() => ({ addresses: ['8.8.8.8'], ttlS }));
      const world = names(dns.resolve);
      await world.names.lookup('a.b', 'a');
      world.clock.advance(keptMs - 1);
      await world.names.lookup('a.b', 'a');
      expect(dns.asked).toHaveLength(1);
      world.clock.advance(1);
      await world.names.lookup('a.b', 'a');
      expect(dns.asked).toHaveLength(2);
    }
  });

  test('a name that does not exist is remembered for five seconds', async ({ expect }) => {
    const dns = counting(() => ({ addresses: [], ttlS: 60 }));
    const world = names(dns.resolve);
    const asks = (): Promise<unknown> =>
      world.names.lookup('a.b', 'a').catch((error: { code: string }) => error.code);
    expect([await asks(), await asks(), dns.asked.length]).toEqual(['egress_failed', 'egress_failed', 1]);
    world.clock.advance(5_000);
    await asks();
    expect(dns.asked).toHaveLength(2);
  });

  test('one more name than fits drops the one that was used least', async ({ expect }) => {
    const dns = counting(() => ({ addresses: ['8.8.8.8'], ttlS: 60 }));
    const world = names(dns.resolve, 2);
    for (const host of ['a', 'b', 'c', 'c', 'b', 'a']) await world.names.lookup(host, 'a');
    expect(dns.asked).toEqual(['a', 'b', 'c', 'a']);
    expect(world.names.size).toBe(2);
  });

  test('requests at the same time ask once', async ({ expect }) => {
    const dns = counting(() => ({ addresses: ['8.8.8.8'], ttlS: 60 }));
    const world = names(dns.resolve);
    await Promise.all([world.names.lookup('a', 'a'), world.names.lookup('a', 'a')]);
    expect(dns.asked).toEqual(['a']);
  });

  test('a server that never answers is given up after five seconds, one that fails at once', async ({
    expect,
  }) => {
    const silent = names(() => new Promise(() => undefined));
    const asked = silent.names.lookup('a', 'a');
    silent.clock.advance(5_000);
    await expect(asked).rejects.toMatchObject({ code: 'egress_timeout' });
    const broken = names(() => Promise.reject(new Error('SERVFAIL')));
    await expect(broken.names.lookup('a', 'a')).rejects.toMatchObject({ code: 'egress_failed' });
  });

  test('one account looks up half of all names that may be at once, and another goes on', async ({
    expect,
  }) => {
    const world = names((host) =>
      host === 'good' ? Promise.resolve({ addresses: ['8.8.8.8'], ttlS: 60 }) : new Promise(() => undefined),
    );
    const refused: string[] = [];
    for (let index = 0; index < 1_800; index += 1)
      world.names.lookup(`n${index}`, 'hostile').catch((error: { code: string }) => refused.push(error.code));
    expect(await world.names.lookup('good', 'good')).toEqual(['8.8.8.8']);
    expect([refused.length, new Set(refused)]).toEqual([1_300, new Set(['share_full'])]);
    world.clock.advance(5_000);
  });

  test('names that one account fills the memory with drive out none of another', async ({ expect }) => {
    const dns = counting(() => ({ addresses: ['8.8.8.8'], ttlS: 60 }));
    const world = names(dns.resolve, 100);
    await world.names.lookup('kept', 'good');
    for (let index = 0; index < 1_000; index += 1) await world.names.lookup(`n${index}`, 'hostile');
    await world.names.lookup('kept', 'good');
    expect(dns.asked.filter((host) => host === 'kept')).toHaveLength(1);
  });

  test('localhost is loopback and never asked for', async ({ expect }) => {
    const dns = counting(() => ({ addresses: ['8.8.8.8'], ttlS: 60 }));
    const world = names(dns.resolve);
    expect(await world.names.lookup('localhost', 'a')).toEqual(['127.0.0.1']);
    expect(await world.names.lookup('a.localhost', 'a')).toEqual(['127.0.0.1']);
    expect(dns.asked).toEqual([]);
  });
});

describe('Budget', () => {
  test('gives each request its own and stops at the bound', ({ expect }) => {
    const budget = new Budget({ subrequestsMax: 2, windowMs: 100 });
    expect(['a', 'a', 'a', 'b', 'a'].map((tag) => budget.take(tag, 0))).toEqual([
      true,
      true,
      false,
      true,
      false,
    ]);
    expect(new Budget({ subrequestsMax: 0, windowMs: 100 }).take('a', 0)).toBe(false);
  });

  test('what names no request shares one budget per window', ({ expect }) => {
    const budget = new Budget({ subrequestsMax: 2, windowMs: 100 });
    expect([0, 50, 99, 100].map((nowMs) => budget.take(undefined, nowMs))).toEqual([true, true, false, true]);
  });

  test('remembers as many requests as it says, the silent ones go first', ({ expect }) => {
    const budget = new Budget({ subrequestsMax: 1, windowMs: 100 });
    for (let index = 0; index < TAGS_MAX; index += 1) budget.take(`t${index}`, 0);
    expect([budget.take('t0', 0), budget.take('one-more', 0), budget.tags]).toEqual([false, true, TAGS_MAX]);
    expect([budget.take('t0', 0), budget.take('t1', 0)]).toEqual([false, true]);
  });
});

test('RefusalMeter logs ten a second and says how many it left out', ({ expect }) => {
  const clock = new FakeClock();
  const meter = new RefusalMeter(clock);
  const told = Array.from({ length: 15 }, () => meter.take('no')).filter((text) => text !== undefined);
  expect(told).toHaveLength(10);
  clock.advance(1_000);
  expect([meter.take('no'), meter.take('no')]).toEqual(['no (5 more refusals were not logged)', 'no']);
});
