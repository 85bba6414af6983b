/** Idle stops, members that vanish and return, and versions that do not stay up. */
import { describe, expect, test } from 'vitest';
import { LIMITS } from '#shared/limits.ts';
import type { Scaling } from '#shared/contracts/config.ts';
import { Conversation, only, told } from './conversation.fixture.ts';
import { statusOf } from './report.ts';

const IDLE: Partial<Scaling> = { idleTimeoutMs: 3_000 };

test('a start without an answer is waited for as long as the agent and a hook may take, then given up', () => {
  const talk = new Conversation();
  talk.node('n1');
  talk.acquire('a');
  const beat = (): void => void talk.node('n1');
  talk.pass(LIMITS.startMsMax + LIMITS.hookTimeoutMsMax, beat);
  expect([...talk.state.instances.values()].map(({ state }) => state)).toEqual(['starting']);
  talk.pass(6_000, beat);
  expect([...talk.state.instances.values()]).toEqual([]);
});

describe('an idle instance', () => {
  test('loses its leases first and is stopped when the gateway has dropped them', () => {
    const talk = new Conversation();
    talk.node('n1');
    const { leaseId, instanceId } = talk.lease('a', { scaling: IDLE });
    const hold = (): void => void talk.gateway('g1', { [leaseId]: 0 });
    expect(told(talk.pass(4_000, hold))).toEqual([]);
    expect(talk.gateway('g1', { [leaseId]: 0 })).toEqual([leaseId]);
    expect(told(talk.pass(1_000, hold))).toEqual([]);
    talk.gateway('g1', {});
    expect(only(talk.effects, 'stop')).toMatchObject({ instanceId, nodeId: 'n1' });
  });

  test('is not idle while a request is in flight, or short ones come between the heartbeats', () => {
    const talk = new Conversation();
    talk.node('n1');
    const { leaseId } = talk.lease('a', { scaling: IDLE });
    talk.pass(10_000, () => talk.gateway('g1', { [leaseId]: 1 }));
    talk.pass(10_000, () => talk.gateway('g1', { [leaseId]: 0 }, 1));
    expect(told(talk.effects)).not.toContain('stop on n1');
  });

  test('is kept when the heartbeat that would fetch the revocation says that it is in use again', () => {
    const talk = new Conversation();
    talk.node('n1');
    const { leaseId } = talk.lease('a', { scaling: IDLE });
    talk.pass(3_000, () => talk.gateway('g1', { [leaseId]: 0 }));
    expect(talk.state.leases.get(leaseId)?.revoked).toBe(true);
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([]);
    expect(talk.state.leases.get(leaseId)?.revoked).toBe(false);
  });

  test('is used again when an acquire comes before the stop', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { ...IDLE, concurrency: 10, maxInstances: 1 };
    talk.gateway('g2');
    const { leaseId, instanceId } = talk.lease('a', { scaling });
    const beat = (): void => void [talk.gateway('g1', { [leaseId]: 0 }), talk.gateway('g2')];
    talk.pass(4_000, beat);
    expect(talk.gateway('g1', { [leaseId]: 0 })).toEqual([leaseId]);
    const grant = only(talk.acquire('a', { scaling, gateway: 'g2' }), 'grant');
    expect(grant?.lease).toMatchObject({ instanceId, slots: 5 });
  });

  test('whose gateway is dead is stopped when the leases have expired, not before', () => {
    const talk = new Conversation();
    talk.node('n1');
    talk.lease('a', { scaling: IDLE });
    // The scheduler holds it for one heartbeat longer than its holder may use it.
    expect(told(talk.pass(LIMITS.leaseTtlMs + LIMITS.heartbeatMs - 100))).toEqual([]);
    expect(told(talk.pass(200))).toEqual(['stop on n1']);
    expect(talk.state.gateways.size).toBe(0);
  });

  test('whose stop got lost is named in the answer to the heartbeat', () => {
    const talk = new Conversation();
    talk.node('n1');
    const { instanceId } = talk.lease('a', { scaling: IDLE });
    talk.gateway('g1', {});
    talk.pass(3_000, () => talk.gateway('g1', {}));
    expect(told(talk.effects)).toContain('stop on n1');
    talk.pass(5_000);
    expect(only(talk.node('n1'), 'nodeReply')?.stop).toEqual([instanceId]);
  });
});

describe('a member', () => {
  test('node that dies takes its instances along, and its waiters are placed elsewhere', () => {
    const talk = new Conversation();
    talk.node('n1');
    talk.acquire('a', { deadlineMs: 60_000, scaling: { queueTimeoutMs: 60_000 } });
    talk.running.delete('n1');
    talk.pass(1_000);
    talk.node('n2');
    const effects = talk.pass(4_000, () => talk.gateway('g1'));
    expect(told(effects)).toEqual(['start default/a@1 on n2']);
    expect(told(talk.pass(55_000, () => talk.gateway('g1')))).toContain('forget n1');
  });

  test('node that is silent is given no start, and what it runs is used until it is taken for dead', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { maxInstances: 1, concurrency: 10 };
    const { leaseId, instanceId } = talk.lease('a', { scaling });
    talk.running.delete('n1');
    talk.pass(1_000);
    talk.node('n2');
    const beat = (): void => void [talk.gateway('g1', { [leaseId]: 0 }, 1), talk.gateway('g2')];
    talk.pass(10_000, beat);
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([]);
    talk.gateway('g1', {});
    expect(only(talk.acquire('a', { scaling, gateway: 'g2' }), 'grant')?.lease.instanceId).toBe(instanceId);
    expect(told(talk.acquire('b'))).toEqual(['start default/b@1 on n2']);
    expect(told(talk.pass(49_000, () => talk.gateway('g1')))).toContain('forget n1');
    expect(talk.state.instances.has(instanceId)).toBe(false);
  });

  test('node that is silent loses an instance that its holder finds gone; one that is heard keeps it closed', () => {
    const talk = new Conversation();
    talk.node('n1');
    const scaling = { maxInstances: 1 };
    const first = talk.lease('a', { scaling });
    const lost = { leaseId: first.leaseId, inFlight: 0, lost: true } as const;
    talk.report('g1', [lost]);
    expect(told(talk.acquire('a', { scaling }))).toEqual([]);
    // The node says that it runs: then it is used again.
    expect(told(talk.pass(2_000, () => talk.gateway('g1')))).toEqual(['grant r2 64']);
    const { leaseId } = only(talk.effects.slice(-5), 'grant')?.lease ?? first;
    talk.running.delete('n1');
    talk.pass(1_000, () => talk.gateway('g1', { [leaseId]: 1 }));
    talk.node('n2');
    talk.pass(5_000, () => talk.gateway('g1', { [leaseId]: 1 }));
    talk.report('g1', [{ ...lost, leaseId }]);
    expect(told(talk.acquire('a', { scaling }))).toEqual(['start default/a@1 on n2']);
  });

  test('node that is draining gets no start, and what it runs moves', () => {
    const talk = new Conversation();
    talk.node('n1');
    const { leaseId } = talk.lease('a');
    talk.node('n2');
    talk.node('n1', { draining: true });
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([leaseId]);
    expect(told(talk.acquire('a'))).toEqual(['start default/a@1 on n2']);
  });

  test('the only node restarts in order: callers wait for its next run as they would after a crash', () => {
    const talk = new Conversation();
    talk.node('n1', { draining: true });
    expect(told(talk.acquire('a'))).toEqual([]);
    expect(told(talk.node('n1', { draining: false }))).toEqual(['start default/a@1 on n1']);
  });

  test('over the bound is not answered', () => {
    const talk = new Conversation({ gatewaysMax: 1, nodesMax: 1 });
    talk.gateway('g1');
    talk.node('n1');
    expect(talk.gateway('g2')).toEqual(['(no reply)']);
    expect(talk.node('n2')).toEqual([]);
  });

  test('naming a lease of another gets it revoked, and the holder keeps it', () => {
    const talk = new Conversation();
    talk.node('n1');
    const { leaseId } = talk.lease('a');
    expect(talk.gateway('g2', { [leaseId]: 1 })).toEqual([leaseId]);
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([]);
  });

  test('list written before the start was answered does not end the instance', () => {
    const talk = new Conversation();
    talk.node('n1');
    const start = only(talk.acquire('a'), 'start')!;
    talk.started(start);
    talk.running.get('n1')?.clear();
    talk.node('n1');
    expect(talk.state.instances.size).toBe(1);
    talk.pass(3_000);
    expect(talk.state.instances.size).toBe(0);
  });
});

describe('a restarted scheduler', () => {
  test('adopts instances and leases from heartbeats, whichever come first', () => {
    const before = new Conversation();
    before.node('n1');
    const { leaseId, instanceId } = before.lease('a', { scaling: { concurrency: 10, maxInstances: 1 } });
    const talk = new Conversation();
    talk.running.set('n1', new Map([[instanceId, 'default/a@1']]));
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([]);
    talk.node('n1');
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([]);
    expect(talk.state.instances.get(instanceId)?.slotsLeased).toBe(10);
  });

  test('gives no lease on an adopted instance until its holders had time to speak', () => {
    const talk = new Conversation();
    talk.running.set('n1', new Map([['i1', 'default/a@1']]));
    talk.node('n1');
    const scaling = { maxInstances: 1 };
    expect(told(talk.acquire('a', { scaling }))).toEqual([]);
    expect(told(talk.pass(3_000, () => talk.gateway('g1')))).toEqual(['grant r1 64']);
  });

  test('lets callers wait for the only node when that starts anew at the same time, and not for ever', () => {
    const talk = new Conversation();
    talk.acquire('a', { deadlineMs: 60_000, scaling: { queueTimeoutMs: 60_000 } });
    expect(told(talk.pass(10_000, () => talk.gateway('g1')))).toEqual([]);
    expect(told(talk.node('n1'))).toEqual(['start default/a@1 on n1']);
    const alone = new Conversation();
    alone.pass(30_000);
    alone.acquire('a', { deadlineMs: 60_000, scaling: { queueTimeoutMs: 60_000 } });
    expect(told(alone.pass(29_900, () => alone.gateway('g1')))).toEqual([]);
    expect(told(alone.pass(100))).toEqual(['refuse r1 no_capacity']);
  });

  test('revokes, after that time, leases of instances that nobody runs', () => {
    const talk = new Conversation();
    talk.pass(5_000);
    expect(talk.gateway('g1', { 'i1.64.abc': 1, nonsense: 0 })).toEqual(['i1.64.abc', 'nonsense']);
  });
});

describe('a version', () => {
  test('that does not start is refused with its problem, and held back twice as long each time', () => {
    const talk = new Conversation();
    talk.node('n1');
    const fault = { code: 'startup_failed', extensions: { stack: 'Error: no' } } as const;
    const first = talk.failed(only(talk.acquire('a'), 'start')!, fault);
    expect(only(first, 'refuse')).toMatchObject({ requestId: 'r1', fault, retryAfterMs: 500 });
    expect(only(talk.acquire('a'), 'refuse')).toMatchObject({ fault, retryAfterMs: 500 });
    talk.pass(500);
    const second = talk.failed(only(talk.acquire('a'), 'start')!, fault);
    expect(only(second, 'refuse')).toMatchObject({ requestId: 'r3', retryAfterMs: 1_000 });
    talk.pass(1_000);
    expect(talk.lease('a').slots).toBe(64);
  });

  test('is not blamed for a node that cannot be reached: another one is asked at once', () => {
    const talk = new Conversation();
    talk.node('n1');
    talk.node('n2');
    const start = only(talk.acquire('a'), 'start')!;
    const effects = talk.failed(start, { code: 'internal' });
    const other = start.nodeId === 'n1' ? 'n2' : 'n1';
    expect(told(effects)).toEqual([`stop on ${start.nodeId}`, `start default/a@1 on ${other}`]);
  });

  test.for(['code_unavailable', 'secret_unavailable', 'share_full'] as const)(
    'that lacks something of its own, or its turn, is held alone, and soon tried again: %s',
    (code) => {
      const talk = new Conversation();
      talk.node('n1');
      for (let round = 0; round < 5; round += 1) {
        const effects = talk.failed(only(talk.acquire('a'), 'start')!, { code });
        expect(only(effects, 'refuse')).toMatchObject({ fault: { code }, retryAfterMs: 1_000 });
        expect(only(talk.acquire('a'), 'refuse')).toMatchObject({ fault: { code } });
        // The node is as good as before for everybody else.
        expect(talk.lease(`b${round}`).slots).toBe(64);
        talk.pass(1_000);
      }
    },
  );

  test('that crashes five times while young is quarantined, longer each time, and time clears it', () => {
    const talk = new Conversation();
    talk.node('n1');
    const crash = (): void => {
      const { instanceId } = talk.lease('a');
      talk.node('n1', { exits: [[instanceId, 'crashed']] });
    };
    for (let count = 0; count < 5; count += 1) crash();
    expect(only(talk.acquire('a'), 'refuse')).toMatchObject({
      fault: { code: 'quarantined' },
      retryAfterMs: 10_000,
    });
    expect(statusOf(talk.state, talk.nowMs, talk.config).versions[0]?.held).toMatchObject({
      code: 'quarantined',
      retryAfterMs: 10_000,
    });
    talk.pass(10_000);
    for (let count = 0; count < 5; count += 1) crash();
    expect(only(talk.acquire('a'), 'refuse')?.retryAfterMs).toBe(20_000);
    talk.pass(700_000);
    expect(talk.state.versions.size).toBe(0);
  });

  test.for([
    ['of four crashes', 4, 'crashed', 0],
    ['of instances that were stopped', 9, 'stopped', 0],
    ['of four instances over their CPU limit', 4, 'cpu_exceeded', 0],
    ['of crashes that are minutes apart', 9, 'crashed', 20_000],
  ] as const)('is not quarantined because %s', ([, count, reason, servedMs]) => {
    const talk = new Conversation();
    talk.node('n1');
    for (let crash = 0; crash < count; crash += 1) {
      const { leaseId, instanceId } = talk.lease('a');
      talk.pass(servedMs, () => talk.gateway('g1', { [leaseId]: 1 }));
      talk.node('n1', { exits: [[instanceId, reason]] });
    }
    expect(told(talk.acquire('a'))).toEqual(['start default/a@1 on n1']);
  });

  test('is told of a crash once, though the node repeats the report', () => {
    const talk = new Conversation();
    talk.node('n1');
    const { instanceId } = talk.lease('a');
    for (let repeat = 0; repeat < 9; repeat += 1) talk.node('n1', { exits: [[instanceId, 'crashed']] });
    expect(told(talk.acquire('a'))).toEqual(['start default/a@1 on n1']);
  });

  test('counts a crash whose report overtook the answer to its start', () => {
    const talk = new Conversation({ killsMin: 1 });
    talk.node('n1');
    const start = only(talk.acquire('a'), 'start')!;
    talk.node('n1', { exits: [[start.instanceId, 'crashed']] });
    const effects = talk.say({
      type: 'startSucceeded',
      instanceId: start.instanceId,
      endpoint: { instance: { kind: 'unix', path: '/i' }, agent: { kind: 'unix', path: '/n1' } },
    });
    expect(told(effects)).toEqual(['refuse r1 quarantined']);
  });
});
