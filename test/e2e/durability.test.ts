/**
 * Goal: nothing acknowledged is lost, whatever dies, and one part's end is not the end of the others.
 * Method: processes of a running platform are killed with SIGKILL, files are damaged, ports are taken.
 */
import { createServer, type AddressInfo } from 'node:net';
import { cp, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '@libsql/client';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { startPlatform } from '#cli/up/platform.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { ApiFailure } from '../support/api.ts';
import { isAlive } from '../support/proc.ts';
import { TestPlatform } from '../support/platform.ts';
import { UpProcess } from '../support/up.ts';

const PUBLIC = { auth: { mode: 'public' } } as const;
const saying = (text: string) => ({
  modules: { 'index.js': `export default { fetch() { return new Response(${JSON.stringify(text)}); } };` },
  config: PUBLIC,
});

describe('a running platform', () => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await TestPlatform.start();
    for (const text of ['one', 'two']) await platform.api.deploy('kept', saying(text));
  });
  afterAll(() => platform?.[Symbol.asyncDispose]());

  const serves = (text: string) =>
    waitFor(`${text} to be served`, async () => (await platform.call('kept')).text === text, 30_000);

  async function kill(plane: string): Promise<void> {
    const pid = platform.platform.pids()[plane];
    if (pid === undefined) throw new Error(`there is no plane ${plane}`);
    process.kill(pid, 'SIGKILL');
    await waitFor(`${plane} to be gone`, () => !isAlive(pid));
  }

  async function returned(plane: string, before: number | undefined): Promise<void> {
    await waitFor(
      `${plane} to be back`,
      () => ![undefined, before].includes(platform.platform.pids()[plane]),
      30_000,
    );
  }

  test('keeps everything over a restart: versions, aliases, keys, layers', async ({ expect }) => {
    const { api } = platform;
    await api.publishLayer('lasting', { 'a.js': 'export const a = 1;' });
    const before = await Promise.all(
      [
        'functions/kept',
        'functions/kept/versions',
        'functions/kept/deployments?alias=live',
        'layers',
        'keys',
      ].map(async (path) => (await api.call('GET', path)).body),
    );
    await platform.restart();
    const after = await Promise.all(
      [
        'functions/kept',
        'functions/kept/versions',
        'functions/kept/deployments?alias=live',
        'layers',
        'keys',
      ].map(async (path) => (await platform.api.call('GET', path)).body),
    );
    expect(after).toEqual(before);
    await serves('two');
  });

  test('keeps its files to itself', async ({ expect }) => {
    expect((await stat(platform.dataDir)).mode & 0o777).toBe(0o700);
    const entries = await readdir(platform.dataDir, { recursive: true, withFileTypes: true });
    const open: string[] = [];
    for (const entry of entries) {
      const path = join(entry.parentPath, entry.name);
      if (!entry.isFile()) continue;
      // A file may vanish between the listing and the look: it was temporary.
      const info = await stat(path).catch(() => undefined);
      if (info !== undefined && (info.mode & 0o077) !== 0) open.push(path);
    }
    expect(open).toEqual([]);
  });

  test('answers calls while the control plane is gone, and takes deploys when it is back', async ({
    expect,
  }) => {
    await serves('two');
    const before = platform.platform.pids()['control'];
    await kill('control');
    for (let index = 0; index < 20; index += 1) expect((await platform.call('kept')).text).toBe('two');
    await returned('control', before);
    await waitFor('a deploy', async () => {
      try {
        await platform.api.deploy('kept', saying('three'));
        return true;
      } catch (thrown) {
        // Its port may not be open yet; a refusal by the platform would be a failure.
        if (thrown instanceof ApiFailure && thrown.answer.status < 500) throw thrown;
        return false;
      }
    });
    await serves('three');
    await platform.api.rollback('kept', 2);
    await serves('two');
  });

  for (const plane of ['scheduler', 'gateway', 'node'])
    test(`serves again after its ${plane} was killed`, async ({ expect }) => {
      await serves('two');
      const before = platform.platform.pids()[plane];
      await kill(plane);
      await returned(plane, before);
      await serves('two');
      const fresh = `after-${plane}`;
      await platform.api.deploy(fresh, saying(fresh));
      expect((await platform.call(fresh)).text).toBe(fresh);
    });

  test('answers database_busy while somebody holds the database, and works when it is free', async ({
    expect,
  }) => {
    const client = createClient({ url: `file:${layoutOf(platform.dataDir).database}` });
    const held = await client.transaction('write');
    try {
      const answer = await platform.api.call('POST', '/v1/accounts', { name: 'patient' });
      expect(answer.status).toBe(503);
      expect(answer.body).toMatchObject({ code: 'database_busy' });
      expect((await platform.call('kept')).text).toBe('two');
    } finally {
      await held.rollback();
      client.close();
    }
    expect((await platform.api.call('POST', '/v1/accounts', { name: 'patient' })).status).toBe(201);
  });

  test('refuses a second platform on its data folder', async ({ expect }) => {
    await expect(
      startPlatform({ dataDir: platform.dataDir, gatewayPort: 0, controlPort: 0 }),
    ).rejects.toMatchObject({ code: 'data_folder_in_use' });
    await serves('two');
  });

  test('says which port is in use', async ({ expect }) => {
    await using folder = await tempFolder();
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const { port } = taken.address() as AddressInfo;
    const dataDir = join(folder.path, 'data');
    for (const ports of [
      { gatewayPort: port, controlPort: 0 },
      { gatewayPort: 0, controlPort: port },
    ])
      await expect(startPlatform({ dataDir, ...ports })).rejects.toMatchObject({ code: 'port_in_use' });
    taken.close();
    // What was started before the refusal is gone: the folder can be used at once.
    const next = await startPlatform({ dataDir, gatewayPort: 0, controlPort: 0 });
    await next.close();
  });

  test('reports a corrupted blob as such, and only for the function it belongs to', async ({ expect }) => {
    const { version } = await platform.api.deploy('damaged', saying('damaged'));
    const digest = version.modules[0]?.digest ?? '';
    await platform.restart(async () => {
      const layout = layoutOf(platform.dataDir);
      // The node's own copy is checked too, but here it must ask the store.
      await rm(layout.nodeDir('n1'), { recursive: true, force: true });
      await flip(join(layout.blobs, digest.slice(0, 2), digest.slice(2)), 30);
    });
    expect(await platform.call('damaged')).toMatchObject({ status: 500, code: 'blob_corrupt' });
    await serves('two');
    // Publishing it again repairs the store.
    await platform.api.deploy('repaired', saying('damaged'));
    expect((await platform.call('repaired')).text).toBe('damaged');
  });

  test('refuses to start on a corrupted database, and starts on the restored one', async ({ expect }) => {
    await platform.restart(async () => {
      const { database } = layoutOf(platform.dataDir);
      await cp(database, `${database}.backup`);
      for (const offset of [0, 20, 100, 4_096]) await flip(database, offset);
      await expect(
        startPlatform({ dataDir: platform.dataDir, gatewayPort: 0, controlPort: 0 }),
      ).rejects.toMatchObject({ code: 'database_corrupt' });
      await rm(`${database}-wal`, { force: true });
      await rm(`${database}-shm`, { force: true });
      await cp(`${database}.backup`, database);
      await rm(`${database}.backup`);
    });
    await serves('two');
  });
});

describe('a platform that is killed as a whole', () => {
  test('serves every acknowledged deploy after the next start, also when killed during a publish', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const dataDir = join(folder.path, 'data');
    const acknowledged: number[] = [];
    let last = '';
    for (let round = 0; round < 3; round += 1) {
      await using up = await UpProcess.start(dataDir);
      if (round > 0)
        await up.serves('survivor', (text) => text === last || text.startsWith(`r${round - 1}-`));
      const power = new AbortController();
      const publishing = (async () => {
        for (let index = 0; !power.signal.aborted; index += 1) {
          const text = `r${round}-${index}`;
          try {
            const reply = await up.api.publish('survivor', saying(text));
            acknowledged.push(reply.version.number);
            last = text;
          } catch (thrown) {
            if (!power.signal.aborted) throw thrown;
          }
        }
      })();
      await waitFor('some publishes', () => acknowledged.length >= (round + 1) * 3, 30_000);
      power.abort();
      // The next publish is under way: it may or may not be there afterwards, but never by half.
      up.killAll();
      await publishing;
    }
    await using up = await UpProcess.start(dataDir);
    const { body } = await up.api.call('GET', 'functions/survivor/versions');
    const numbers = new Set((body as { items: { number: number }[] }).items.map(({ number }) => number));
    expect(acknowledged.filter((number) => !numbers.has(number))).toEqual([]);
    expect(new Set(acknowledged).size).toBe(acknowledged.length);
    await up.serves('survivor', (text) => text === last || text.startsWith('r2-'));
  });
});

async function flip(path: string, offset: number): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(16);
  await file.read(byte, 0, 16, offset);
  await file.write(
    byte.map((value) => value ^ 0xff),
    0,
    16,
    offset,
  );
  await file.close();
}
