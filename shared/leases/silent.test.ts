/** What holders of leases do while the scheduler is silent. */
import { describe, test } from 'vitest';
import type { Scaling } from '../contracts/config.ts';
import type { Lease } from '../contracts/leases.ts';
import { LIMITS } from '../limits.ts';
import { leasing, settled } from '../testing/leases.ts';

/** Two instances were used; `idle()` waits until their leases are given back. */
async function givenBack(scaling: Partial<Scaling>, more: Partial<Lease> = {}, session?: string) {
  const world = leasing(scaling);
  const { clock, acquires, permits, admit, grant } = world;
  for (const at of [0, 1]) {
    // As many as the first has slots, and one more.
    for (let slot = acquires.length; slot <= at; slot = acquires.length) admit({}, session);
    acquires[at]?.answer(grant(scaling.concurrency ?? 1, `i${at + 1}`, more));
    await settled();
  }
  for (const permit of permits) permit.release();
  const before = world.results.length;
  return {
    world,
    results: () => world.results.slice(before),
    idle: async (): Promise<void> => {
      for (let beat = 0; beat < 4; beat += 1) {
        clock.advance(LIMITS.heartbeatMs);
        await settled();
      }
    },
  };
}

describe('a silent scheduler', () => {
  test('waits a moment for a scheduler that is gone, and longer where slots will be freed', async ({
    expect,
  }) => {
    const { clock, acquires, permits, results, admit, grant } = leasing();
    const silence = async (): Promise<void> => {
      for (let count = 0; count < 30; count += 1) {
        acquires.at(-1)?.answer({ kind: 'unavailable', error: new Error('gone') });
        await settled();
        clock.advance(100);
        await settled();
      }
    };
    admit();
    await silence();
    expect(results).toEqual(['scheduler_unavailable']);
    admit();
    acquires.at(-1)?.answer(grant(1));
    await settled();
    admit();
    await silence();
    expect(results).toEqual(['scheduler_unavailable', 'admitted', 'waiting']);
    permits[0]?.release();
    await settled();
    expect(results[2]).toBe('admitted');
  });

  test('uses leases again that it gave back while the scheduler is silent, the last first, and names them', async ({
    expect,
  }) => {
    const { world, results, idle } = await givenBack({ concurrency: 2 });
    const { clock, script, acquires, heartbeats, permits, admit } = world;
    await idle();
    expect(heartbeats.at(-1)?.leases).toEqual([]);
    // It still answers: nothing but its word counts.
    admit();
    expect(results()).toEqual(['waiting']);
    script.heard = false;
    clock.advance(LIMITS.heartbeatMs);
    await settled();
    expect(results()).toEqual(['admitted']);
    for (let count = 0; count < 4; count += 1) admit();
    await settled();
    expect(results()).toEqual(['admitted', 'admitted', 'admitted', 'admitted', 'waiting']);
    expect(permits.slice(-4).map(({ lease, coldStart }) => [lease.instanceId, coldStart])).toEqual([
      ['i2', false],
      ['i2', false],
      ['i1', false],
      ['i1', false],
    ]);
    script.heard = true;
    script.revoked = ['l-i2'];
    clock.advance(LIMITS.heartbeatMs);
    await settled();
    expect(heartbeats.at(-1)?.leases.map(({ leaseId }) => leaseId)).toEqual(['l-i2', 'l-i1']);
    permits.at(-4)?.release();
    await settled();
    expect(results().at(-1)).toBe('waiting');
    permits.at(-1)?.release();
    await settled();
    expect(results().at(-1)).toBe('admitted');
    expect(permits.at(-1)?.lease.instanceId).toBe('i1');
    expect(acquires.length).toBeGreaterThan(2);
  });

  test('an acquire that nobody answers is enough; an instance that does not answer either is not tried again', async ({
    expect,
  }) => {
    const { world, results, idle } = await givenBack({ concurrency: 2 });
    const { acquires, permits, admit } = world;
    await idle();
    admit();
    acquires.at(-1)?.answer({ kind: 'unavailable', error: new Error('gone') });
    await settled();
    expect(results()).toEqual(['admitted']);
    const met: string[] = [];
    for (let count = 0; count < 3; count += 1) {
      const permit = permits.at(-1);
      if (permit === undefined) break;
      met.push(permit.lease.instanceId);
      permit.lost();
      permit.release();
      admit();
      await settled();
      if (results().at(-1) === 'waiting') break;
    }
    expect(met).toEqual(['i2', 'i1']);
  });

  test.for([
    ['with concurrency 1', { concurrency: 1 }, {}, undefined],
    ['with a budget', { concurrency: 2 }, { requests: 9 }, undefined],
    ['of sessions', { concurrency: 2 }, {}, 'anna'],
  ] as const)('leases %s stay given back', async ([, scaling, more, session], { expect }) => {
    const { world, results, idle } = await givenBack(scaling, more, session);
    const { clock, script, admit } = world;
    await idle();
    script.heard = false;
    admit({}, session);
    clock.advance(LIMITS.heartbeatMs);
    await settled();
    expect(results()).toEqual(['waiting']);
  });

  test('is said once when it begins and once when it ends, however many ask meanwhile', async ({
    expect,
  }) => {
    const { clock, log, script, acquires, admit } = leasing();
    const beat = async (): Promise<void> => {
      clock.advance(LIMITS.heartbeatMs);
      await settled();
    };
    script.heard = false;
    for (let count = 0; count < 3; count += 1) {
      admit({}, `session-${count}`);
      await beat();
      for (const { answer } of acquires) answer({ kind: 'unavailable', error: new Error('gone') });
      await settled();
    }
    expect(acquires.length).toBeGreaterThan(3);
    script.heard = true;
    for (let count = 0; count < 3; count += 1) await beat();
    expect(log.lines.map(({ level, event }) => [level, event])).toEqual([
      ['warn', 'scheduler_unavailable'],
      ['info', 'scheduler_answers'],
    ]);
  });
});
