/** Conversations with the control API on a real database file and real blobs; only the node is scripted. */
import { describe, test } from 'vitest';
import type { DeploymentView, FunctionView, VersionView } from '#shared/contracts/api.ts';
import type { Problem } from '#shared/errors.ts';
import { world, scriptedNode } from './testing/world.ts';

const F = '/v1/accounts/default/functions';

interface List<T> {
  readonly items: readonly T[];
  readonly nextCursor?: string;
}

describe('publishing', () => {
  test('publish, publish again, roll back: versions and history tell the story', async ({ expect }) => {
    await using w = await world();
    const first = await w.publish('hello', { 'main.js': 'export default 1' });
    expect(first.status).toBe(201);
    expect(first.body.version.number).toBe(1);
    expect(first.body.startMs).toBe(5);
    const second = await w.publish('hello', { 'main.js': 'export default 2' });
    expect(second.body.deployment?.previous).toEqual([{ version: 1, weight: 100 }]);
    const back = await w.call<DeploymentView>('POST', `${F}/hello/aliases/live/rollback`, { body: {} });
    expect(back.status).toBe(200);
    expect(back.body.weights).toEqual([{ version: 1, weight: 100 }]);
    expect(back.body.revision).toBe(w.deps.db.revision);
    const again = await w.call<Problem>('POST', `${F}/hello/aliases/live/rollback`);
    expect(again.body).toMatchObject({
      code: 'no_previous_version',
      detail:
        'live serves version 1, before which it served nothing that still exists; these versions exist too: 2.',
    });
    const history = await w.call<List<DeploymentView>>('GET', `${F}/hello/deployments?alias=live`);
    expect(history.body.items.map((entry) => [entry.reason, entry.weights[0]?.version])).toEqual([
      ['rollback', 1],
      ['publish', 2],
      ['publish', 1],
    ]);
    const view = await w.call<FunctionView>('GET', `${F}/hello`);
    expect(view.body).toMatchObject({ name: 'hello', enabled: true, latestVersion: 2 });
  });

  test('equal content returns the version that exists, without starting it again', async ({ expect }) => {
    const node = scriptedNode();
    await using w = await world({ nodes: [node] });
    await w.publish('hello');
    const same = await w.publish('hello');
    expect(same.status).toBe(200);
    expect(same.body).toMatchObject({ created: false, version: { number: 1 } });
    expect(node.checked.length).toBe(1);
    const versions = await w.call<List<VersionView>>('GET', `${F}/hello/versions`);
    expect(versions.body.items.length).toBe(1);
  });

  test('a number is never used again, not even after the function was deleted', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello', { 'main.js': '1' });
    await w.publish('hello', { 'main.js': '2' });
    expect((await w.call('DELETE', `${F}/hello`)).status).toBe(204);
    expect((await w.call<Problem>('GET', `${F}/hello`)).body.code).toBe('function_not_found');
    const anew = await w.publish('hello', { 'main.js': '1' });
    expect(anew.body.version.number).toBe(3);
    const back = await w.call<Problem>('POST', `${F}/hello/aliases/live/rollback`);
    expect(back.body).toMatchObject({
      code: 'no_previous_version',
      detail: expect.stringMatching(/live serves version 3,.* there is no other version\.$/) as unknown,
    });
  });
});
