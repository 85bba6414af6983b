/** Acquires: shares, starts under burst, the bounded queue and its refusals. */
import { describe, expect, test } from 'vitest';
import { all, Conversation, only, told } from './conversation.fixture.ts';

const START_A = 'start default/a@1 on n1';

describe('an acquire', () => {
  test('starts an instance when none has room, and is granted the moment it is ready', () => {
    const talk = new Conversation();
    talk.node('n1');
    const effects = talk.acquire('a');
    expect(told(effects)).toEqual([START_A]);
    expect(told(talk.started(only(effects, 'start')!))).toEqual(['grant r1 64']);
  });

  test('gets the share of one gateway among the live ones, then what is left', () => {
    const talk = new Conversation();
    talk.node('n1');
    for (const id of ['g1', 'g2', 'g3']) talk.gateway(id);
    const scaling = { concurrency: 10, maxInstances: 1 };
    expect(talk.lease('a', { scaling }).slots).toBe(4);
    expect(talk.lease('a', { scaling, gateway: 'g2' }).slots).toBe(4);
    expect(talk.lease('a', { scaling, gateway: 'g3' }).slots).toBe(2);
  });

  test('does not count a gateway that was silent for long', () => {
    const talk = new Conversation();
    talk.node('n1');
    talk.gateway('g2');
    talk.pass(5_000);
    expect(talk.lease('a', { scaling: { concurrency: 10 } }).slots).toBe(10);
  });

  test('starts as many instances as wait beyond the room of those that start already', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { concurrency: 10, maxInstances: 8 };
    expect(told(talk.acquire('a', { waiting: 25, scaling }))).toEqual([START_A, START_A, START_A]);
    expect(told(talk.acquire('a', { waiting: 5, scaling, gateway: 'g2' }))).toEqual([]);
    expect(told(talk.acquire('a', { waiting: 1, scaling, gateway: 'g3' }))).toEqual([START_A]);
  });

  test('never starts beyond maxInstances, pending starts included', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { concurrency: 1, maxInstances: 3 };
    expect(all(talk.acquire('a', { waiting: 50, scaling }), 'start')).toHaveLength(3);
    expect(told(talk.acquire('a', { waiting: 50, scaling, gateway: 'g2' }))).toEqual([]);
  });

  test('waits at queueDepth and is refused one past it', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { concurrency: 1, maxInstances: 1, queueDepth: 2 };
    talk.lease('a', { scaling });
    expect(told(talk.acquire('a', { scaling, gateway: 'g2' }))).toEqual([]);
    expect(told(talk.acquire('a', { scaling, gateway: 'g3' }))).toEqual([]);
    const refusal = only(talk.acquire('a', { scaling, gateway: 'g4' }), 'refuse');
    expect(refusal).toMatchObject({ requestId: 'r4', fault: { code: 'queue_full' } });
    expect(refusal?.retryAfterMs).toBeGreaterThanOrEqual(1_000);
  });

  test('reaches a function that is scaled to zero even with queueDepth 0', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { concurrency: 1, maxInstances: 1, queueDepth: 0 };
    expect(talk.lease('a', { scaling }).slots).toBe(1);
    expect(told(talk.acquire('a', { scaling }))).toEqual(['refuse r2 queue_full']);
  });

  test('is refused with queue_timeout at its deadline, the sooner of the call and the config', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { concurrency: 1, maxInstances: 1, queueTimeoutMs: 700 };
    const { leaseId } = talk.lease('a', { scaling });
    const beat = (): void => void talk.gateway('g1', { [leaseId]: 1 });
    talk.acquire('a', { scaling, deadlineMs: 5_000 });
    talk.acquire('a', { scaling, deadlineMs: 300, gateway: 'g2' });
    expect(told(talk.pass(300, beat))).toEqual(['refuse r3 queue_timeout']);
    expect(told(talk.pass(400, beat))).toEqual(['refuse r2 queue_timeout']);
  });

  test('is served first come, first served when a lease comes back', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { concurrency: 1, maxInstances: 1 };
    const { leaseId } = talk.lease('a', { scaling });
    talk.gateway('g1', { [leaseId]: 1 });
    talk.acquire('a', { scaling, gateway: 'g2' });
    talk.acquire('a', { scaling, gateway: 'g3' });
    talk.say({ type: 'acquireCancelled', requestId: 'r2' });
    talk.gateway('g1', {});
    expect(told(talk.effects).filter((line) => line.startsWith('grant'))).toEqual([
      'grant r1 1',
      'grant r3 1',
    ]);
  });

  test('gives its lease back when the client was gone before the grant reached it', () => {
    const talk = new Conversation();
    talk.node('n1');
    const { leaseId } = talk.lease('a');
    talk.say({ type: 'acquireCancelled', requestId: 'r1', leaseId });
    expect(talk.state.leases.size).toBe(0);
  });

  test('is refused with no_capacity when there is no node, but not before nodes could be heard', () => {
    const talk = new Conversation();
    talk.pass(40_000);
    expect(told(talk.acquire('a', { deadlineMs: 60_000, scaling: { queueTimeoutMs: 60_000 } }))).toEqual([]);
    expect(told(talk.pass(19_900, () => talk.gateway('g1')))).toEqual([]);
    expect(told(talk.pass(100))).toEqual(['refuse r1 no_capacity']);
    expect(told(talk.acquire('a'))).toEqual(['refuse r2 no_capacity']);
  });

  test('takes a lease back from the gateway that holds all when another waits', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { concurrency: 10, maxInstances: 1 };
    const { leaseId } = talk.lease('a', { scaling });
    talk.acquire('a', { scaling, gateway: 'g2' });
    expect(talk.gateway('g1', { [leaseId]: 3 })).toEqual([leaseId]);
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([leaseId]);
    talk.gateway('g1', {});
    expect(told(talk.effects).at(-1)).toBe('grant r2 5');
  });

  test.for([
    ['gateways', { gatewaysMax: 1 }, 'scheduler_unavailable'],
    ['versions', { versionsMax: 1 }, 'scheduler_unavailable'],
    ['waiters', { waitersMax: 1 }, 'queue_full'],
  ] as const)('is refused when the scheduler knows the most %s it may', ([, config, code]) => {
    const talk = new Conversation(config);
    talk.node('n1');
    expect(told(talk.acquire('a'))).toEqual([START_A]);
    expect(told(talk.acquire('b', { gateway: 'g2' }))).toEqual([`refuse r2 ${code}`]);
  });

  test('one account fills half of the queue, and is told that it is full', () => {
    const talk = new Conversation({ waitersMax: 8 });
    talk.node('n1');
    expect(told(talk.acquire('a'))).toEqual([START_A]);
    for (let waiting = 2; waiting <= 4; waiting += 1) expect(told(talk.acquire('a'))).toEqual([]);
    expect(told(talk.acquire('a'))).toEqual(['refuse r5 queue_full']);
  });

  test('makes room on a full node by ending the instance that was unused for longest', () => {
    const talk = new Conversation();
    talk.node('n1', { capacity: 2 });
    const old = talk.lease('old');
    talk.pass(1_000, () => talk.gateway('g1', { [old.leaseId]: 0 }));
    const busy = talk.lease('busy');
    const beat = (): void => void talk.gateway('g1', { [old.leaseId]: 0, [busy.leaseId]: 1 });
    talk.pass(3_000, beat);
    talk.acquire('new');
    expect(told(talk.pass(1_000, beat))).toEqual([]);
    expect(told(talk.say({ type: 'tick', wallMs: 0 }))).toEqual([]);
    talk.gateway('g1', { [busy.leaseId]: 1 });
    expect(only(talk.effects, 'stop')).toMatchObject({ instanceId: old.instanceId });
    const effects = talk.node('n1', { exits: [[old.instanceId, 'stopped']] });
    expect(told(effects)).toEqual(['start default/new@1 on n1']);
  });
});
