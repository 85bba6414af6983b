/** How instances end that are told to: with what they have in hand, or when their grace is over. Real workerd. */
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { exitReportSchema } from '#shared/contracts/nodes.ts';
import { callSocket, World, type SourceModule } from '../testing/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world[Symbol.asyncDispose]());

const main = (content: string): SourceModule => ({ name: 'index.js', content });

describe('stopping', () => {
  test('a stopped instance is reported, its socket is gone, and stopping again is harmless', async ({
    expect,
  }) => {
    const { instanceId, path } = await world.run({
      id: 'default/stop@1',
      modules: [main('export default { fetch() { return new Response("x"); } };')],
    });
    const exit = world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=5000`, exitReportSchema);
    await world.peer.call(`/v1/instances/${instanceId}?graceMs=1000`, z.unknown(), { method: 'DELETE' });
    expect(await exit).toEqual({ ended: true, reason: 'stopped' });
    await world.peer.call(`/v1/instances/${instanceId}`, z.unknown(), { method: 'DELETE' });
    await expect(callSocket(path)).rejects.toThrow(/ENOENT|ECONNREFUSED/);
  });

  test('requests in flight finish within the grace', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/slow@1',
      modules: [
        main(
          'export default { async fetch() { console.log("begun"); await scheduler.wait(1_000); return new Response("done"); } };',
        ),
      ],
    });
    const answer = callSocket(path);
    await world.entries('slow', 1);
    await world.peer.call(`/v1/instances/${instanceId}?graceMs=20000`, z.unknown(), { method: 'DELETE' });
    expect(await answer).toMatchObject({ status: 200, text: 'done' });
    const exit = await world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=20000`, exitReportSchema);
    expect(exit).toEqual({ ended: true, reason: 'stopped' });
  });

  test('a request that outlives the grace is evicted with its instance', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/endless@1',
      modules: [
        main(
          'export default { async fetch() { console.log("begun"); await scheduler.wait(60_000); return new Response(); } };',
        ),
      ],
    });
    const answer = callSocket(path).then(
      () => 'answered',
      () => 'lost',
    );
    await world.entries('endless', 1);
    await world.peer.call(`/v1/instances/${instanceId}?graceMs=60000`, z.unknown(), { method: 'DELETE' });
    // A second call shortens the grace.
    await world.peer.call(`/v1/instances/${instanceId}?graceMs=0`, z.unknown(), { method: 'DELETE' });
    const exit = await world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=5000`, exitReportSchema);
    expect(exit).toEqual({ ended: true, reason: 'evicted' });
    expect(await answer).toBe('lost');
  });

  test('work that still loops when an idle instance is stopped is killed, and the owner is told', async ({
    expect,
  }) => {
    const { instanceId, path } = await world.run({
      id: 'default/busybody@1',
      limits: { cpuMs: 60_000 },
      modules: [
        main(
          'export default { fetch(request, env, ctx) { ctx.waitUntil(scheduler.wait(20).then(() => { console.log("begun"); for (;;); })); return new Response("x"); } };',
        ),
      ],
    });
    expect((await callSocket(path)).text).toBe('x');
    await world.entries('busybody', 1);
    await world.peer.call(`/v1/instances/${instanceId}?graceMs=0`, z.unknown(), { method: 'DELETE' });
    const exit = await world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=10000`, exitReportSchema);
    expect(exit).toEqual({ ended: true, reason: 'evicted' });
    const entries = await world.entries('busybody', 2);
    expect(entries.at(-1)).toMatchObject({
      kind: 'platform',
      message: expect.stringContaining('at the end of its grace') as unknown,
    });
  });

  test('without a grace, an instance with nothing in flight has stopped all the same', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/quiet@1',
      modules: [main('export default { fetch() { return new Response("x"); } };')],
    });
    // A connection that a gateway keeps open is no request.
    const kept = connect(path);
    await new Promise((resolve) => kept.once('connect', resolve));
    await world.peer.call(`/v1/instances/${instanceId}?graceMs=0`, z.unknown(), { method: 'DELETE' });
    const exit = await world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=5000`, exitReportSchema);
    expect(exit).toEqual({ ended: true, reason: 'stopped' });
    kept.destroy();
  });

  test('an unknown version is refused after a wait, an unknown instance has ended', async ({ expect }) => {
    expect(await world.peer.call('/v1/instances/none/exit', exitReportSchema)).toEqual({ ended: true });
    await expect(
      world.start(world.control.runnable({ id: 'default/none@9', modules: [main('')] }).id),
    ).rejects.toMatchObject({
      code: 'version_not_found',
    });
  });
});
