/** What a version needs and is gone: its code at control, or the key that opens its secrets. Real workerd. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, test } from 'vitest';
import { nodeStatusSchema } from '#shared/contracts/nodes.ts';
import { toBase64Url } from '#shared/encoding.ts';
import { importKeyEncryptionKey, seal } from '#shared/seal.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World, type SourceModule } from '../testing/world.ts';

const main = (content: string): SourceModule => ({ name: 'index.js', content });
const HELLO = main('export default { fetch() { return new Response("hello"); } };');

let world: World;
afterEach(() => world[Symbol.asyncDispose]());

test('a served version whose code control has lost is unavailable, not unknown', async ({ expect }) => {
  world = await World.start({ slots: 1 });
  const id = world.control.publish({ modules: [HELLO] });
  await codeIsHere();
  await world.stopAgent();
  await rm(join(world.layout.nodeDir('node-1'), 'code'), { recursive: true });
  world.control.blobs.clear();
  await world.startAgent({ slots: 1 });
  await expect(world.start(id)).rejects.toMatchObject({ code: 'code_unavailable', retryAfterMs: 1_000 });
});

test('a secret that does not open keeps back its version, and opens once the key is restored', async ({
  expect,
}) => {
  world = await World.start({ slots: 1 });
  const text = toBase64Url(new Uint8Array(32).fill(7));
  const context = 'secret/default/TOKEN';
  const sealed = await seal(await importKeyEncryptionKey(text), new TextEncoder().encode('opened'), context);
  const id = world.control.publish({
    id: 'default/needs@1',
    modules: [main('export default { fetch: (request, env) => new Response(env.TOKEN) };')],
    secrets: [{ binding: 'TOKEN', context, sealed }],
  });
  const refused = { code: 'secret_unavailable', retryAfterMs: 1_000 };
  await expect(world.start(id)).rejects.toMatchObject(refused);
  await mkdir(dirname(world.layout.nodeKey), { recursive: true });
  await writeFile(world.layout.nodeKey, 'cut');
  await expect(world.start(id)).rejects.toMatchObject(refused);
  await writeFile(world.layout.nodeKey, text);
  expect(await callSocket((await world.start(id)).path)).toMatchObject({ text: 'opened' });
});

const status = () => world.peer.call('/v1/status', nodeStatusSchema);

/** Of the version that was published second to the empty feed. */
const codeIsHere = () =>
  waitFor('the code to be here', async () => {
    const { codeMissing, feedRevision } = await status();
    return codeMissing === 0 && feedRevision === 2;
  });
