/** Budgets of requests, ages and sessions: instances that are not for everybody, or not for ever. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { Lease } from '#shared/contracts/leases.ts';
import { all, Conversation, only, told } from './conversation.fixture.ts';

let talk: Conversation;
beforeEach(() => {
  talk = new Conversation();
  talk.node('n1');
  talk.gateway('g1');
});

const done = (lease: Lease, sent: number) =>
  talk.report('g1', [{ leaseId: lease.leaseId, inFlight: 0, started: sent, sent, done: true }]);

describe('isolation `request`', () => {
  const scaling = { isolation: 'request', concurrency: 50, maxInstances: 2 } as const;

  test('starts one instance for each request, whatever concurrency says', () => {
    expect(all(talk.acquire('a', { scaling, waiting: 5 }), 'start')).toHaveLength(2);
  });

  test('allows one request, and ends the instance when it was sent', () => {
    const lease = talk.lease('a', { scaling });
    expect(lease).toMatchObject({ slots: 1, requests: 1, warm: false });
    expect(told(done(lease, 1))).toEqual(['stop on n1']);
  });

  test('gives the instance to another when the request was not sent', () => {
    const lease = talk.lease('a', { scaling });
    expect(told(done(lease, 0))).toEqual([]);
    talk.pass(100);
    expect(only(talk.acquire('a', { scaling }), 'grant')?.lease).toMatchObject({
      instanceId: lease.instanceId,
      requests: 1,
      warm: true,
    });
  });

  test('takes the budget of a gateway that died for used', () => {
    talk.lease('a', { scaling });
    expect(told(talk.pass(12_000))).toEqual(['stop on n1']);
  });

  test('does not use what it finds running: what that has served is not known', () => {
    talk.want('a', { 1: 100 }, { scaling });
    talk.running.get('n1')?.set('i-old', 'default/a@1');
    talk.node('n1');
    expect(told(talk.pass(4_000, () => talk.gateway('g1')))).toEqual(['stop on n1']);
  });
});

describe('maxRequests', () => {
  const scaling = { maxRequests: 10, concurrency: 4, maxInstances: 1 };

  test('is shared out between gateways, and never exceeded', () => {
    talk.gateway('g2');
    const first = talk.lease('a', { scaling });
    const second = only(talk.acquire('a', { scaling, gateway: 'g2' }), 'grant')?.lease;
    expect([first, second]).toMatchObject([
      { slots: 2, requests: 5 },
      { slots: 2, requests: 3 },
    ]);
    done(first, 5);
    const third = only(talk.acquire('a', { scaling }), 'grant')?.lease;
    expect(third).toMatchObject({ requests: 1 });
    done(third!, 1);
    const last = only(talk.acquire('a', { scaling }), 'grant')?.lease;
    expect(last).toMatchObject({ requests: 1 });
    done(last!, 1);
    expect(told(talk.acquire('a', { scaling }))).toEqual([]);
    const { leaseId } = second!;
    const end = talk.report('g2', [{ leaseId, inFlight: 0, started: 3, sent: 3, done: true }]);
    expect(told(end)).toEqual(['stop on n1']);
  });

  test('takes back what a gateway does not use when another waits for it', () => {
    talk.gateway('g2');
    const first = talk.lease('a', { scaling });
    const { leaseId } = only(talk.acquire('a', { scaling, gateway: 'g2' }), 'grant')!.lease;
    done(first, 5);
    for (const sent of [1, 1]) done(only(talk.acquire('a', { scaling }), 'grant')!.lease, sent);
    talk.gateway('g2', { [leaseId]: 0 });
    expect(told(talk.acquire('a', { scaling }))).toEqual([]);
    expect(talk.gateway('g2', { [leaseId]: 0 })).toEqual([leaseId]);
    const given = talk.report('g2', [{ leaseId, inFlight: 0, started: 0, sent: 1, done: true }]);
    expect(only(given, 'grant')?.lease).toMatchObject({ instanceId: first.instanceId, requests: 1 });
  });

  test('counts what is given back by its exact report, and by nothing else', () => {
    const lease = talk.lease('a', { scaling });
    expect(lease.requests).toBe(10);
    done(lease, 4);
    const again = only(talk.acquire('a', { scaling }), 'grant')!.lease;
    expect(again.requests).toBe(6);
    // Left out without a report: how many were sent is not known.
    talk.pass(3_000, () => talk.gateway('g1'));
    expect(only(talk.effects, 'stop')).toMatchObject({ instanceId: lease.instanceId });
  });

  test('hears a repeated report once', () => {
    const lease = talk.lease('a', { scaling });
    done(lease, 4);
    done(lease, 4);
    expect(only(talk.acquire('a', { scaling }), 'grant')?.lease.requests).toBe(6);
  });
});

describe('maxAgeMs', () => {
  const scaling = { maxAgeMs: 5_000, drainMs: 3_000, maxInstances: 2 };

  test('ends the leases of an instance at that age, and the instance when the last request is over', () => {
    const { leaseId, instanceId } = talk.lease('a', { scaling });
    const hold = (): void => void talk.gateway('g1', { [leaseId]: 1 });
    expect(told(talk.pass(5_000, hold))).toEqual([]);
    expect(talk.gateway('g1', { [leaseId]: 1 })).toEqual([leaseId]);
    expect(only(talk.acquire('a', { scaling }), 'start')).toBeDefined();
    talk.gateway('g1', {});
    expect(only(talk.effects, 'stop')).toMatchObject({ instanceId });
  });

  test('does not wait longer than drainMs', () => {
    const { leaseId } = talk.lease('a', { scaling });
    const effects = talk.pass(8_100, () => talk.gateway('g1', { [leaseId]: 1 }));
    expect(told(effects)).toEqual(['stop on n1']);
  });
});

describe('isolation `session`', () => {
  const scaling = { isolation: 'session', concurrency: 2, maxInstances: 2, idleTimeoutMs: 3_000 } as const;
  const lease = (session: string) => talk.lease('a', { scaling, session });

  test('gives each session its own instance, and the same one again', () => {
    const anna = lease('anna');
    const bert = lease('bert');
    expect(bert.instanceId).not.toBe(anna.instanceId);
    talk.gateway('g1', {});
    talk.pass(2_000);
    talk.gateway('g1', {});
    expect(lease('anna').instanceId).toBe(anna.instanceId);
    expect(lease('bert').instanceId).toBe(bert.instanceId);
  });

  test('lets a session wait for its own instance, though another one has room', () => {
    const anna = lease('anna');
    lease('bert');
    expect(only(talk.acquire('a', { scaling, session: 'anna' }), 'grant')).toBeUndefined();
    const { leaseId } = anna;
    expect(only(talk.report('g1', []), 'grant')).toBeUndefined();
    talk.gateway('g1', { [leaseId]: 0 });
    expect(only(talk.report('g1', []), 'grant')?.lease.instanceId).toBe(anna.instanceId);
  });

  test('lets a session beyond maxInstances wait, then refuses it', () => {
    lease('anna');
    lease('bert');
    expect(told(talk.acquire('a', { scaling, session: 'carl', deadlineMs: 1_000 }))).toEqual([]);
    expect(told(talk.pass(1_000))).toEqual(['refuse r3 queue_timeout']);
  });

  test('ends with its instance: the id begins a new session', () => {
    const anna = lease('anna');
    talk.node('n1', { exits: [[anna.instanceId, 'crashed']] });
    expect(lease('anna').instanceId).not.toBe(anna.instanceId);
  });

  test('gives an instance whose session is over to nobody else', () => {
    const anna = lease('anna');
    talk.gateway('g1', { [anna.leaseId]: 0 });
    talk.gateway('g1', {});
    talk.pass(2_900);
    const start = only(talk.acquire('a', { scaling, session: 'bert' }), 'start');
    expect(start?.instanceId).not.toBe(anna.instanceId);
  });

  test('uses a provisioned instance for the first session that comes', () => {
    talk.pass(6_000);
    const starts = talk.want('a', { 1: 100 }, { scaling, provision: { instances: 1 } });
    talk.startedAll(starts);
    talk.pass(100);
    const first = only(talk.acquire('a', { scaling, session: 'anna' }), 'grant');
    expect(first?.lease).toMatchObject({ instanceId: only(starts, 'start')?.instanceId, warm: true });
    expect(only(talk.acquire('a', { scaling, session: 'bert' }), 'start')).toBeDefined();
  });

  test('is known again after a restart where a gateway holds its lease; other instances serve nobody', () => {
    talk.want('a', { 1: 100 }, { scaling });
    for (const id of ['ianna', 'ilost']) talk.running.get('n1')?.set(id, 'default/a@1');
    talk.node('n1');
    const name = () =>
      talk.report('g1', [{ leaseId: 'ianna.1.x', inFlight: 1, started: 1, session: 'anna' }]);
    name();
    const effects = talk.pass(4_000, () => void name());
    expect(only(effects, 'stop')).toMatchObject({ instanceId: 'ilost' });
    talk.running.get('n1')?.delete('ilost');
    talk.node('n1');
    const grants = talk.acquire('a', { scaling, session: 'anna' });
    expect(only(grants, 'grant')?.lease.instanceId).toBe('ianna');
  });

  test('without an id is one of its own', () => {
    const anna = lease('anna');
    const nameless = talk.lease('a', { scaling });
    expect(nameless.instanceId).not.toBe(anna.instanceId);
  });
});
