/** Full nodes: who has more than its part gives to who has less, and to nobody else. */
import { describe, expect, test } from 'vitest';
import { all, Conversation, only, told } from './conversation.fixture.ts';

/** A node on which one account has all that there is, each instance in use. */
function full(capacity: number): { readonly talk: Conversation; readonly beat: () => void } {
  const talk = new Conversation();
  talk.node('n1', { capacity });
  const leases = Array.from({ length: capacity }, (_, index) => talk.lease(`hostile/f${index}`));
  const used = (): Record<string, number> =>
    Object.fromEntries(
      leases.filter(({ leaseId }) => talk.state.leases.has(leaseId)).map(({ leaseId }) => [leaseId, 1]),
    );
  const beat = (): void => void talk.gateway('g1', used());
  talk.pass(5_000, beat);
  return { talk, beat };
}

describe('a full node', () => {
  test("is all one account's own while nobody else wants anything", () => {
    const { talk, beat } = full(4);
    expect(talk.state.instances.size).toBe(4);
    talk.acquire('hostile/more', { deadlineMs: 60_000 });
    expect(all(talk.pass(8_000, beat), 'stop')).toEqual([]);
  });

  test('makes room for an account that has less than its part, although all is in use', () => {
    const { talk, beat } = full(4);
    expect(told(talk.acquire('good/a', { deadlineMs: 20_000 }))).toEqual([]);
    // One that the hostile account wants too: it waits, whoever asked first.
    talk.acquire('hostile/more', { deadlineMs: 20_000 });
    const effects = talk.pass(8_000, beat);
    expect(all(effects, 'stop')).toHaveLength(1);
    expect(told(talk.stopped(effects))).toEqual(['start good/a@1 on n1']);
  });

  test('gives no account more than its part that way', () => {
    const { talk, beat } = full(4);
    for (let index = 0; index < 4; index += 1) talk.acquire(`good/f${index}`, { deadlineMs: 60_000 });
    const sizes: (readonly [hostile: number, good: number])[] = [];
    for (let round = 0; round < 10; round += 1) {
      talk.startedAll(talk.stopped(talk.pass(1_000, beat)));
      const sizeOf = (account: string): number => talk.state.accountInstances.get(account)?.size ?? 0;
      sizes.push([sizeOf('hostile'), sizeOf('good')]);
    }
    expect(Math.max(...sizes.map(([, good]) => good))).toBe(2);
    expect(Math.min(...sizes.map(([hostile]) => hostile))).toBe(2);
  });

  test('ends provisioned instances for it too, and does not start them anew meanwhile', () => {
    const talk = new Conversation();
    talk.node('n1', { capacity: 3 });
    talk.want(
      'f',
      { 1: 1 },
      { account: 'hostile', provision: { instances: 3 }, scaling: { maxInstances: 3 } },
    );
    talk.startedAll(talk.pass(5_000));
    expect(talk.state.accountInstances.get('hostile')?.size).toBe(3);
    talk.acquire('good/a', { deadlineMs: 20_000 });
    const beat = (): void => void talk.gateway('g1');
    const effects = talk.pass(5_000, beat);
    const start = only(talk.stopped(effects), 'start');
    expect(start?.versionId).toBe('good/a@1');
    if (start !== undefined) talk.started(start);
    expect(all(talk.pass(2_000, beat), 'start')).toEqual([]);
    expect(talk.state.accountInstances.get('hostile')?.size).toBe(2);
  });

  test('waits for what runs in an instance that ends no longer than its bound, whatever its scaling says', () => {
    const talk = new Conversation();
    talk.node('n1', { capacity: 2 });
    const scaling = { drainMs: 60_000 };
    const leases = ['a', 'b'].map((name) => talk.lease(`hostile/${name}`, { scaling }));
    const beat = (): void =>
      void talk.gateway('g1', Object.fromEntries(leases.map(({ leaseId }) => [leaseId, 1])));
    talk.pass(2_000, beat);
    talk.acquire('good/a', { deadlineMs: 30_000 });
    const from = talk.nowMs;
    const effects = talk.pass(talk.config.yieldMsMax + talk.config.leaseTtlMs, beat);
    expect(all(effects, 'stop')).toHaveLength(1);
    expect(talk.nowMs - from).toBeLessThan(60_000);
  });

  test('counts no room on a node that drains: nobody could have a part of it', () => {
    const { talk, beat } = full(4);
    talk.node('n2', { capacity: 40, draining: true });
    for (let index = 0; index < 4; index += 1) talk.acquire(`good/f${index}`, { deadlineMs: 60_000 });
    talk.pass(1_000, beat);
    expect(talk.state.hunger).toEqual({ accounts: new Set(['good']), part: 2 });
  });
});
