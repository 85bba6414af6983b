/**
 * Goal: a full disk costs changes and logs, nothing else: what is there is served, whatever dies meanwhile.
 * Method: the data folder of a real platform on a small file system that is filled to its last block.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { isAlive } from '../support/proc.ts';
import { TestPlatform } from '../support/platform.ts';
import { UpProcess } from '../support/up.ts';
import { SmallDisk } from '../support/small-disk.ts';

const DISK_BYTES = 112 * 1_048_576;
const KEEPER = `export default { async fetch(request, env) {
  if (request.method === 'PUT') {
    try { await env.KV.put('late', 'x'.repeat(100_000)); return new Response('put'); }
    catch (refusal) { return new Response(String(refusal), { status: 299 }); }
  }
  console.log('a line for the log');
  return new Response(await env.KV.get('early'));
} };`;

const mounted = await SmallDisk.mount(DISK_BYTES);
const disk = 'impossible' in mounted ? undefined : mounted;
afterAll(() => disk?.[Symbol.asyncDispose]());

test.skipIf(disk !== undefined)('on a full disk', ({ skip }) => {
  skip(`SKIPPED, not proved here: no file system can be mounted (${JSON.stringify(mounted)})`);
});

test('a platform whose output goes to a full disk goes on, and so do its planes', async ({ expect }) => {
  await using folder = await tempFolder();
  const dataDir = join(folder.path, 'data');
  // Every write to it fails with ENOSPC.
  await using up = await UpProcess.start(dataDir, [], {}, '/dev/full');
  await up.api.deploy('steady', {
    modules: { 'index.js': `export default { fetch() { return new Response('steady'); } };` },
    config: { auth: { mode: 'public' } },
  });
  // The supervisor reports the end, and the restart, on its error output.
  process.kill(up.pids['gateway'] ?? 0, 'SIGKILL');
  await waitFor('the gateway to be gone', () => !isAlive(up.pids['gateway'] ?? 0));
  await up.serves('steady', (text) => text === 'steady');
  expect((await up.api.status()).consumers.length).toBeGreaterThan(0);
});

describe.runIf(disk !== undefined)('on a full disk', () => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await TestPlatform.start({ dataDir: join(disk?.path ?? '', 'data') });
    const { api } = platform;
    if ((await api.call('POST', 'kv-namespaces', { name: 'notes' })).status !== 201)
      throw new Error('no namespace');
    await api.deploy('keeper', {
      modules: { 'index.js': KEEPER },
      config: { auth: { mode: 'public' }, kv: [{ binding: 'KV', namespace: 'notes' }] },
    });
    const put = await api.call('PUT', 'kv-namespaces/notes/value?key=early', {
      value: 'kept',
      encoding: 'utf8',
    });
    if (put.status >= 300) throw new Error(`put: ${put.status} ${JSON.stringify(put.body)}`);
    await disk?.fill();
  });
  afterAll(() => platform?.[Symbol.asyncDispose]());

  const serves = () =>
    waitFor('the function to be served', async () => (await platform.call('keeper')).text === 'kept', 30_000);

  test('functions are served and read KV; a put rejects in the function and says why', async ({ expect }) => {
    await serves();
    const put = await platform.call('keeper', { method: 'PUT' });
    expect(put.text).toMatch(/storage_full/);
    expect(put.text).toMatch(/507/);
    expect(put.status).toBe(299);
    await serves();
  });

  test('operators are told: status, and 507 for changes', async ({ expect }) => {
    const status = await platform.api.status();
    expect(status.storage).toMatchObject({ full: true });
    const { code, stdout } = await platform.cli(['status']);
    expect(code).toBe(0);
    expect(stdout).toContain('storage_full');
    const put = await platform.api.call('PUT', 'kv-namespaces/notes/value?key=late', {
      value: 'x'.repeat(100_000),
      encoding: 'utf8',
    });
    expect([put.status, put.body]).toMatchObject([507, { code: 'storage_full' }]);
    const upload = await platform.api.upload('late', {
      modules: {
        'index.js': `export default { fetch() { return new Response('late'); } }; // ${'x'.repeat(100_000)}`,
      },
    });
    expect([upload.status, upload.body]).toMatchObject([507, { code: 'storage_full' }]);
  });

  for (const plane of ['scheduler', 'gateway', 'node', 'control'])
    test(`it serves again after its ${plane} was killed`, async ({ expect }) => {
      const before = platform.platform.pids()[plane] ?? 0;
      process.kill(before, 'SIGKILL');
      await waitFor(`${plane} to be gone`, () => !isAlive(before));
      await waitFor(
        `${plane} to be back`,
        () => ![undefined, before].includes(platform.platform.pids()[plane]),
        30_000,
      );
      await serves();
      await waitFor(
        'control to answer',
        async () => (await platform.api.status()).nodes.length === 1,
        30_000,
      );
      expect((await platform.api.status()).storage?.full).toBe(true);
    });

  test('it starts, serves, and takes changes again once there is room', async ({ expect }) => {
    await platform.restart(async () => {
      await disk?.fill();
    });
    await serves();
    const { code, stdout } = await platform.cli(['status']);
    expect(code, stdout).toBe(0);
    expect(stdout).toContain('storage_full');
    await disk?.free();
    await platform.api.deploy('late', {
      modules: { 'index.js': `export default { fetch() { return new Response('late'); } };` },
      config: { auth: { mode: 'public' } },
    });
    expect((await platform.call('late')).text).toBe('late');
    expect((await platform.call('keeper', { method: 'PUT' })).text).toBe('put');
    expect((await platform.api.status()).storage?.full).toBe(false);
  });
});
