/** Placement is stable, bounded and spreads. Inputs are nodes that a conversation made known. */
import { describe, expect, test } from 'vitest';
import { all, Conversation, only } from './conversation.fixture.ts';
import { rendezvousScore } from './placement.ts';

describe('placement', () => {
  test('pins a version to the same node however the nodes were made known', () => {
    const pins = [
      ['n1', 'n2', 'n3'],
      ['n3', 'n1', 'n2'],
    ].map((order) => {
      const talk = new Conversation();
      for (const nodeId of order) talk.node(nodeId);
      return only(talk.acquire('a'), 'start')?.nodeId;
    });
    expect(pins[0]).toBe(pins[1]);
  });

  test('moves about a third of the versions, and only to the new node, when a third node joins', () => {
    const best = (version: string, nodes: readonly string[]): string =>
      nodes.toSorted((a, b) => rendezvousScore(version, b) - rendezvousScore(version, a))[0]!;
    let moved = 0;
    for (let index = 0; index < 3_000; index += 1) {
      const version = `default/fn${index}@1`;
      const before = best(version, ['n1', 'n2']);
      const after = best(version, ['n1', 'n2', 'n3']);
      if (before === after) continue;
      expect(after).toBe('n3');
      moved += 1;
    }
    expect(moved).toBeGreaterThan(850);
    expect(moved).toBeLessThan(1_150);
  });

  test('of one account starts half of what may start at a node at once, and another starts beside it', () => {
    const talk = new Conversation({ startsPerNodeMax: 8 });
    talk.node('n1', { capacity: 1_000 });
    const scaling = { concurrency: 1, maxInstances: 100 };
    const flood = talk.acquire('hostile/a', { waiting: 100, scaling });
    const more = talk.acquire('hostile/b', { waiting: 100, scaling });
    expect([all(flood, 'start').length, all(more, 'start').length]).toEqual([4, 0]);
    for (let round = 0; round < 10; round += 1) {
      const start = only(talk.acquire(`good/f${round}`), 'start');
      expect(start).toBeDefined();
      if (start !== undefined) talk.started(start);
    }
    // What is ready starts no more: the next of the flood follow.
    talk.startedAll(flood);
    expect(all(talk.pass(100), 'start')).toHaveLength(4);
  });

  test('fills no node far beyond its share, and none beyond its capacity', () => {
    const talk = new Conversation();
    for (const nodeId of ['n1', 'n2', 'n3']) talk.node(nodeId, { capacity: 20 });
    for (let index = 0; index < 70; index += 1) {
      const start = only(talk.acquire(`f${index}`), 'start');
      if (start !== undefined) talk.started(start);
      const loads = [...talk.state.nodes.values()].map((node) => node.instances.size);
      const total = loads.reduce((sum, load) => sum + load, 0);
      for (const load of loads) expect(load).toBeLessThanOrEqual(Math.min(20, Math.ceil((1.25 * total) / 3)));
    }
    expect(all(talk.effects, 'start')).toHaveLength(60);
  });
});
