/**
 * Every way to burn CPU ends as cpu_exceeded with the request that did it named, on a real workerd. The test
 * reports as a gateway does: at 20 ms without an answer, at the budget, and again while it is over.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { exitReportSchema, type ExitReport } from '#shared/contracts/nodes.ts';
import { machineMs } from '#shared/runtime/machine-clock.node.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World, type SourceModule } from '../testing/world.ts';

const CPU_MS = 150;
const LOOPS: Readonly<Record<string, string>> = {
  'an empty loop': 'for (;;) {}',
  'a loop that catches everything': 'for (;;) { try { for (;;) {} } catch {} finally { continue; } }',
  'a getter': 'const o = { get x() { for (;;) {} } }; return new Response(o.x);',
  'a regular expression': "return new Response(/^(a+)+$/.test('a'.repeat(60) + 'b'));",
  'a chain of microtasks': 'const next = () => Promise.resolve().then(next); await next();',
  'an async loop that awaits nothing': 'for (;;) await undefined;',
  'a wasm loop': 'new WebAssembly.Instance(wasm, {}).exports.loop();',
  'JSON.parse of a huge string':
    "const text = '[' + '[1],'.repeat(2e6) + '1]'; for (;;) globalThis.kept = JSON.parse(text).length;",
  'a sort whose comparator never agrees':
    'for (;;) new Array(1e6).fill(0).map(Math.random).sort(() => Math.random() - 0.5);',
  'a chain of timers that yields':
    'await new Promise(() => { const tick = () => { const end = Date.now() + 5; while (Date.now() < end); setTimeout(tick, 0); }; tick(); });',
  'an async loop that yields each time':
    'for (;;) { const end = Date.now() + 5; while (Date.now() < end); await scheduler.wait(0); }',
};
/** (module (func (export "loop") (loop br 0))) */
const WASM = Uint8Array.from([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 8, 1, 4, 108, 111, 111, 112, 0, 0, 10, 9, 1,
  7, 0, 3, 64, 12, 0, 11, 11,
]);

let world: World;
beforeAll(async () => {
  world = await World.start({ slots: 2 });
});
afterAll(() => world[Symbol.asyncDispose]());

let number = 0;
function run(body: string): Promise<{ readonly instanceId: string; readonly path: string }> {
  number += 1;
  const modules: SourceModule[] = [
    {
      name: 'index.js',
      content: `import wasm from './loop.wasm';
        export default { async fetch(request, env, ctx) {
          if (request.url.endsWith('/wait')) { await scheduler.wait(60_000); return new Response('late'); }
          ${body}
        } };`,
    },
    { name: 'loop.wasm', type: 'wasm', content: WASM },
  ];
  return world.run({ id: `default/loop@${number}`, limits: { cpuMs: CPU_MS, memoryMb: 256 }, modules });
}

/** One request as a gateway sends it, with its reports. */
async function callAndReport(
  target: { readonly instanceId: string; readonly path: string },
  requestId: string,
  options: { readonly path?: string; readonly inFlight?: number } = {},
): Promise<'answered' | 'failed'> {
  const startedMs = performance.now();
  const ageMs = (): number => performance.now() - startedMs;
  const over = new AbortController();
  const report = async (): Promise<void> => {
    await waitFor('some time to pass', () => ageMs() >= 20);
    if (over.signal.aborted) return;
    await post('/v1/slow', {
      instances: [{ instanceId: target.instanceId, ageMs: ageMs() }],
      sentAtMs: machineMs(),
    });
    for (let atMs = CPU_MS; !over.signal.aborted; atMs += 50) {
      await waitFor('the next report', () => over.signal.aborted || ageMs() >= atMs);
      if (over.signal.aborted) return;
      const body = {
        requestId,
        kind: 'cpu',
        ageMs: ageMs(),
        inFlight: options.inFlight ?? 1,
        sentAtMs: machineMs(),
      };
      await post(`/v1/instances/${target.instanceId}/overdue`, body);
    }
  };
  const reporting = report();
  const answer = await callSocket(target.path, options.path === undefined ? {} : { path: options.path }).then(
    () => 'answered' as const,
    () => 'failed' as const,
  );
  over.abort();
  await reporting;
  return answer;
}

const post = (path: string, body: object): Promise<unknown> =>
  world.peer.call(path, z.unknown(), { method: 'POST', body });
const exitOf = (instanceId: string): Promise<ExitReport> =>
  world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=15000`, exitReportSchema);

describe('CPU is burnt by', () => {
  for (const [name, body] of Object.entries(LOOPS))
    test(name, async ({ expect }) => {
      const target = await run(body);
      const call = callAndReport(target, 'guilty');
      expect(await exitOf(target.instanceId)).toEqual({
        ended: true,
        reason: 'cpu_exceeded',
        blamedRequestId: 'guilty',
      });
      expect(await call).toBe('failed');
    });

  test('a loop at the top level, which never gets a request', async ({ expect }) => {
    const version = world.control.publish({
      id: 'default/top@1',
      modules: [{ name: 'index.js', content: 'for (;;) {}' }],
    });
    await world.stopAgent();
    await world.startAgent({ startupMsMax: 400 });
    await expect(world.start(version)).rejects.toMatchObject({ code: 'startup_failed' });
    // Others may take longer to start.
    await world.stopAgent();
    await world.startAgent({ slots: 2 });
  });

  test('work that goes on after the response', async ({ expect }) => {
    const target = await run(
      'ctx.waitUntil(scheduler.wait(10).then(() => { for (;;) {} })); return new Response("answered");',
    );
    expect(await callSocket(target.path)).toMatchObject({ text: 'answered' });
    expect(await exitOf(target.instanceId)).toMatchObject({ reason: 'cpu_exceeded', blamedRequestId: '' });
  });
});

test('of several requests in flight, the one that loops is blamed', async ({ expect }) => {
  const target = await run('for (;;) {}');
  const waiting = [1, 2, 3].map((index) =>
    callAndReport(target, `waits-${index}`, { path: '/wait', inFlight: 4 }),
  );
  await waitFor('the others to wait', async () => {
    await world.peer.call(`/v1/instances/${target.instanceId}/exit`, exitReportSchema);
    return true;
  });
  const passedMs = performance.now() + 2 * CPU_MS;
  await waitFor('the others to be reported', () => performance.now() > passedMs);
  const guilty = callAndReport(target, 'guilty', { inFlight: 4 });
  await waitFor('the loop to run', () => performance.now() > passedMs + 50);
  const late = callAndReport(target, 'late', { inFlight: 5 });
  expect(await exitOf(target.instanceId)).toMatchObject({ blamedRequestId: 'guilty' });
  expect(await Promise.all([...waiting, guilty, late])).toEqual(Array.from({ length: 5 }, () => 'failed'));
});
