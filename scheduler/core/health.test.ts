/** Which kills take a version off the node, and which do not. */
import { describe, expect, test } from 'vitest';
import type { ExitReason } from '#shared/contracts/nodes.ts';
import { Conversation, told } from './conversation.fixture.ts';
import { heldIn } from './report.ts';

/** Requests that go well, then one that kills. */
function kill(talk: Conversation, reason: ExitReason, good: number, version = 'a'): void {
  const { leaseId, instanceId } = talk.lease(version);
  talk.gateway('g1', { [leaseId]: 0 }, good);
  talk.gateway('g1', { [leaseId]: 1 }, 1);
  talk.node('n1', { exits: [[instanceId, reason]] });
}

function held(talk: Conversation) {
  return heldIn(talk.state, 'default', talk.nowMs).items;
}

describe('a version', () => {
  test.for(['crashed', 'memory_exceeded', 'cpu_exceeded', 'timeout'] as const)(
    'that ends an instance with each request is quarantined: %s',
    (reason) => {
      const talk = new Conversation();
      talk.node('n1');
      for (let kills = 1; kills < 5; kills += 1) kill(talk, reason, 0);
      expect(held(talk)).toEqual([]);
      kill(talk, reason, 0);
      expect(held(talk)).toEqual([
        { version: 'default/a@1', code: 'quarantined', reason, retryAfterMs: 10_000, count: 1 },
      ]);
      expect(told(talk.acquire('a'))).toEqual(['refuse r6 quarantined']);
    },
  );

  test('in which one rare input loops is not', () => {
    const talk = new Conversation();
    talk.node('n1');
    for (let kills = 0; kills < 50; kills += 1) kill(talk, 'cpu_exceeded', 2);
    expect(held(talk)).toEqual([]);
  });

  test('is not saved by requests that its kills take along', () => {
    const talk = new Conversation();
    talk.node('n1');
    for (let kills = 0; kills < 5; kills += 1) {
      const { leaseId, instanceId } = talk.lease('a');
      talk.gateway('g1', { [leaseId]: 60 }, 60);
      talk.node('n1', { exits: [[instanceId, 'cpu_exceeded']] });
    }
    expect(held(talk)).toHaveLength(1);
  });

  test('pauses longer each time, and starts afresh as a new version', () => {
    const talk = new Conversation();
    talk.node('n1');
    const pauses: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      for (let kills = 0; kills < 5; kills += 1) kill(talk, 'crashed', 0);
      pauses.push(held(talk)[0]?.retryAfterMs ?? 0);
      talk.pass(pauses[round] ?? 0);
    }
    expect(pauses).toEqual([10_000, 20_000, 40_000]);
    for (let kills = 0; kills < 5; kills += 1) kill(talk, 'crashed', 0);
    expect(held(talk)).toMatchObject([{ version: 'default/a@1', count: 4 }]);
    expect(told(talk.acquire('a@2'))).toEqual(['start default/a@2 on n1']);
  });
});
