/**
 * The supervisor with scripted planes: order, ports, restarts, the lock. The real planes are exercised
 * in test/e2e.
 */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'vitest';
import { platformFileSchema } from '#shared/contracts/credentials.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { seenByGit } from '#shared/testing/git.node.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { lockDataFolder } from './data-lock.ts';
import type { PlaneEvent } from './plane-process.ts';
import type { PlaneName } from './planes.ts';
import { startPlatform, type Platform } from './platform.ts';

// Spelled out one by one, so that tools which look for unused files see the use.
const SCRIPTED: Record<PlaneName, URL> = {
  control: new URL('../testing/scripted-control.ts', import.meta.url),
  scheduler: new URL('../testing/scripted-scheduler.ts', import.meta.url),
  node: new URL('../testing/scripted-node.ts', import.meta.url),
  gateway: new URL('../testing/scripted-gateway.ts', import.meta.url),
};
const mainOf = (plane: PlaneName): string => fileURLToPath(SCRIPTED[plane]);

interface Started extends AsyncDisposable {
  readonly platform: Platform;
  readonly events: PlaneEvent[];
}

async function start(dataDir: string, gateways = 1): Promise<Started> {
  const events: PlaneEvent[] = [];
  const platform = await startPlatform({
    dataDir,
    gatewayPort: 0,
    controlPort: 0,
    gateways,
    mainOf,
    onEvent: (event) => events.push(event),
  });
  return { platform, events, [Symbol.asyncDispose]: () => platform.close() };
}

const journal = (dataDir: string): string[] =>
  readFileSync(join(dataDir, 'starts.log'), 'utf8').trim().split('\n');

describe('startPlatform()', () => {
  test('starts the planes in order, writes platform.json for this user only, stops in reverse', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const dataDir = join(folder.path, 'data');
    const { platform } = await start(dataDir);
    const file = join(dataDir, 'platform.json');
    expect(platformFileSchema.parse(JSON.parse(await readFile(file, 'utf8')))).toEqual({
      controlUrl: platform.controlUrl,
      gatewayUrl: platform.gatewayUrl,
      baseDomain: 'localhost',
      pid: process.pid,
    });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
    expect((await stat(join(dataDir, 'logs', 'node.log'))).mode & 0o777).toBe(0o600);
    expect(await (await fetch(platform.gatewayUrl)).text()).toBe(`gateway ${platform.pids()['gateway']}`);
    await platform.close();
    const lines = journal(dataDir);
    expect(lines.slice(0, 2).sort()).toEqual(['control', 'scheduler']);
    expect(lines.slice(2, 6)).toEqual(['node', 'gateway', 'stop gateway', 'stop node']);
    expect(lines.slice(6).sort()).toEqual(['stop control', 'stop scheduler']);
    await expect(stat(file)).rejects.toThrow('ENOENT');
  });

  test('keeps keys and credentials from git in a repository that ignores nothing', async ({ expect }) => {
    await using folder = await tempFolder();
    for (const name of ['.isoplane', 'named']) {
      await using started = await start(join(folder.path, name));
      expect(existsSync(join(started.platform.dataDir, 'platform.json'))).toBe(true);
    }
    expect(await seenByGit(folder.path)).toEqual([]);
  });

  test('refuses a data folder in which folders lie where its files belong, naming all', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const { platform } = await start(folder.path);
    await platform.close();
    for (const name of ['control.db.mark', 'platform.json', 'ballast']) {
      await rm(join(folder.path, name), { force: true });
      await mkdir(join(folder.path, name));
    }
    await writeFile(join(folder.path, 'blobs'), '');
    const refused: unknown = await start(folder.path).catch((thrown: unknown) => thrown);
    expect(refused).toMatchObject({ code: 'file_invalid' });
    const { problems } = refused as { problems: readonly { at: string; message: string }[] };
    expect(problems.map(({ at, message }) => `${at.slice(folder.path.length + 1)} ${message}`)).toEqual([
      'blobs has to be a folder',
      'control.db.mark has to be a file',
      'platform.json has to be a file',
      'ballast has to be a file',
    ]);
  });

  test('restarts a plane that was killed, on the same port', async ({ expect }) => {
    await using folder = await tempFolder();
    await using started = await start(folder.path);
    const { platform } = started;
    const before = platform.pids()['gateway'] ?? 0;
    process.kill(before, 'SIGKILL');
    const answer = await waitFor('the gateway to answer again', async () => {
      const text = await (await fetch(platform.gatewayUrl)).text();
      return text === `gateway ${before}` ? undefined : text;
    });
    expect(answer).toBe(`gateway ${platform.pids()['gateway']}`);
    expect(started.events.some((event) => event.type === 'ended' && event.how === 'SIGKILL')).toBe(true);
  });

  test('replaces a plane that was stopped', async ({ expect }) => {
    await using folder = await tempFolder();
    await using started = await start(folder.path);
    const { platform } = started;
    const before = platform.pids()['gateway'] ?? 0;
    process.kill(before, 'SIGSTOP');
    await waitFor('another gateway', () => ![before, undefined].includes(platform.pids()['gateway']));
    await waitFor('it to answer', async () =>
      (await (await fetch(platform.gatewayUrl)).text()).startsWith('gateway'),
    );
    expect(started.events.filter(({ type }) => type === 'hung')).toMatchObject([{ plane: 'gateway' }]);
  });

  test('goes on without a plane that cannot be restarted, says why, and takes it back when it can', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    await using started = await start(folder.path);
    const script = join(folder.path, 'script-scheduler.json');
    await writeFile(script, '{"fail":"database_corrupt"}');
    process.kill(started.platform.pids()['scheduler'] ?? 0, 'SIGKILL');
    const failed = () =>
      started.events.filter((event) => event.type === 'ended' && event.how.endsWith('[database_corrupt]'));
    await waitFor('it to have failed to start six times', () => failed().length >= 6);
    expect(await (await fetch(started.platform.gatewayUrl)).text()).toContain('gateway');
    await rm(script);
    await waitFor('it to serve again', () =>
      started.events.some(
        ({ type, ...event }) => type === 'ready' && 'restarted' in event && event.restarted,
      ),
    );
  });

  test('fails at once with the code of a plane that cannot start, and leaves nothing behind', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    await writeFile(join(folder.path, 'script-gateway.json'), '{"fail":"port_in_use"}');
    await expect(start(folder.path)).rejects.toMatchObject({ code: 'port_in_use' });
    expect(journal(folder.path)).toContain('stop control');
    await (await lockDataFolder(join(folder.path, 'lock.db'))).release();
    expect(existsSync(layoutOf(folder.path).runDir)).toBe(false);
  });

  test('a second platform on the data folder is refused while the first one runs', async ({ expect }) => {
    await using folder = await tempFolder();
    const first = await start(folder.path);
    await expect(start(folder.path)).rejects.toMatchObject({ code: 'data_folder_in_use' });
    await first.platform.close();
    await using again = await start(folder.path);
    expect(again.platform.gatewayUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  });

  test('a start that hangs is ended by its signal and leaves nothing behind', async ({ expect }) => {
    await using folder = await tempFolder();
    await writeFile(join(folder.path, 'script-node.json'), '{"hang":true}');
    const abort = new AbortController();
    const started = startPlatform({
      dataDir: folder.path,
      gatewayPort: 0,
      controlPort: 0,
      mainOf,
      signal: abort.signal,
    });
    const ended = expect(started).rejects.toMatchObject({ name: 'AbortError' });
    await waitFor('the node to hang', () =>
      Promise.resolve(existsSync(join(folder.path, 'starts.log')) && journal(folder.path).includes('node')),
    );
    abort.abort();
    await ended;
    expect(journal(folder.path)).toEqual(expect.arrayContaining(['stop control', 'stop scheduler']));
    expect(journal(folder.path)).not.toContain('gateway');
    await (await lockDataFolder(join(folder.path, 'lock.db'))).release();
  });

  test('a data folder that cannot be is refused at once', async ({ expect }) => {
    for (const dataDir of ['/proc/isoplane/data', '/etc/passwd', '/etc/passwd/data'])
      await expect(start(dataDir), dataDir).rejects.toMatchObject({
        code: 'folder_unreadable',
        message: expect.stringContaining(dataDir) as unknown,
      });
  });

  test('a folder that others may enter is refused with what to do; an empty one is closed', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    await chmod(folder.path, 0o755);
    await writeFile(join(folder.path, 'something'), '');
    await expect(start(folder.path)).rejects.toMatchObject({
      code: 'folder_not_private',
      message: expect.stringContaining('mode 755') as unknown,
    });
    await rm(join(folder.path, 'something'));
    await using _started = await start(folder.path);
    expect((await stat(folder.path)).mode & 0o777).toBe(0o700);
  });

  test('a start that fails leaves no new folder, and an old one as it was', async ({ expect }) => {
    await using folder = await tempFolder();
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const failing = (dataDir: string) =>
      startPlatform({ dataDir, gatewayPort: port, controlPort: 0, mainOf });
    const fresh = join(folder.path, 'fresh');
    await expect(failing(fresh)).rejects.toMatchObject({ code: 'port_in_use' });
    expect(existsSync(fresh)).toBe(false);
    await mkdir(fresh, { mode: 0o700 });
    await expect(failing(fresh)).rejects.toMatchObject({ code: 'port_in_use' });
    expect(await readdir(fresh)).toEqual([]);
    await writeFile(join(fresh, 'mine'), '');
    await expect(failing(fresh)).rejects.toMatchObject({ code: 'port_in_use' });
    expect(await readdir(fresh)).toContain('mine');
    taken.close();
  });

  test('one port for two planes, and an address of another machine, are refused before anything starts', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    const dataDir = join(folder.path, 'data');
    await expect(
      startPlatform({ dataDir, gatewayPort: port, controlPort: port, mainOf }),
    ).rejects.toMatchObject({ code: 'port_in_use' });
    await expect(
      startPlatform({ dataDir, gatewayPort: port, gatewayHost: '192.0.2.1', controlPort: 0, mainOf }),
    ).rejects.toMatchObject({ code: 'address_unusable' });
    expect(existsSync(dataDir)).toBe(false);
  });
});
