/** The agent as a whole: many instances, crashes, restarts, blobs, logs, heartbeats. Real workerd. */
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import process from 'node:process';
import { afterEach, describe, test } from 'vitest';
import { z } from 'zod';
import {
  logEntrySchema,
  nodeHeartbeatSchema,
  nodeStatusSchema,
  type LogEntry,
  type NodeHeartbeat,
} from '#shared/contracts/nodes.ts';
import { versionIdSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { closeServer, serveAt } from '#shared/runtime/transport.node.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World, type SourceModule } from '../testing/world.ts';
import { boxFolder } from './parts.ts';

const main = (content: string): SourceModule => ({ name: 'index.js', content });
const HELLO = main('export default { fetch() { return new Response("hello"); } };');

let world: World;
afterEach(() => world[Symbol.asyncDispose]());

/** Processes of slots: their command lines name the box folder (outside bwrap). */
function slotProcesses(box: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(box);
      } catch {
        return false;
      }
    })
    .map(Number);
}

function zombies(): number {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return state === 'Z' && Number(parent) === process.pid;
    } catch {
      return false;
    }
  }).length;
}

/** Groups of slots of this world's agent, in whatever hierarchy the machine has. */
function slotGroups(): string[] {
  const name = `${basename(world.layout.runDir)}-node-1`;
  const found = spawnSync('find', ['/sys/fs/cgroup', '-type', 'd', '-path', `*/${name}/*`], {
    encoding: 'utf8',
  });
  return found.stdout.split('\n').filter((line) => line !== '');
}

async function entries(functionName: string): Promise<LogEntry[]> {
  const text = await world.logs(functionName);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => logEntrySchema.parse(JSON.parse(line)));
}

test('50 starts and stops leave no process, socket, folder or zombie, and the end of the agent no root file system', async ({
  expect,
}) => {
  world = await World.start({ slots: 2 });
  const box = boxFolder(world.layout, 'node-1');
  const id = world.control.publish({ modules: [HELLO] });
  for (let round = 0; round < 10; round += 1) {
    const started = await Promise.all(Array.from({ length: 5 }, () => world.start(id)));
    for (const { path } of started) expect(await callSocket(path)).toMatchObject({ text: 'hello' });
    for (const { instanceId } of started)
      await world.peer.call(`/v1/instances/${instanceId}?graceMs=0`, z.unknown(), { method: 'DELETE' });
  }
  await waitFor('only waiting slots to be left', async () => {
    const status = await world.peer.call('/v1/status', nodeStatusSchema);
    return status.instances === 0 && status.freeSlots === 2 && (await readdir(join(box, 's'))).length === 2;
  });
  await world.stopAgent();
  await expect(readdir(box)).rejects.toThrow('ENOENT');
  await waitFor('the processes to be gone', () => slotProcesses(box).length === 0);
  expect(zombies()).toBe(0);
});

test('an endless loop at the top level is refused by the check, within its wall bound', async ({
  expect,
}) => {
  world = await World.start({ startupMsMax: 400 });
  const runnable = world.control.runnable({ modules: [main('for (;;) {}')] });
  const reply = await world.peer.call('/v1/check', z.unknown(), { method: 'POST', body: { runnable } });
  expect(reply).toMatchObject({ ok: false, message: expect.stringContaining('endless loop') });
  await waitFor(
    'the slot to be replaced',
    async () => (await readdir(join(boxFolder(world.layout, 'node-1'), 's'))).length === 1,
  );
});

test('a node that runs bare says so loudly, and runs', async ({ expect }) => {
  world = await World.start({ sandbox: 'off', slots: 0 });
  expect(world.lines.find((line) => line.event === 'sandbox_incomplete')).toMatchObject({ level: 'error' });
  const { path } = await world.run({ modules: [HELLO] });
  expect(await callSocket(path)).toMatchObject({ text: 'hello' });
});

test('the capacity is a bound, and one more start is told to come later', async ({ expect }) => {
  world = await World.start({ slots: 0, capacity: 1 });
  const id = world.control.publish({ modules: [HELLO] });
  await world.start(id);
  await expect(world.start(id)).rejects.toMatchObject({ code: 'no_capacity', retryAfterMs: 1_000 });
});

test('a start that would take the last memory is told to come later', async ({ expect }) => {
  world = await World.start({ slots: 0, memoryReserveBytes: 2 ** 50 });
  await expect(world.run({ modules: [HELLO] })).rejects.toMatchObject({
    code: 'no_capacity',
    retryAfterMs: 1_000,
  });
});

test('kill -9 of the agent leaves no orphan, and the next agent cleans up', async ({ expect }) => {
  world = await World.start();
  await world.stopAgent();
  const box = boxFolder(world.layout, 'node-1');
  const id = world.control.publish({ modules: [HELLO] });
  const child = spawn(process.execPath, [join(import.meta.dirname, '..', 'main.ts')], {
    env: {
      ISOPLANE_DATA_DIR: world.layout.dataDir,
      ISOPLANE_SLOTS: '1',
      ISOPLANE_SLOTS_MAX: '1',
      PATH: process.env['PATH'],
      TMPDIR: process.env['TMPDIR'],
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  try {
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
    await waitFor('the agent to be ready', () => said.includes('"event":"ready"'));
    const { path } = await world.start(id);
    expect(await callSocket(path)).toMatchObject({ text: 'hello' });
    // One that is just coming up would be the next agent's to find (sandbox/orphans.test.ts): bwrap's child
    // does not die with it from its first moment on. Both being up, there are two bwraps and no such child.
    await waitFor('the instance and the next slot to be up', async () => {
      const { freeSlots } = await world.peer.call('/v1/status', nodeStatusSchema);
      return freeSlots === 1 && slotProcesses(box).length === 2;
    });
    child.kill('SIGKILL');
    await waitFor('the slots to die with the agent', () => slotProcesses(box).length === 0);
    // bwrap is seen to be gone a moment before the kernel has taken what was inside.
    await waitFor('nobody to listen on the socket', () =>
      callSocket(path).then(
        () => false,
        (error: Error) => error.message.includes('ECONNREFUSED'),
      ),
    );
  } finally {
    child.kill('SIGKILL');
  }
  expect((await readdir(join(box, 's'))).length).toBeGreaterThan(0);
  // Control is gone too: the version and its code come from this node's disk.
  await world.control.close();
  await world.startAgent({ slots: 0 });
  expect(await readdir(join(box, 's'))).toEqual([]);
  expect(slotGroups(), 'the groups of the dead slots').toEqual([]);
  const { path, instanceId } = await world.start(id);
  expect(await callSocket(path)).toMatchObject({ text: 'hello' });
  await world.peer.call(`/v1/instances/${instanceId}?graceMs=0`, z.unknown(), { method: 'DELETE' });
  await waitFor('its group to be gone', () => slotGroups().length === 0);
});

test('an agent that closes says whom it evicted, and the next begins with an empty list', async ({
  expect,
}) => {
  world = await World.start();
  const beats: NodeHeartbeat[] = [];
  const scheduler = await serveAt(world.layout.sockets.scheduler, async (request) => {
    beats.push(nodeHeartbeatSchema.parse(await request.json()));
    return Response.json({ stop: [] });
  });
  const quiet = await world.run({ modules: [HELLO] });
  const busy = await world.run({
    id: 'default/busy@1',
    modules: [
      main(
        'export default { async fetch() { console.log("begun"); await scheduler.wait(60_000); return new Response(); } };',
      ),
    ],
  });
  const answer = callSocket(busy.path).catch(() => 'lost');
  await waitFor('the request to be in flight', async () => (await entries('busy')).length > 0);
  await world.stopAgent();
  expect(await answer).toBe('lost');
  const reasons = new Map(beats.flatMap(({ exits }) => exits.map((exit) => [exit.instanceId, exit.reason])));
  expect(Object.fromEntries(reasons)).toEqual({
    [quiet.instanceId]: 'stopped',
    [busy.instanceId]: 'evicted',
  });
  expect(beats.at(-1)).toMatchObject({ draining: true, instances: [] });
  beats.length = 0;
  await world.startAgent();
  await waitFor('a heartbeat of the next agent', () => beats.length > 0);
  expect(beats[0]).toMatchObject({ draining: false, instances: [], exits: [] });
  await closeServer(scheduler, 0);
});

test('an instance of a restarted agent never has the socket of an earlier one', async ({ expect }) => {
  world = await World.start({ slots: 1 });
  const id = world.control.publish({ modules: [HELLO] });
  const before = await world.start(id);
  await world.stopAgent();
  await world.startAgent({ slots: 1 });
  const after = await world.start(id);
  expect(after.path).not.toBe(before.path);
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
      const found = await entries('flood');
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
      const found = await entries('huge');
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
    expect(await entries('talk')).toMatchObject([{ message: 'http://hello.localhost/one' }]);
    const second = await world.start(id);
    await callSocket(second.path, { path: '/two' });
    await waitFor('both lines', async () => (await entries('talk')).length === 2);
  });
});

test('the scheduler hears of an end at once, and again until it has answered', async ({ expect }) => {
  world = await World.start();
  const beats: NodeHeartbeat[] = [];
  const { instanceId, path } = await world.run({ modules: [HELLO] });
  await world.peer.call(`/v1/instances/${instanceId}?graceMs=0`, z.unknown(), { method: 'DELETE' });
  await waitFor('the instance to be gone', () =>
    callSocket(path).then(
      () => false,
      () => true,
    ),
  );
  let refuse = true;
  let stop: string[] = [];
  const scheduler = await serveAt(world.layout.sockets.scheduler, async (request) => {
    beats.push(nodeHeartbeatSchema.parse(await request.json()));
    if (refuse) return new Response('{}', { status: 500 });
    return Response.json({ stop });
  });
  const exit = { instanceId, versionId: 'default/hello@1', reason: 'stopped' };
  await waitFor('two heartbeats', () => beats.length >= 2);
  expect(beats[0]?.exits).toEqual([exit]);
  expect(beats[1]?.exits).toEqual([exit]);
  refuse = false;
  await waitFor('a heartbeat without the exit', () => beats.at(-1)?.exits.length === 0);
  // Instances that the scheduler does not know are stopped on its word.
  const unwanted = await world.run({ modules: [HELLO] });
  stop = [unwanted.instanceId];
  await waitFor('the unwanted instance to be reported', () =>
    beats.some((beat) => beat.exits.some((entry) => entry.instanceId === unwanted.instanceId)),
  );
  await closeServer(scheduler, 0);
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

const status = () => world.peer.call('/v1/status', nodeStatusSchema);

/** Of the version that was published second to the empty feed. */
const codeIsHere = () =>
  waitFor('the code to be here', async () => {
    const { codeMissing, feedRevision } = await status();
    return codeMissing === 0 && feedRevision === 2;
  });
