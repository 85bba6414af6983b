/** Provisioned instances, deploys and rollbacks, ceilings: what the scheduler does before any request came. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { Scaling } from '#shared/contracts/config.ts';
import type { Effect } from './events.ts';
import { all, Conversation, only, told } from './conversation.fixture.ts';
import { lifeOf } from './report.ts';

const IDLE: Partial<Scaling> = { idleTimeoutMs: 1_000 };
const AFTER_RECOVERY_MS = 6_000;

let talk: Conversation;
/** Answers every start as it comes, and tells the node of every stop. */
function pass(durationMs: number, beat: () => void = () => {}): readonly Effect[] {
  const seen: Effect[] = [];
  for (let passed = 0; passed < durationMs; passed += 100) {
    for (let effects = talk.pass(100, beat); effects.length > 0;) {
      seen.push(...effects);
      effects = [...talk.startedAll(effects), ...talk.stopped(effects)];
    }
  }
  return seen;
}

beforeEach(() => {
  talk = new Conversation();
  talk.node('n1');
  pass(AFTER_RECOVERY_MS);
});

const count = (version: string): number =>
  [...talk.state.instances.values()].filter(
    (instance) => instance.version.id === `default/${version}` && instance.state === 'ready',
  ).length;

describe('a provisioned alias', () => {
  test('has its instances started at once, and keeps them though nobody calls', () => {
    const effects = talk.want('a', { 1: 100 }, { provision: { instances: 2 }, scaling: IDLE });
    expect(told(effects)).toEqual(['start default/a@1 on n1', 'start default/a@1 on n1']);
    talk.startedAll(effects);
    expect(told(pass(20_000))).toEqual([]);
    expect(lifeOf(talk.state, 'default/a', talk).aliases).toEqual([{ name: 'live', target: 2, ready: 2 }]);
  });

  test('waits with its starts until those that run already have been heard of', () => {
    talk = new Conversation();
    talk.want('a', { 1: 100 }, { provision: { instances: 1 } });
    talk.node('n1');
    expect(told(talk.pass(4_900))).toEqual([]);
    expect(told(talk.pass(200))).toEqual(['start default/a@1 on n1']);
  });

  test('gets an instance for each that dies', () => {
    talk.startedAll(talk.want('a', { 1: 100 }, { provision: { instances: 1 } }));
    const [instanceId] = talk.state.instances.keys();
    expect(told(talk.node('n1', { exits: [[instanceId!, 'crashed']] }))).toEqual(['start default/a@1 on n1']);
  });

  test('pauses after starts that fail, as for requests', () => {
    const effects = talk.want('a', { 1: 100 }, { provision: { instances: 1 } });
    expect(told(talk.failed(only(effects, 'start')!, { code: 'startup_failed' }))).toEqual([]);
    expect(told(talk.pass(400))).toEqual([]);
    expect(told(talk.pass(200))).toEqual(['start default/a@1 on n1']);
  });

  test('never has more than maxInstances, and requests beyond it start what is left', () => {
    const scaling = { maxInstances: 3, concurrency: 1 };
    const effects = talk.want('a', { 1: 100 }, { provision: { instances: 2 }, scaling });
    talk.startedAll(effects);
    const more = talk.acquire('a', { waiting: 9, scaling });
    expect(all(more, 'grant')).toHaveLength(1);
    expect(all(talk.acquire('a', { waiting: 9, scaling, gateway: 'g2' }), 'grant')).toHaveLength(1);
    expect(all(talk.acquire('a', { waiting: 9, scaling, gateway: 'g3' }), 'start')).toHaveLength(1);
    const over = talk.want('a', { 1: 100 }, { provision: { instances: 50 }, scaling });
    expect(told(over)).toEqual([]);
    expect(lifeOf(talk.state, 'default/a', talk).aliases[0]?.target).toBe(3);
  });

  test('splits by weight, at least 1 each', () => {
    const effects = talk.want('a', { 1: 90, 2: 10 }, { provision: { instances: 4 } });
    expect(told(effects)).toEqual([
      ...Array.from({ length: 3 }, () => 'start default/a@1 on n1'),
      'start default/a@2 on n1',
    ]);
  });

  test('opens and closes its windows by the clock on the wall', () => {
    const schedule = [{ days: [4], from: '00:01', to: '00:02', instances: 2 }];
    const effects = talk.want('a', { 1: 100 }, { provision: { schedule }, scaling: IDLE });
    expect(told(effects)).toEqual([]);
    const opened = pass(60_000 - talk.nowMs);
    expect(all(opened, 'start')).toHaveLength(2);
    expect(told(pass(59_000))).toEqual([]);
    expect(all(pass(5_000), 'stop')).toHaveLength(2);
  });

  test('is given nothing while the function is disabled', () => {
    talk.startedAll(talk.want('a', { 1: 100 }, { provision: { instances: 1 } }));
    talk.want('a', { 1: 100 }, { provision: { instances: 1 }, enabled: false });
    expect(all(pass(11_000), 'stop')).toHaveLength(1);
  });

  test('makes room among idle instances of a full node', () => {
    talk.node('n1', { capacity: 1 });
    talk.lease('b');
    pass(3_000);
    talk.want('a', { 1: 100 }, { provision: { instances: 1 } });
    const effects = pass(12_000);
    expect(told(effects)).toEqual(['stop on n1', 'start default/a@1 on n1']);
  });
});

describe('a deploy', () => {
  test('has the next version ready before the last one is drained', () => {
    talk.startedAll(talk.want('a', { 1: 100 }, { provision: { instances: 1 }, scaling: IDLE }));
    const effects = talk.want('a', { 2: 100 }, { provision: { instances: 1 }, scaling: IDLE });
    expect(told(effects)).toEqual(['start default/a@2 on n1']);
    expect(told(talk.pass(19_000))).toEqual([]);
    talk.startedAll(effects);
    expect(told(talk.pass(100))).toEqual(['stop on n1']);
    expect([count('a@1'), count('a@2')]).toEqual([0, 1]);
  });

  test('does not wait for ever for a version that cannot be had', () => {
    talk.startedAll(talk.want('a', { 1: 100 }, { provision: { instances: 1 } }));
    talk.node('n1', { capacity: 1 });
    const { leaseId } = only(talk.acquire('a'), 'grant')!.lease;
    talk.want('a', { 2: 100 }, { provision: { instances: 1 } });
    talk.pass(59_900, () => talk.gateway('g1', { [leaseId]: 1 }));
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([]);
    talk.pass(200);
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([leaseId]);
  });

  test('on a full node ends the last version when it is idle, because nothing else makes room', () => {
    talk.startedAll(talk.want('a', { 1: 100 }, { provision: { instances: 1 } }));
    talk.node('n1', { capacity: 1 });
    talk.want('a', { 2: 100 }, { provision: { instances: 1 } });
    expect(told(pass(3_000))).toEqual(['stop on n1', 'start default/a@2 on n1']);
  });

  test('drains what runs of a version that no alias serves, after a linger for a rollback', () => {
    talk.want('a', { 1: 100 });
    const { leaseId } = talk.lease('a');
    talk.want('a', { 2: 100 });
    const hold = (): void => void talk.gateway('g1', { [leaseId]: 1 });
    talk.pass(9_900, hold);
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([]);
    talk.pass(200);
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([leaseId]);
    // A request is still in flight there.
    expect(told(talk.pass(2_000, hold))).toEqual([]);
    talk.nowMs += 0.5;
    talk.gateway('g1');
    // What is left of drainMs for work behind answered requests, in whole ms.
    const graceMs = only(talk.effects, 'stop')?.graceMs ?? 0;
    expect(graceMs).toBeGreaterThan(20_000);
    expect(Number.isInteger(graceMs)).toBe(true);
  });

  test('stops what does not end within drainMs', () => {
    const scaling = { drainMs: 5_000 };
    talk.want('a', { 1: 100 }, { scaling });
    const { leaseId } = talk.lease('a', { scaling });
    talk.want('a', { 2: 100 }, { scaling });
    const hold = (): void => void talk.gateway('g1', { [leaseId]: 1 });
    expect(told(talk.pass(14_900, hold))).toEqual([]);
    expect(told(talk.pass(200, hold))).toEqual(['stop on n1']);
  });

  test('taken back within the linger finds its instances warm', () => {
    talk.want('a', { 1: 100 }, { scaling: IDLE });
    const { instanceId } = talk.lease('a', { scaling: IDLE });
    talk.want('a', { 2: 100 }, { scaling: IDLE });
    talk.pass(8_000, () => talk.gateway('g1'));
    talk.want('a', { 1: 100 }, { scaling: IDLE });
    expect(only(talk.acquire('a', { scaling: IDLE }), 'grant')?.lease).toMatchObject({
      instanceId,
      warm: true,
    });
    expect(talk.state.departed.size).toBe(0);
  });

  test('serves on whoever has not heard of it', () => {
    talk.want('a', { 1: 100 });
    talk.lease('a');
    talk.want('a', { 2: 100 });
    talk.pass(9_000);
    talk.acquire('a', { gateway: 'g2' });
    expect(told(talk.pass(9_000, () => talk.gateway('g2')))).not.toContain('stop on n1');
  });

  test('drains what a gateway asked for that had not heard of it, though nothing of it ran by then', () => {
    talk.want('a', { 1: 100 });
    talk.want('a', { 2: 100 });
    expect(talk.state.versions.size).toBe(0);
    const { leaseId } = talk.lease('a@1', { scaling: { idleTimeoutMs: 3_600_000 } });
    // It says that the lease is given back.
    talk.gateway('g1', { [leaseId]: 0 });
    talk.gateway('g1');
    expect(told(pass(14_000, () => talk.gateway('g1')))).toEqual(['stop on n1']);
    expect(talk.state.departed.size).toBe(0);
  });

  test('of a function that was deleted drains what a gateway asked for that had not heard of it', () => {
    talk.want('a', { 1: 100 });
    talk.desired({ kind: 'placement', key: 'default/a', value: null });
    const { leaseId } = talk.lease('a@1', { scaling: { idleTimeoutMs: 3_600_000 } });
    talk.gateway('g1', { [leaseId]: 0 });
    talk.gateway('g1');
    expect(told(pass(14_000, () => talk.gateway('g1')))).toEqual(['stop on n1']);
    expect(talk.state.departed.size).toBe(0);
    // Made anew it is one like any other.
    talk.want('a', { 1: 100 });
    expect(talk.state.deleted.size).toBe(0);
  });

  test('remembers so many functions that were deleted, the newest', () => {
    for (let index = 0; index < 1_001; index += 1) {
      talk.want(`f${index}`, { 1: 100 });
      talk.desired({ kind: 'placement', key: `default/f${index}`, value: null });
    }
    expect([talk.state.deleted.size, talk.state.deleted.has('default/f0')]).toEqual([1_000, false]);
  });

  test('of a scheduler that restarted drains what no alias serves any more', () => {
    talk.running.get('n1')?.set('i-old', 'default/a@1');
    talk.want('a', { 2: 100 });
    expect(told(pass(14_000))).toEqual(['stop on n1']);
  });

  test('of a scheduler whose journal is old leaves a newer version alone', () => {
    talk.running.get('n1')?.set('i-new', 'default/a@3');
    talk.want('a', { 2: 100 });
    expect(told(pass(14_000))).toEqual([]);
  });

  test('leaves instances of functions alone that it has not heard of', () => {
    talk.running.get('n1')?.set('i-new', 'default/b@1');
    talk.want('a', { 2: 100 });
    expect(told(pass(14_000))).toEqual([]);
  });
});

describe('a ceiling on instances', () => {
  const scaling = { concurrency: 1, maxInstances: 9, queueTimeoutMs: 1_000 };

  test('holds over all functions of the account, and for no other account', () => {
    talk.ceilings({ instances: 2 });
    talk.lease('a', { scaling });
    expect(all(talk.acquire('b', { scaling, waiting: 9 }), 'start')).toHaveLength(1);
    expect(told(talk.acquire('c', { scaling }))).toEqual([]);
    expect(all(talk.acquire('other/a@1', { scaling, waiting: 3 }), 'start')).toHaveLength(3);
  });

  test('refuses as soon as all instances of the account are known to be in use', () => {
    talk.ceilings({ instances: 1 });
    const { leaseId } = talk.lease('a', { scaling });
    expect(told(talk.acquire('b', { scaling, gateway: 'g2' }))).toEqual([]);
    talk.gateway('g1', { [leaseId]: 1 });
    const effects = talk.pass(100);
    expect(only(effects, 'refuse')?.fault).toMatchObject({
      code: 'no_capacity',
      detail: expect.stringContaining('The account has as many instances'),
    });
  });

  test('of none refuses at once', () => {
    talk.ceilings({ instances: 0 });
    expect(told(talk.acquire('a', { scaling }))).toEqual(['refuse r1 no_capacity']);
  });

  test('ends an idle instance of the account for a function that has none', () => {
    talk.ceilings({ instances: 1 });
    talk.lease('a');
    pass(3_000, () => talk.gateway('g1'));
    expect(told(talk.acquire('b'))).toEqual([]);
    expect(told(pass(3_000, () => talk.gateway('g1')))).toEqual([
      'stop on n1',
      'start default/b@1 on n1',
      expect.stringMatching(/^grant/),
    ]);
  });

  test('bounds provisioned instances too, and ends those above it when it is lowered', () => {
    talk.ceilings({ instances: 3 });
    const effects = talk.want('a', { 1: 100 }, { provision: { instances: 4 } });
    expect(all(effects, 'start')).toHaveLength(3);
    talk.startedAll(effects);
    pass(3_000);
    talk.ceilings({ instances: 1 });
    expect(told(pass(2_000))).toEqual(['stop on n1', 'stop on n1']);
  });
});
