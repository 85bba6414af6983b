/** The agent from the outside: versions arrive by the feed, instances answer on their sockets. Real workerd. */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { callSocket, World } from '../testing/world.node.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world[Symbol.asyncDispose]());

describe('an instance', () => {
  test('starts from a version of the feed and answers on its socket', async ({ expect }) => {
    const { path, startMs } = await world.run({
      modules: [
        { name: 'index.js', content: 'export default { fetch() { return new Response("hello"); } };' },
      ],
    });
    expect(await callSocket(path)).toMatchObject({ status: 200, text: 'hello' });
    expect(startMs).toBeGreaterThan(0);
  });
});
