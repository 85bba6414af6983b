/** The agent as a whole: many instances, crashes, restarts, heartbeats. Real workerd. */
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import process from 'node:process';
import { afterEach, test } from 'vitest';
import { z } from 'zod';
import { nodeHeartbeatSchema, nodeStatusSchema, type NodeHeartbeat } from '#shared/contracts/nodes.ts';
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
  await waitFor('the request to be in flight', async () => (await world.entries('busy')).length > 0);
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
