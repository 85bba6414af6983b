/** Logs of functions, from the process to whoever asks the agent. Real workerd. */
import { afterEach, describe, test } from 'vitest';
import { logEntrySchema } from '#shared/contracts/nodes.ts';
import { LIMITS } from '#shared/limits.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World, type SourceModule } from '../testing/world.ts';

const main = (content: string): SourceModule => ({ name: 'index.js', content });

let world: World;
afterEach(() => world[Symbol.asyncDispose]());

describe('logs', () => {
  test('a flood is bounded, what was dropped is counted, and the instance goes on', async ({ expect }) => {
    world = await World.start();
    const { path } = await world.run({
      id: 'default/flood@1',
      limits: { cpuMs: 60_000 },
      modules: [
        main(`export default { fetch(request) {
          if (request.url.endsWith('/quiet')) return new Response('still here');
          for (let i = 0; i < 20000; i += 1) console.log('x'.repeat(500), i);
          return new Response('flooded');
        } };`),
      ],
    });
    expect(await callSocket(path)).toMatchObject({ text: 'flooded' });
    expect(await callSocket(path, { path: '/quiet' })).toMatchObject({ text: 'still here' });
    const all = await waitFor('the drop to be reported', async () => {
      const found = await world.entries('flood');
      return found.some((entry) => (entry.dropped ?? 0) > 0) ? found : undefined;
    });
    const dropped = all.reduce((sum, entry) => sum + (entry.dropped ?? 0), 0);
    expect(dropped).toBeGreaterThan(10_000);
    const bytes = all.reduce((sum, entry) => sum + entry.message.length, 0);
    expect(bytes).toBeLessThan(3 * LIMITS.logBytesPerSecondMax);
  });

  test('one huge line is cut, and the next one is whole', async ({ expect }) => {
    world = await World.start();
    const { path } = await world.run({
      id: 'default/huge@1',
      modules: [
        main(
          `export default { fetch() { console.log('y'.repeat(1_000_000)); console.warn('after'); return new Response(); } };`,
        ),
      ],
    });
    await callSocket(path);
    const [first, second] = await waitFor('two entries', async () => {
      const found = await world.entries('huge');
      return found.length >= 2 ? found : undefined;
    });
    expect(first?.message.length).toBeLessThanOrEqual(LIMITS.logEntryBytesMax);
    expect(second).toMatchObject({ level: 'warn', message: 'after' });
  });

  test('followers get what comes, and logs survive a restart of the agent', async ({ expect }) => {
    world = await World.start();
    const id = world.control.publish({
      id: 'default/talk@1',
      modules: [
        main('export default { fetch(request) { console.log(request.url); return new Response(); } };'),
      ],
    });
    const first = await world.start(id);
    const controller = new AbortController();
    const lines = world.peer.lines('/v1/logs?account=default&function=talk&follow=1', logEntrySchema, {
      signal: controller.signal,
    });
    await callSocket(first.path, { path: '/one' });
    expect((await lines.next()).value).toMatchObject({
      message: 'http://hello.localhost/one',
      kind: 'console',
    });
    controller.abort();
    await lines.next().catch(() => undefined);
    await world.stopAgent();
    await world.startAgent();
    expect(await world.entries('talk')).toMatchObject([{ message: 'http://hello.localhost/one' }]);
    const second = await world.start(id);
    await callSocket(second.path, { path: '/two' });
    await waitFor('both lines', async () => (await world.entries('talk')).length === 2);
  });
});
