/** Limits on real processes: what breaks one is killed with its own reason, and others do not notice. */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { exitReportSchema, type ExitReport, type OverdueReport } from '#shared/contracts/nodes.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World, type SourceModule } from '../testing/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ slots: 2 });
});
afterAll(() => world[Symbol.asyncDispose]());

const main = (content: string): SourceModule => ({ name: 'index.js', content });
const exitOf = (instanceId: string): Promise<ExitReport> =>
  world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=15000`, exitReportSchema);
const overdue = (instanceId: string, report: OverdueReport): Promise<unknown> =>
  world.peer.call(`/v1/instances/${instanceId}/overdue`, z.unknown(), { method: 'POST', body: report });
const failed = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'answered',
    () => 'failed',
  );
const LOOP = 'export default { fetch() { for (;;) {} } };';

describe('CPU', () => {
  test('an endless loop is found without any report, and another instance keeps answering', async ({
    expect,
  }) => {
    const looping = await world.run({
      id: 'default/loop@1',
      limits: { cpuMs: 200 },
      modules: [main(LOOP)],
    });
    const other = await world.run({
      id: 'default/other@1',
      modules: [main('export default { fetch() { return new Response("fine"); } };')],
    });
    const call = failed(callSocket(looping.path));
    const exit = exitOf(looping.instanceId);
    expect(await callSocket(other.path)).toMatchObject({ text: 'fine' });
    // No gateway reported a request that could be to blame.
    expect(await exit).toEqual({ ended: true, reason: 'cpu_exceeded', blamedRequestId: '' });
    expect(await call).toBe('failed');
    expect(await callSocket(other.path)).toMatchObject({ text: 'fine' });
  });

  test('a report makes the kill quick and names the request', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/loop@2',
      limits: { cpuMs: 100 },
      modules: [main(LOOP)],
    });
    const startedMs = performance.now();
    const call = failed(callSocket(path));
    await waitFor('the budget to pass', () => performance.now() - startedMs > 110);
    await overdue(instanceId, {
      requestId: 'r-loop',
      kind: 'cpu',
      ageMs: performance.now() - startedMs,
      inFlight: 1,
    });
    expect(await exitOf(instanceId)).toEqual({
      ended: true,
      reason: 'cpu_exceeded',
      blamedRequestId: 'r-loop',
    });
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    expect(await call).toBe('failed');
  });

  test('a request that waits is not killed when its budget of wall time passes', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/waits@1',
      limits: { cpuMs: 50 },
      modules: [
        main('export default { async fetch() { await scheduler.wait(500); return new Response("late"); } };'),
      ],
    });
    const call = callSocket(path);
    await overdue(instanceId, { requestId: 'r', kind: 'cpu', ageMs: 60, inFlight: 1 });
    expect(await call).toMatchObject({ text: 'late' });
    expect(await world.peer.call(`/v1/instances/${instanceId}/exit`, exitReportSchema)).toEqual({
      ended: false,
    });
  });
});

describe('wall time', () => {
  test('a request past its timeout that does not yield is killed with reason timeout', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/never@1',
      limits: { cpuMs: 60_000, timeoutMs: 60_000 },
      modules: [main("export default { fetch() { console.log('looping'); for (;;) {} } };")],
    });
    const startedMs = performance.now();
    const call = failed(callSocket(path));
    await waitFor('the loop to run', async () => (await world.logs('never')).includes('looping'));
    const ageMs = performance.now() - startedMs;
    await overdue(instanceId, { requestId: 'r-slow', kind: 'timeout', ageMs, inFlight: 1 });
    expect(await exitOf(instanceId)).toEqual({ ended: true, reason: 'timeout', blamedRequestId: 'r-slow' });
    expect(await call).toBe('failed');
  });

  test('an instance that yields survives the timeout of one request', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/yields@1',
      modules: [
        main(`export default { async fetch(request) {
          if (request.url.endsWith('/wait')) await scheduler.wait(60_000);
          return new Response('alive');
        } };`),
      ],
    });
    const controller = new AbortController();
    const call = failed(callSocket(path, { path: '/wait', signal: controller.signal }));
    await overdue(instanceId, { requestId: 'r', kind: 'timeout', ageMs: 100, inFlight: 1 });
    controller.abort();
    expect(await call).toBe('failed');
    expect(await callSocket(path)).toMatchObject({ text: 'alive' });
  });
});

describe('memory', () => {
  test('a full JavaScript heap ends with memory_exceeded', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/heap@1',
      limits: { memoryMb: 64, cpuMs: 60_000 },
      modules: [
        main(
          'const kept = []; export default { fetch() { for (;;) kept.push(new Array(1000).fill(Math.random())); } };',
        ),
      ],
    });
    const call = failed(callSocket(path));
    expect(await exitOf(instanceId)).toMatchObject({ ended: true, reason: 'memory_exceeded' });
    expect(await call).toBe('failed');
  });

  test('ArrayBuffers that are kept end with memory_exceeded', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/buffers@1',
      limits: { memoryMb: 64, cpuMs: 60_000 },
      modules: [
        main(`const kept = []; export default { async fetch() {
          for (;;) {
            try { kept.push(new Uint8Array(4_000_000).fill(1)); } catch { /* goes on */ }
            await scheduler.wait(1);
          }
        } };`),
      ],
    });
    const call = failed(callSocket(path));
    expect(await exitOf(instanceId)).toMatchObject({ ended: true, reason: 'memory_exceeded' });
    expect(await call).toBe('failed');
  });

  test('a larger limit is real: 300 MB of buffers fit into 512 MB', async ({ expect }) => {
    const { path } = await world.run({
      id: 'default/large@1',
      limits: { memoryMb: 512, cpuMs: 60_000 },
      modules: [
        main(`export default { fetch() {
          const kept = []; for (let i = 0; i < 75; i += 1) kept.push(new Uint8Array(4_000_000).fill(1));
          return new Response(String(kept.length));
        } };`),
      ],
    });
    expect(await callSocket(path)).toMatchObject({ status: 200, text: '75' });
  });
});

describe('crash', () => {
  test('code that crashes its process has a reason of its own', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/crash@1',
      limits: { memoryMb: 4_096, cpuMs: 60_000 },
      modules: [
        main("export default { fetch() { return new Response('x'.repeat(2**28).split('').length); } };"),
      ],
    });
    const call = failed(callSocket(path));
    expect(await exitOf(instanceId)).toMatchObject({ ended: true, reason: 'crashed' });
    expect(await call).toBe('failed');
  });
});
