/** What of the list of instances is sent, and when: the scheduler is scripted, the clock is the test's. */
import { describe, test } from 'vitest';
import { nodeBeatSchema, type NodeBeat, type NodeHeartbeat } from '#shared/contracts/nodes.ts';
import { addressAt } from '#shared/contracts/address.ts';
import { versionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Peer } from '#shared/runtime/peer.ts';
import { FakeClock, memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { Heartbeat } from './heartbeat.ts';

type List = NodeHeartbeat['instances'];

const address = addressAt('/run/n1.sock');
const listOf = (...ids: string[]): List =>
  ids.map((instanceId) => ({
    instanceId,
    versionId: versionId('default', 'hello', 1),
    endpoint: { instance: address, agent: address },
  }));

function setUp(first: List) {
  const clock = new FakeClock();
  const beats: NodeBeat[] = [];
  const confirmed: (readonly string[])[] = [];
  const world = { list: first, answer: (beat: NodeBeat): unknown => ({ stop: [], listMark: beat.listMark }) };
  let marks = 0;
  const scheduler = {
    call: async (_path: string, schema: { parse(value: unknown): unknown }, options: { body: unknown }) => {
      const beat = nodeBeatSchema.parse(JSON.parse(JSON.stringify(options.body)));
      beats.push(beat);
      return schema.parse(world.answer(beat));
    },
  } as unknown as Peer;
  const heartbeat = new Heartbeat({
    nodeId: 'n1',
    scheduler,
    timers: clock,
    log: memoryLog(),
    newListMark: () => `mark ${(marks += 1)}`,
    describe: () => ({
      endpoint: address,
      capacity: 10,
      freeSlots: 2,
      draining: false,
      instances: world.list,
      exits: [],
    }),
    onAnswered: (sent) => confirmed.push(sent.instances.map(({ instanceId }) => instanceId)),
  });
  const said = (): unknown[] => beats.map(({ instances }) => instances?.map(({ instanceId }) => instanceId));
  const beat = async (): Promise<void> => {
    const before = confirmed.length;
    if (beats.length === 0) heartbeat.beat();
    else clock.advance(LIMITS.heartbeatMs);
    await waitFor('the answer', () => confirmed.length > before);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { world, beats, confirmed, said, beat, heartbeat };
}

describe('Heartbeat', () => {
  test('leaves out the list that the scheduler has, until it is another', async ({ expect }) => {
    const { world, beats, said, beat } = setUp(listOf('a'));
    await beat();
    await beat();
    await beat();
    world.list = listOf('a', 'b');
    await beat();
    await beat();
    expect(said()).toEqual([['a'], undefined, undefined, ['a', 'b'], undefined]);
    expect(beats.map(({ listMark }) => listMark)).toEqual(['mark 1', 'mark 1', 'mark 1', 'mark 2', 'mark 2']);
  });

  test('says all of it again at once to a scheduler that has forgotten it, and takes nothing for heard', async ({
    expect,
  }) => {
    const { world, confirmed, said, beat } = setUp(listOf('a'));
    await beat();
    const { answer } = world;
    world.answer = (sent) => (sent.instances === undefined ? { stop: [] } : answer(sent));
    await beat();
    expect(said()).toEqual([['a'], undefined, ['a']]);
    expect(confirmed).toEqual([['a'], ['a']]);
  });

  test('says it each time to one that does not say that it has it', async ({ expect }) => {
    const { world, said, beat } = setUp(listOf('a'));
    world.answer = () => ({ stop: [] });
    await beat();
    await beat();
    expect(said()).toEqual([['a'], ['a']]);
  });

  test('says it again after a heartbeat that was not answered', async ({ expect }) => {
    const { world, said, beat, beats } = setUp(listOf('a'));
    await beat();
    const { answer } = world;
    world.answer = (sent) => {
      if (beats.length === 2) throw new Error('gone');
      return answer(sent);
    };
    const failed = beat();
    await waitFor('the lost one', () => beats.length === 2);
    await new Promise((resolve) => setImmediate(resolve));
    await beat();
    await failed;
    expect(said()).toEqual([['a'], undefined, ['a']]);
  });
});
