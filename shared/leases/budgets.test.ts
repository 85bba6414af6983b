/** Leases that are good for a number of requests. */
import { describe, test } from 'vitest';
import { LIMITS } from '../limits.ts';
import { leasing, settled } from '../testing/leases.ts';

describe('a lease with a budget', () => {
  test('sends no more on a lease than its budget, and says at once that it is used up', async ({
    expect,
  }) => {
    const { acquires, heartbeats, permits, results, admit, grant } = leasing();
    for (let count = 0; count < 3; count += 1) admit();
    acquires[0]?.answer(grant(5, 'i1', { requests: 2 }));
    await settled();
    expect([results, acquires.length]).toEqual([['admitted', 'admitted', 'waiting'], 2]);
    for (const permit of permits) permit.release();
    await settled();
    expect(results[2]).toBe('waiting');
    expect(heartbeats.at(-1)?.leases).toEqual([
      { leaseId: 'l-i1', inFlight: 0, started: 2, sent: 2, done: true },
    ]);
  });

  test('an exchange that carries more requests takes them from the budget, and no more', async ({
    expect,
  }) => {
    const { acquires, heartbeats, permits, admit, grant } = leasing();
    admit();
    acquires[0]?.answer(grant(5, 'i1', { requests: 3 }));
    await settled();
    expect([1, 2, 3].map(() => permits[0]?.again())).toEqual([true, true, false]);
    permits[0]?.release();
    await settled();
    expect(heartbeats.at(-1)?.leases).toEqual([
      { leaseId: 'l-i1', inFlight: 0, started: 3, sent: 3, done: true },
    ]);
  });

  test('reports what was sent on a budget that it gives back, until it is heard', async ({ expect }) => {
    const { clock, script, acquires, heartbeats, permits, admit, grant } = leasing();
    admit();
    acquires[0]?.answer(grant(1, 'i1', { requests: 9 }));
    await settled();
    permits[0]?.release();
    script.heard = false;
    const beat = async (count: number): Promise<void> => {
      for (let beats = 0; beats < count; beats += 1) {
        clock.advance(LIMITS.heartbeatMs);
        await settled();
      }
    };
    await beat(4);
    script.heard = true;
    await beat(2);
    const done = { leaseId: 'l-i1', inFlight: 0, started: 0, sent: 1, done: true };
    expect(heartbeats.slice(-3).map(({ leases }) => leases)).toEqual([[done], [done], []]);
  });
});
