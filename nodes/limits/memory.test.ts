/**
 * Every way to hoard memory ends one process only, as memory_exceeded or with an error that the function
 * itself could catch, and gives everything back. Real workerd processes in the sandbox of this machine.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { exitReportSchema, type ExitReport } from '#shared/contracts/nodes.ts';
import { callSocket, World } from '../testing/world.ts';

const HOGS: Readonly<Record<string, string>> = {
  'the heap, in arrays': 'for (;;) kept.push(new Array(10_000).fill(Math.random()));',
  'the heap, in small objects': 'for (let i = 0; ; i += 1) kept.push({ i, next: { i } });',
  'a map that only grows': 'const map = new Map(); for (let i = 0; ; i += 1) map.set(i, `value ${i}`);',
  'flat strings':
    "for (let i = 0; ; i += 1) kept.push(`${i}`.padEnd(1 << 16, 'x').split('').reverse().join(''));",
  'strings made of strings':
    "let s = 'x'; for (let i = 0; ; i += 1) { s += `${i}`; kept.push(s + i); if (i % 1_000 === 0) s.charCodeAt(0); }",
  closures:
    'const make = (n) => { const big = new Array(100).fill(n); return () => big; }; for (let i = 0; ; i += 1) kept.push(make(i));',
  'ArrayBuffers, all at once':
    'for (;;) { try { kept.push(new Uint8Array(8 << 20).fill(1)); } catch { await scheduler.wait(1); } }',
  'ArrayBuffers, slowly':
    'for (;;) { try { kept.push(new Uint8Array(1 << 20).fill(1)); } catch {} await scheduler.wait(1); }',
  'wasm memory':
    'for (;;) { try { const memory = new WebAssembly.Memory({ initial: 256 }); new Uint8Array(memory.buffer).fill(1); kept.push(memory); } catch {} await scheduler.wait(1); }',
  blobs:
    'for (;;) { try { kept.push(new Blob([new Uint8Array(4 << 20).fill(1)])); } catch {} await scheduler.wait(1); }',
  'streams that nobody reads':
    'for (;;) { try { const { writable } = new TransformStream(undefined, { highWaterMark: 1e9 }, { highWaterMark: 1e9 }); const writer = writable.getWriter(); for (let i = 0; i < 8; i += 1) void writer.write(new Uint8Array(1 << 20).fill(1)).catch(() => 0); kept.push(writer); } catch {} await scheduler.wait(1); }',
  'promises by the million':
    'for (;;) { try { for (let i = 0; i < 100_000; i += 1) kept.push(new Promise(() => {})); } catch {} await scheduler.wait(1); }',
};

let world: World;
beforeAll(async () => {
  world = await World.start({ slots: 2 });
});
afterAll(() => world[Symbol.asyncDispose]());

let number = 0;
const run = (body: string): ReturnType<World['run']> => {
  number += 1;
  return world.run({
    id: `default/hog@${number}`,
    limits: { memoryMb: 64, cpuMs: 60_000, timeoutMs: 60_000 },
    modules: [
      {
        name: 'index.js',
        content: `const kept = []; export default { async fetch(request) { ${body} } };`,
      },
    ],
  });
};
const exitOf = (instanceId: string): Promise<ExitReport> =>
  world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=20000`, exitReportSchema);

/** Bytes that this machine has free, as the kernel counts them. */
const freeBytes = (): number =>
  Number(/MemAvailable:\s+(\d+) kB/.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1]) * 1_024;

describe('memory is hoarded in', () => {
  for (const [name, body] of Object.entries(HOGS))
    test(name, async ({ expect }) => {
      const neighbour = await world.run({
        id: 'default/neighbour@1',
        modules: [
          { name: 'index.js', content: 'export default { fetch() { return new Response("fine"); } };' },
        ],
      });
      const target = await run(body);
      const beforeBytes = freeBytes();
      let leastBytes = beforeBytes;
      const looking = setInterval(() => (leastBytes = Math.min(leastBytes, freeBytes())), 10);
      const call = callSocket(target.path).then(
        ({ status }) => `answered ${status}`,
        () => 'failed',
      );
      const exit = await exitOf(target.instanceId);
      clearInterval(looking);
      expect(exit).toMatchObject({ ended: true, reason: 'memory_exceeded' });
      expect(await call).toBe('failed');
      expect(await callSocket(neighbour.path)).toMatchObject({ text: 'fine' });
      // The other work of the machine is in this figure: it only shows that no hog ran away.
      expect(beforeBytes - leastBytes).toBeLessThan(2 ** 30);
      await world.peer.call(`/v1/instances/${neighbour.instanceId}?graceMs=0`, z.unknown(), {
        method: 'DELETE',
      });
    });
});

test('a string beyond what V8 can hold is an error of the function, not of the process', async ({
  expect,
}) => {
  const { path, instanceId } = await run("return new Response('x'.repeat(2 ** 30));");
  expect(await callSocket(path)).toMatchObject({ status: 500 });
  expect(await world.peer.call(`/v1/instances/${instanceId}/exit`, exitReportSchema)).toEqual({
    ended: false,
  });
});

test('timers are bounded by workerd: one more than it allows is an error', async ({ expect }) => {
  const { path } = await run(`let made = 0;
    try { for (;;) { setTimeout(() => 0, 1e8); made += 1; } } catch (error) { return new Response(error.name + ' ' + made); }`);
  expect((await callSocket(path)).text).toMatch(/^\w+Error \d{4,5}$/);
});

test('bodies of requests that are kept count as memory of the instance', async ({ expect }) => {
  const { path, instanceId } = await run('kept.push(await request.text()); return new Response("kept");');
  const body = 'x'.repeat(8 << 20);
  const exit = exitOf(instanceId);
  let statuses = '';
  for (let sent = 0; sent < 50; sent += 1) {
    const answer = await callSocket(path, { body }).catch(() => undefined);
    statuses += ` ${answer?.status ?? 'failed'}`;
    if (answer === undefined) break;
  }
  expect(statuses).toMatch(/^( 200)+( 500)* failed$/);
  expect(await exit).toMatchObject({ reason: 'memory_exceeded' });
});
