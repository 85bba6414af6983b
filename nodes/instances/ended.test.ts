import { test } from 'vitest';
import { z } from 'zod';
import { exitReportSchema } from '#shared/contracts/nodes.ts';
import { World } from '../testing/world.ts';

test('an instance that has ended is not started again under its id', async ({ expect }) => {
  await using world = await World.start({ slots: 1 });
  const modules = [
    { name: 'index.js', content: 'export default { fetch() { return new Response("fine"); } };' },
  ];
  const { instanceId } = await world.run({ id: 'default/ended@1', modules });
  await world.peer.call(`/v1/instances/${instanceId}?graceMs=0`, z.unknown(), { method: 'DELETE' });
  await world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=15000`, exitReportSchema);
  await expect(
    world.peer.call('/v1/instances', z.unknown(), {
      method: 'POST',
      body: { instanceId, versionId: 'default/ended@1' },
    }),
  ).rejects.toMatchObject({ code: 'conflict' });
});
