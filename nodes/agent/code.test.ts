/** Where a node has the code of versions from: its disk, control, and what it says while neither has it. Real workerd. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, test } from 'vitest';
import { z } from 'zod';
import { nodeStatusSchema } from '#shared/contracts/nodes.ts';
import { versionIdSchema } from '#shared/ids.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World, type SourceModule } from '../testing/world.ts';

const main = (content: string): SourceModule => ({ name: 'index.js', content });
const HELLO = main('export default { fetch() { return new Response("hello"); } };');

let world: World;
afterEach(() => world[Symbol.asyncDispose]());

const status = () => world.peer.call('/v1/status', nodeStatusSchema);

/** Of the version that was published second to the empty feed. */
const codeIsHere = () =>
  waitFor('the code to be here', async () => {
    const { codeMissing, feedRevision } = await status();
    return codeMissing === 0 && feedRevision === 2;
  });

describe('blobs', () => {
  test('a corrupted blob on disk is fetched again', async ({ expect }) => {
    world = await World.start({ slots: 0 });
    const id = world.control.publish({ modules: [HELLO] });
    await world.start(id);
    await world.stopAgent();
    const folder = join(world.layout.nodeDir('node-1'), 'code');
    const [name = ''] = await readdir(folder);
    await writeFile(join(folder, name), 'export default { fetch() { return new Response("evil"); } };');
    await world.startAgent({ slots: 0 });
    const { path } = await world.start(id);
    expect(await callSocket(path)).toMatchObject({ text: 'hello' });
    expect(await readFile(join(folder, name), 'utf8')).toBe(HELLO.content);
  });

  test('a blob that control sends wrongly is refused as blob_corrupt, a missing one as blob_not_found', async ({
    expect,
  }) => {
    world = await World.start({ slots: 0 });
    const corrupt = world.control.runnable({ id: 'default/a@1', modules: [HELLO] });
    for (const digest of world.control.blobs.keys()) world.control.blobs.set(digest, new Uint8Array([1]));
    const check = (runnable: unknown): Promise<unknown> =>
      world.peer.call('/v1/check', z.unknown(), { method: 'POST', body: { runnable } });
    await expect(check(corrupt)).rejects.toMatchObject({ code: 'blob_corrupt' });
    world.control.blobs.clear();
    await expect(check(corrupt)).rejects.toMatchObject({ code: 'blob_not_found' });
  });
});

test('an agent that starts while control is gone is ready from its journal, and starts what it has', async ({
  expect,
}) => {
  world = await World.start({ slots: 1 });
  const id = world.control.publish({ modules: [HELLO] });
  await codeIsHere();
  await world.stopAgent();
  await world.control.close();
  const reads = world.control.blobReads;
  await world.startAgent({ slots: 1 });
  expect(await callSocket((await world.start(id)).path)).toMatchObject({ text: 'hello' });
  expect(world.control.blobReads).toBe(reads);
});

test('code that is not here while control is gone has an error of its own; it is fetched when control is back', async ({
  expect,
}) => {
  world = await World.start({ slots: 1 });
  const id = world.control.publish({ modules: [HELLO] });
  await codeIsHere();
  await world.stopAgent();
  await world.control.close();
  await rm(join(world.layout.nodeDir('node-1'), 'code'), { recursive: true });
  await world.startAgent({ slots: 1 });
  await expect(world.start(id)).rejects.toMatchObject({ code: 'code_unavailable', retryAfterMs: 1_000 });
  expect((await status()).codeMissing).toBe(1);
  await world.control.listen(world.layout);
  await codeIsHere();
  expect(await callSocket((await world.start(id)).path)).toMatchObject({ text: 'hello' });
});

test('a version that the journal lacks is not said to be missing before control was heard', async ({
  expect,
}) => {
  world = await World.start({ slots: 1 });
  await waitFor('the feed', async () => (await status()).feedRevision > 0);
  await world.stopAgent();
  await world.control.close();
  const id = world.control.publish({ modules: [HELLO] });
  await world.startAgent({ slots: 1 });
  await expect(world.start(id)).rejects.toMatchObject({ code: 'code_unavailable' });
  await world.control.listen(world.layout);
  await codeIsHere();
  expect(await callSocket((await world.start(id)).path)).toMatchObject({ text: 'hello' });
  await expect(world.start(versionIdSchema.parse('default/never@1'))).rejects.toMatchObject({
    code: 'version_not_found',
  });
});
