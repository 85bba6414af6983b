/** The sockets of an instance come with it, outlive the thread that serves them, and go with it. */
import { lstat, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import type { FeedItem, Runnable } from '#shared/contracts/feed.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { callSocket } from '../testing/world.ts';
import { AttachmentHost, type BindingHostOptions } from './host.ts';
import type { AttachmentKind } from './kind.ts';

const fragile: AttachmentKind = {
  name: 'fragile',
  thread: new URL('./testing/fragile.ts', import.meta.url),
  data: undefined,
  bound: {
    declare: () => {
      throw new Error('no workerd is asked here');
    },
    target: ({ id }) => id,
  },
  unavailable: 'kv_unavailable',
  stateOf: (item) => (item.kind === 'route' ? { key: item.key, value: 'routed' } : undefined),
};

const runnable = {
  bindings: [
    { kind: 'another', name: 'A', id: 'none', terms: {} },
    { kind: 'fragile', name: 'B', id: 'one', terms: {} },
  ],
} as unknown as Runnable;
const route = { kind: 'route', key: 'r1', value: null } as FeedItem;

async function setUp(folder: string, options: Partial<BindingHostOptions> = {}) {
  const log = memoryLog();
  const host = new AttachmentHost({
    kinds: [fragile],
    log,
    clock: systemClock,
    timers: systemTimers,
    ...options,
  });
  const slot = join(folder, 'slot');
  await mkdir(slot, { mode: 0o700 });
  const refused: string[] = [];
  const attach = (instanceId: string): Promise<void> =>
    host.attach({
      instanceId,
      folder: slot,
      owner: undefined,
      runnable,
      refused: (message) => refused.push(message),
    });
  const ask = async (path = '/'): Promise<unknown> =>
    JSON.parse((await callSocket(join(slot, 'b1.sock'), { path })).text);
  return { host, log, slot, attach, ask, refused };
}

describe('AttachmentHost', () => {
  test('gives each binding a socket that stands for the instance, with the state of the feed', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const { host, slot, attach, ask } = await setUp(folder.path);
    host.apply([route]);
    await attach('i1');
    expect(await ask()).toEqual({ instanceId: 'i1', target: 'one', known: { r1: 'routed' } });
    expect((await lstat(join(slot, 'b1.sock'))).isSocket()).toBe(true);
    expect(await host.ask('fragile', 7)).toEqual({ question: 7 });
    await host.close();
  });

  test('serves the same sockets again after the thread has died', async ({ expect }) => {
    await using folder = await tempFolder();
    const { host, log, attach, ask } = await setUp(folder.path);
    await attach('i1');
    host.apply([route]);
    await expect(ask('/die')).rejects.toThrow();
    const answer = await waitFor('the thread to be back', () => ask());
    expect(answer).toEqual({ instanceId: 'i1', target: 'one', known: { r1: 'routed' } });
    expect(log.lines.map(({ event }) => event)).toContain('attachment_thread_ended');
    await host.close();
  });

  test('asks the thread as many questions at once as it may, and refuses one more with the word of its kind', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const { host } = await setUp(folder.path);
    const asked = Array.from({ length: 256 }, (_, index) => host.ask('fragile', index));
    await expect(host.ask('fragile', 256)).rejects.toMatchObject({ code: 'kv_unavailable' });
    expect(await Promise.all(asked)).toHaveLength(256);
    expect(await host.ask('fragile', 256)).toEqual({ question: 256 });
    await host.close();
    await expect(host.ask('fragile', 0)).rejects.toMatchObject({ code: 'kv_unavailable' });
    await expect(host.ask('unheard-of', 0)).rejects.toMatchObject({ code: 'bad_request' });
  });

  test('closes the sockets when the instance is gone', async () => {
    await using folder = await tempFolder();
    const { host, attach, ask } = await setUp(folder.path);
    await attach('i1');
    await ask();
    host.detach('i1');
    host.detach('i1');
    await waitFor('the socket to be closed', () =>
      ask().then(
        () => false,
        () => true,
      ),
    );
    await host.close();
  });

  test('replaces what lies in the way and follows no link', async ({ expect }) => {
    await using folder = await tempFolder();
    const { host, slot, attach, ask } = await setUp(folder.path);
    const precious = join(folder.path, 'precious');
    await writeFile(precious, 'kept');
    await symlink(precious, join(slot, 'b1.sock'));
    await attach('i1');
    expect(await ask()).toMatchObject({ instanceId: 'i1' });
    expect((await lstat(precious)).isFile()).toBe(true);
    await host.close();
  });

  test('makes sockets that are for their user alone', async ({ expect }) => {
    await using folder = await tempFolder();
    const { host, slot, attach } = await setUp(folder.path);
    await attach('i1');
    expect((await lstat(join(slot, 'b1.sock'))).mode & 0o777).toBe(0o600);
    await host.close();
  });

  test('gives its threads nothing of the agent: no environment, no flags, a heap with a bound', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const { host, attach, ask } = await setUp(folder.path);
    await attach('i1');
    expect(await ask('/given')).toMatchObject({
      env: {},
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: 512 },
    });
    await host.close();
  });

  test('tells what was refused to whoever attached the instance, as long as it is there', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const { host, attach, ask, refused } = await setUp(folder.path);
    await attach('i1');
    await ask('/refuse/no');
    await waitFor('the refusal', () => refused.length === 1);
    expect(refused).toEqual(['no']);
    await host.close();
  });

  test('keeps the usage of as many functions as it says, those that were counted last', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const { host, attach, ask } = await setUp(folder.path, { usageFunctionsMax: 2 });
    await attach('i1');
    for (const name of ['a', 'b', 'b', 'c']) await ask(`/use/${name}`);
    await host.close();
    const used = [...host.takeUsage()];
    expect(used.map((entry) => [entry.function, entry.amounts.egressRequests])).toEqual([
      ['b', 2],
      ['c', 1],
    ]);
    expect([...host.takeUsage()]).toEqual([]);
  });

  test('says so when a socket cannot be made', async ({ expect }) => {
    await using folder = await tempFolder();
    const { host } = await setUp(folder.path);
    const missing = {
      instanceId: 'i1',
      folder: join(folder.path, 'missing'),
      owner: undefined,
      runnable,
      refused: () => undefined,
    };
    await expect(host.attach(missing)).rejects.toThrow(/do not listen/);
    await host.close();
  });
});
