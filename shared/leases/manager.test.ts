/** Slots, queues and sessions of leases, on a clock that stands. */
import { describe, test } from 'vitest';
import { PlatformError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { leasing, settled } from '../testing/leases.ts';

describe('LeaseManager', () => {
  test('asks once for all who wait, and fills the slots in order', async ({ expect }) => {
    const { acquires, results, permits, admit, grant } = leasing();
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
    const { acquires, permits, admit, grant } = leasing();
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
    const { acquires, results, admit, grant } = leasing({ queueDepth: 1 });
    for (let count = 0; count < 3; count += 1) admit();
    expect(results).toEqual(['waiting', 'waiting', 'queue_full']);
    acquires[0]?.answer(grant(1));
    await settled();
    admit();
    expect(results).toEqual(['admitted', 'waiting', 'queue_full', 'queue_full']);
  });

  test('ends waits at their deadline, and frees the place of a client that has gone', async ({ expect }) => {
    const { clock, results, admit } = leasing({ queueTimeoutMs: 500, queueDepth: 1 });
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
    const { clock, acquires, heartbeats, permits, admit, grant } = leasing();
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
    const { clock, script, acquires, heartbeats, permits, results, admit, grant } = leasing();
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
    const { acquires, results, admit } = leasing();
    admit();
    admit();
    acquires[0]?.answer({ kind: 'refused', error: new PlatformError('startup_failed', 'scripted') });
    await settled();
    expect(results).toEqual(['startup_failed', 'startup_failed']);
  });

  test('tells the scheduler at once of an instance that was gone, once, until it is heard', async ({
    expect,
  }) => {
    const { clock, acquires, heartbeats, script, permits, results, admit, grant } = leasing();
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
    const { acquires, permits, admit, grant } = leasing();
    admit();
    acquires[0]?.answer(grant(1, 'i1', { warm: true }));
    await settled();
    expect(permits[0]?.coldStart).toBe(false);
  });

  test('keeps the leases of each session to itself, and names it to the scheduler', async ({ expect }) => {
    const { clock, acquires, heartbeats, permits, results, admit, grant } = leasing();
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
    const { results, acquires, admit } = leasing({ queueDepth: 2, maxInstances: 1 });
    for (const session of ['a', 'b', 'c', 'd']) admit({}, session);
    expect([results, acquires.length]).toEqual([['waiting', 'waiting', 'waiting', 'queue_full'], 3]);
  });

  test('refuses who waits when it closes, and gives every lease back', async ({ expect }) => {
    const { manager, heartbeats, results, admit } = leasing();
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
