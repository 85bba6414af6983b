/** Reports are repeated until they are answered, and what waits is bounded. Time is a fake clock. */
import { describe, test } from 'vitest';
import type { UsageReport } from '../contracts/usage.ts';
import { accountNameSchema, functionNameSchema } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { FakeClock, memoryLog } from '../testing/fakes.ts';
import { UsageReporter, type UsageEntry } from './reporter.ts';

const account = accountNameSchema.parse('default');
const used = (name: string, requests: number): UsageEntry => ({
  account,
  function: functionNameSchema.parse(name),
  amounts: { requests },
});

function setUp(functionsMax?: number) {
  const clock = new FakeClock();
  const log = memoryLog();
  const sent: UsageReport[] = [];
  const state = { reachable: true, counted: [] as UsageEntry[] };
  const reporter = new UsageReporter({
    source: 'test/1',
    sources: [() => state.counted.splice(0)],
    send: (report) => {
      sent.push(structuredClone(report));
      return state.reachable ? Promise.resolve() : Promise.reject(new Error('away'));
    },
    timers: clock,
    log,
    ...(functionsMax === undefined ? {} : { functionsMax }),
  });
  const amounts = (): string[] =>
    sent.map(
      ({ sequence, entries }) =>
        `${sequence}: ${entries.map((entry) => `${entry.function}=${entry.amounts.requests}`).join(' ')}`,
    );
  return { clock, log, reporter, state, sent, amounts };
}

describe('UsageReporter', () => {
  test('sends what was counted since the last report, and nothing when there is nothing', async ({
    expect,
  }) => {
    const { clock, reporter, state, amounts } = setUp();
    state.counted.push(used('a', 2), used('b', 1), used('a', 3));
    clock.advance(LIMITS.usageReportMs);
    await reporter.report();
    clock.advance(LIMITS.usageReportMs);
    await reporter.report();
    expect(amounts()).toEqual(['1: a=5 b=1']);
  });

  test('repeats an unanswered report unchanged, and merges what is counted meanwhile', async ({ expect }) => {
    const { reporter, state, amounts } = setUp();
    state.reachable = false;
    for (const requests of [1, 10, 100]) {
      state.counted.push(used('a', requests));
      await reporter.report();
    }
    state.reachable = true;
    await reporter.report();
    expect(amounts()).toEqual(['1: a=1', '1: a=1', '1: a=1', '1: a=1', '2: a=110']);
  });

  test('drops functions beyond its bound and says how many', async ({ expect }) => {
    const { reporter, state, amounts, log } = setUp(2);
    state.counted.push(used('a', 1), used('b', 1), used('c', 1), used('a', 1));
    await reporter.report();
    expect(amounts()).toEqual(['1: a=2 b=1']);
    expect(log.lines).toMatchObject([{ event: 'usage_dropped', fields: { entries: 1 } }]);
  });

  test('reports once more when it is closed, and then no more', async ({ expect }) => {
    const { clock, reporter, state, amounts } = setUp();
    state.counted.push(used('a', 1));
    await reporter.close();
    state.counted.push(used('a', 1));
    clock.advance(10 * LIMITS.usageReportMs);
    expect(amounts()).toEqual(['1: a=1']);
  });
});
