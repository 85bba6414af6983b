/** Slots, queues and leases on a clock that stands: every conversation with the scheduler is scripted. */
import { describe, test } from 'vitest';
import { scalingSchema, type Scaling } from '../contracts/config.ts';
import type { HolderHeartbeat, Lease } from '../contracts/leases.ts';
import { PlatformError } from '../errors.ts';
import { versionId } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { FakeClock, memoryLog } from '../testing/fakes.ts';
import type { Admitted, Permit } from './ports.ts';
import { LeaseManager, type AcquireOutcome } from './manager.ts';

function setUp(scaling: Partial<Scaling> = {}) {
  const clock = new FakeClock();
  const version = { id: versionId('default', 'hello', 1), scaling: scalingSchema.parse(scaling) };
  const acquires: {
    waiting: number;
    deadlineMs: number;
    session: string | undefined;
    answer: (outcome: AcquireOutcome) => void;
  }[] = [];
  const heartbeats: HolderHeartbeat[] = [];
  const script = { revoked: [] as string[], heard: true };
  const manager = new LeaseManager({
    clock,
    timers: clock,
    log: memoryLog(),
    scheduler: {
      acquire: ({ waiting, deadlineMs, session }) =>
        new Promise((answer) => {
          acquires.push({ waiting, deadlineMs, session, answer });
        }),
      heartbeat: (report) => {
        heartbeats.push(report);
        return Promise.resolve(script.heard ? { revoked: script.revoked } : undefined);
      },
    },
  });
  const results: string[] = [];
  const permits: Permit[] = [];
  const admit = (waiting: { cancel?: () => void } = {}, session?: string): void => {
    const at = results.push('waiting') - 1;
    const settle = (admitted: Admitted): void => {
      results[at] = admitted.kind === 'refused' ? admitted.error.code : admitted.kind;
      if (admitted.kind === 'admitted') permits.push(admitted.permit);
    };
    const admitted = manager.admit(version, waiting, session);
    if (admitted instanceof Promise) void admitted.then(settle);
    else settle(admitted);
  };
  const grant = (
    slots: number,
    instanceId = `i${acquires.length}`,
    more: Partial<Lease> = {},
  ): AcquireOutcome => ({
    kind: 'lease',
    lease: { leaseId: `l-${instanceId}`, instanceId, slots, ...more } as Lease,
  });
  return { clock, manager, acquires, heartbeats, script, results, permits, admit, grant };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Two instances were used; `idle()` waits until their leases are given back. */
async function givenBack(scaling: Partial<Scaling>, more: Partial<Lease> = {}, session?: string) {
  const world = setUp(scaling);
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

describe('LeaseManager', () => {
  test('asks once for all who wait, and fills the slots in order', async ({ expect }) => {
    const { acquires, results, permits, admit, grant } = setUp();
    for (let count = 0; count < 3; count += 1) admit();
    expect(acquires.map(({ waiting, deadlineMs }) => [waiting, deadlineMs])).toEqual([[1, 10_000]]);
    acquires[0]?.answer(grant(2));
    await settled();
    expect(results).toEqual(['admitted', 'admitted', 'waiting']);
    expect(permits.map((permit) => permit.coldStart)).toEqual([true, true]);
    expect(acquires.length).toBe(2);
    permits[0]?.release();
    permits[0]?.release();
    await settled();
    expect(results).toEqual(['admitted', 'admitted', 'admitted']);
    expect([permits[2]?.coldStart, permits[2]?.inFlight()]).toEqual([false, 2]);
  });

  test('spreads over instances by least in flight', async ({ expect }) => {
    const { acquires, permits, admit, grant } = setUp();
    admit();
    admit();
    acquires[0]?.answer(grant(1));
    await settled();
    acquires[1]?.answer(grant(3));
    await settled();
    permits[0]?.release();
    admit();
    admit();
    expect(permits.map((permit) => permit.lease.instanceId)).toEqual(['i1', 'i2', 'i1', 'i2']);
  });

  test('refuses one past the depth of the queue; a cold version holds the one it starts for', async ({
    expect,
  }) => {
    const { acquires, results, admit, grant } = setUp({ queueDepth: 1 });
    for (let count = 0; count < 3; count += 1) admit();
    expect(results).toEqual(['waiting', 'waiting', 'queue_full']);
    acquires[0]?.answer(grant(1));
    await settled();
    admit();
    expect(results).toEqual(['admitted', 'waiting', 'queue_full', 'queue_full']);
  });

  test('ends waits at their deadline, and frees the place of a client that has gone', async ({ expect }) => {
    const { clock, results, admit } = setUp({ queueTimeoutMs: 500, queueDepth: 1 });
    const waiting: { cancel?: () => void } = {};
    admit();
    admit(waiting);
    waiting.cancel?.();
    clock.advance(490);
    admit();
    await settled();
    expect(results).toEqual(['waiting', 'cancelled', 'waiting']);
    clock.advance(20);
    await settled();
    expect(results).toEqual(['queue_timeout', 'cancelled', 'waiting']);
  });

  test('gives back leases that nobody used, and keeps those in use', async ({ expect }) => {
    const { clock, acquires, heartbeats, permits, admit, grant } = setUp();
    admit();
    acquires[0]?.answer(grant(1));
    await settled();
    for (let beat = 0; beat < 5; beat += 1) {
      clock.advance(LIMITS.heartbeatMs);
      await settled();
    }
    expect(heartbeats.at(-1)?.leases).toEqual([{ leaseId: 'l-i1', inFlight: 1, started: 0 }]);
    permits[0]?.release();
    for (let beat = 0; beat < 4; beat += 1) {
      clock.advance(LIMITS.heartbeatMs);
      await settled();
    }
    expect(heartbeats.slice(-4).map(({ leases }) => leases.length)).toEqual([1, 1, 0, 0]);
    admit();
    acquires[1]?.answer(grant(1, 'i1'));
    await settled();
    expect(permits[1]?.coldStart).toBe(false);
  });

  test('drains a revoked lease: no new requests, dropped once the last one is over', async ({ expect }) => {
    const { clock, script, acquires, heartbeats, permits, results, admit, grant } = setUp();
    admit();
    acquires[0]?.answer(grant(5));
    await settled();
    script.revoked = ['l-i1'];
    clock.advance(LIMITS.heartbeatMs);
    await settled();
    admit();
    expect([results[1], acquires.length]).toEqual(['waiting', 2]);
    permits[0]?.release();
    clock.advance(LIMITS.heartbeatMs);
    await settled();
    expect(heartbeats.at(-1)?.leases).toEqual([]);
  });

  test('tells all who wait why the scheduler refused', async ({ expect }) => {
    const { acquires, results, admit } = setUp();
    admit();
    admit();
    acquires[0]?.answer({ kind: 'refused', error: new PlatformError('startup_failed', 'scripted') });
    await settled();
    expect(results).toEqual(['startup_failed', 'startup_failed']);
  });

  test('waits a moment for a scheduler that is gone, and longer where slots will be freed', async ({
    expect,
  }) => {
    const { clock, acquires, permits, results, admit, grant } = setUp();
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

  test('sends no more on a lease than its budget, and says at once that it is used up', async ({
    expect,
  }) => {
    const { acquires, heartbeats, permits, results, admit, grant } = setUp();
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
    const { acquires, heartbeats, permits, admit, grant } = setUp();
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
    const { clock, script, acquires, heartbeats, permits, admit, grant } = setUp();
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

  test('tells the scheduler at once of an instance that was gone, once, until it is heard', async ({
    expect,
  }) => {
    const { clock, acquires, heartbeats, script, permits, results, admit, grant } = setUp();
    script.heard = false;
    admit();
    acquires[0]?.answer(grant(5));
    await settled();
    admit();
    permits[0]?.lost();
    permits[1]?.lost();
    permits.forEach((permit) => permit.release());
    await settled();
    const lost = { leaseId: 'l-i1', inFlight: 2, started: 2, lost: true };
    expect(heartbeats.map(({ leases }) => leases)).toEqual([[lost]]);
    admit();
    expect([results.at(-1), acquires.length]).toEqual(['waiting', 2]);
    script.heard = true;
    clock.advance(LIMITS.heartbeatMs);
    await settled();
    clock.advance(LIMITS.heartbeatMs);
    await settled();
    expect(heartbeats.map(({ leases }) => leases)).toEqual([[lost], [lost], []]);
  });

  test('an instance that was ready before is no cold start', async ({ expect }) => {
    const { acquires, permits, admit, grant } = setUp();
    admit();
    acquires[0]?.answer(grant(1, 'i1', { warm: true }));
    await settled();
    expect(permits[0]?.coldStart).toBe(false);
  });

  test('keeps the leases of each session to itself, and names it to the scheduler', async ({ expect }) => {
    const { clock, acquires, heartbeats, permits, results, admit, grant } = setUp();
    admit({}, 'anna');
    acquires[0]?.answer(grant(5));
    await settled();
    admit({}, 'bert');
    admit({}, 'anna');
    expect(results).toEqual(['admitted', 'waiting', 'admitted']);
    expect(acquires.map(({ session }) => session)).toEqual(['anna', 'bert']);
    expect(permits.map((permit) => permit.lease.instanceId)).toEqual(['i1', 'i1']);
    clock.advance(LIMITS.heartbeatMs);
    await settled();
    expect(heartbeats.at(-1)?.leases).toEqual([
      { leaseId: 'l-i1', inFlight: 2, started: 2, session: 'anna' },
    ]);
  });

  test('refuses one waiting session past the depth of the queue', async ({ expect }) => {
    const { results, acquires, admit } = setUp({ queueDepth: 2, maxInstances: 1 });
    for (const session of ['a', 'b', 'c', 'd']) admit({}, session);
    expect([results, acquires.length]).toEqual([['waiting', 'waiting', 'waiting', 'queue_full'], 3]);
  });

  test('refuses who waits when it closes, and gives every lease back', async ({ expect }) => {
    const { manager, heartbeats, results, admit } = setUp();
    admit();
    await manager.close();
    await settled();
    // Who comes after that is told so, instead of waiting for nothing.
    admit();
    expect([results, heartbeats.at(-1)]).toEqual([
      ['scheduler_unavailable', 'scheduler_unavailable'],
      { leases: [] },
    ]);
  });
});
