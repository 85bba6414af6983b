/** Lifecycle hooks of real instances: when they run, what their failures are, and who cannot call them. */
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { exitReportSchema, startReplySchema, type LogEntry } from '#shared/contracts/nodes.ts';
import { functionConfigSchema } from '#shared/contracts/config.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World, type SourceModule } from '../testing/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ slots: 2 });
});
afterAll(() => world[Symbol.asyncDispose]());

const main = (content: string): SourceModule => ({ name: 'index.js', content });
const SERVE = 'export default { fetch() { return new Response(globalThis.ready ?? "not ready"); } };';
const init = { init: { timeoutMs: 2_000 } };
const preStop = { preStop: { timeoutMs: 2_000 } };

const stop = (instanceId: string, graceMs: number): Promise<unknown> =>
  world.peer.call(`/v1/instances/${instanceId}?graceMs=${graceMs}`, z.unknown(), { method: 'DELETE' });
const exitOf = (instanceId: string): Promise<unknown> =>
  world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=10000`, exitReportSchema);

const logged = (functionName: string, message: string): Promise<LogEntry> =>
  waitFor(`"${message}" in the log`, async () =>
    (await world.entries(functionName)).find((entry) => entry.message.includes(message)),
  );

describe('init', () => {
  test('runs with the variables before the start is answered, and its console is collected', async ({
    expect,
  }) => {
    const { path } = await world.run({
      id: 'default/init@1',
      vars: { WHO: 'you' },
      hooks: init,
      modules: [
        main(
          `export async function init(env) { await scheduler.wait(50); console.log('in init'); globalThis.ready = env.WHO; } ${SERVE}`,
        ),
      ],
    });
    expect(await callSocket(path)).toMatchObject({ text: 'you' });
    expect(await logged('init', 'in init')).not.toHaveProperty('requestId');
  });

  test('holds up no other start while it waits, however many wait', async ({ expect }) => {
    const waiting = world.control.publish({
      id: 'default/init-waits@1',
      hooks: { init: { timeoutMs: 60_000 } },
      modules: [
        main(`export async function init() { console.log('waits'); await scheduler.wait(50_000); } ${SERVE}`),
      ],
    });
    const ids = Array.from({ length: 2 * availableParallelism() + 4 }, (_, index) => `waits-${index}`);
    const starts = ids.map((instanceId) =>
      world.peer
        .call('/v1/instances', startReplySchema, { method: 'POST', body: { instanceId, versionId: waiting } })
        .then(
          () => 'started',
          () => 'stopped',
        ),
    );
    await waitFor(
      'all to wait',
      async () =>
        (await world.entries('init-waits')).filter(({ message }) => message === 'waits').length ===
        ids.length,
    );
    const { path } = await world.run({ id: 'default/beside@1', modules: [main(SERVE)] });
    expect(await callSocket(path)).toMatchObject({ text: 'not ready' });
    for (const id of ids) await stop(id, 0);
    expect(new Set(await Promise.all(starts))).toEqual(new Set(['stopped']));
  });

  test('works for event functions, and from CommonJS', async ({ expect }) => {
    const { path } = await world.run({
      id: 'default/init-event@1',
      style: 'event',
      hooks: init,
      modules: [
        {
          name: 'index.cjs',
          type: 'commonjs',
          content:
            'let ready = 0; exports.init = () => { ready += 1; }; exports.handler = () => ({ ready });',
        },
      ],
    });
    expect(JSON.parse((await callSocket(path, { body: '1' })).text)).toEqual({ ready: 1 });
  });

  test('one that throws fails the start with message and stack, and is logged', async ({ expect }) => {
    const start = world.run({
      id: 'default/init-throws@1',
      hooks: init,
      modules: [main(`export function init() { throw new RangeError('no database'); } ${SERVE}`)],
    });
    await expect(start).rejects.toMatchObject({
      code: 'startup_failed',
      extensions: {
        reason: '`init` threw RangeError: no database',
        stack: expect.stringContaining('index.js:1'),
      },
    });
    expect((await logged('init-throws', 'no database')).stack).toContain('index.js:1');
  });

  test.for([
    ['never settles', 'export function init() { return new Promise(() => setInterval(() => {}, 50)); }'],
    ['loops', 'export function init() { for (;;) {} }'],
  ] as const)('one that %s is stopped at its timeout', async ([, hook], { expect }) => {
    const start = world.run({
      id: 'default/init-late@1',
      hooks: { init: { timeoutMs: 200 } },
      modules: [main(`${hook} ${SERVE}`)],
    });
    await expect(start).rejects.toMatchObject({
      code: 'startup_failed',
      extensions: { reason: '`init` did not finish within 200 ms' },
    });
  });

  test('one that fills the memory is told as that', async ({ expect }) => {
    const start = world.run({
      id: 'default/init-hog@1',
      hooks: { init: { timeoutMs: 20_000 } },
      limits: { memoryMb: 32 },
      modules: [
        main(
          `const all = []; export function init() { for (;;) all.push(new Array(1e5).fill({})); } ${SERVE}`,
        ),
      ],
    });
    await expect(start).rejects.toMatchObject({ code: 'memory_exceeded' });
  });

  test('a hook that is configured and not exported is refused by the check', async ({ expect }) => {
    const runnable = world.control.runnable({
      id: 'default/init-none@1',
      hooks: { ...init, ...preStop },
      modules: [main(`export const init = () => {}; ${SERVE}`)],
    });
    const reply = await world.peer.call('/v1/check', z.unknown(), { method: 'POST', body: { runnable } });
    expect(reply).toMatchObject({ ok: false, message: expect.stringContaining('no `preStop` function') });
  });

  test('the check does not run it: what it would reach is not there yet', async ({ expect }) => {
    const runnable = world.control.runnable({
      id: 'default/init-trial@1',
      hooks: init,
      modules: [main(`export const init = () => { throw new Error('ran'); }; ${SERVE}`)],
    });
    const reply = await world.peer.call('/v1/check', z.unknown(), { method: 'POST', body: { runnable } });
    expect(reply).toMatchObject({ ok: true });
  });

  test('no request of a caller reaches a hook', async ({ expect }) => {
    const { path } = await world.run({
      id: 'default/init-closed@1',
      hooks: init,
      modules: [
        main(
          `let runs = 0; export const init = () => { runs += 1; }; export default { fetch() { return new Response(String(runs)); } };`,
        ),
      ],
    });
    for (const target of ['/init', '/preStop'])
      expect(
        await callSocket(path, { method: 'POST', path: target, headers: { host: 'events' } }),
      ).toMatchObject({
        text: '1',
      });
  });

  test('nor does whoever has the socket, or the class behind it, and not its address', async ({ expect }) => {
    const { path } = await world.run({
      id: 'default/init-address@1',
      hooks: init,
      compatibilityFlags: ['enable_ctx_exports'],
      modules: [
        main(
          `let runs = 0; export const init = () => { runs += 1; };
           const body = JSON.stringify({ kind: 'hook', name: 'init' });
           export default { async fetch(request, env, ctx) {
             const told = [];
             const { parse } = JSON;
             JSON.parse = (text) => { told.push(text); return parse(text); };
             for (const address of ['http://events/', 'http://events/init', 'http://events/undefined', 'http://x/init'])
               told.push((await ctx.exports.IsoplaneEvents.fetch(address, { method: 'POST', body })).status);
             return Response.json({ told, runs });
           } };`,
        ),
      ],
    });
    const socket = path.replace(/w\.sock$/, 'v.sock');
    const body = JSON.stringify({ kind: 'hook', name: 'init' });
    for (const target of ['/', '/init', `/${'0'.repeat(32)}`])
      expect(await callSocket(socket, { path: target, body, headers: { host: 'events' } })).toMatchObject({
        status: 404,
      });
    expect(JSON.parse((await callSocket(path)).text)).toEqual({ told: [404, 404, 404, 404], runs: 1 });
  });

  test('one whose failure says more than an outcome may is said to have failed', async ({ expect }) => {
    const start = (length: number): Promise<unknown> =>
      world.run({
        id: `default/init-words-${length}@1`,
        hooks: init,
        modules: [
          main(
            `export function init() { const error = new Error('x'.repeat(${length})); error.stack = ''; throw error; } ${SERVE}`,
          ),
        ],
      });
    await expect(start(60_000)).rejects.toMatchObject({
      extensions: { reason: expect.stringMatching(/^`init` threw Error: x{60000}$/) },
    });
    await expect(start(70_000)).rejects.toMatchObject({ extensions: { reason: '`init` failed' } });
  });

  test('the class behind the hooks cannot be named as an entrypoint', ({ expect }) => {
    const config = { compatibilityDate: '2026-11-01', entrypoints: ['IsoplaneEvents'] };
    expect(functionConfigSchema.safeParse(config).error?.issues[0]?.message).toContain("the platform's own");
  });
});

describe('preStop', () => {
  const leave = `export async function preStop(env) { await scheduler.wait(50); console.log('leaving ' + env.WHO); }`;

  test('runs once before a graceful stop, while requests in flight go on', async ({ expect }) => {
    const { instanceId, path } = await world.run({
      id: 'default/leave@1',
      vars: { WHO: 'now' },
      hooks: preStop,
      modules: [
        main(
          `${leave} export default { async fetch() { console.log('begun'); await scheduler.wait(300); return new Response('done'); } };`,
        ),
      ],
    });
    const answer = callSocket(path);
    await logged('leave', 'begun');
    await stop(instanceId, 5_000);
    await stop(instanceId, 4_000);
    expect(await answer).toMatchObject({ text: 'done' });
    expect(await exitOf(instanceId)).toEqual({ ended: true, reason: 'stopped' });
    const lines = (await world.entries('leave')).filter((entry) => entry.message === 'leaving now');
    expect(lines.length).toBe(1);
  });

  test('one that fails or is late is told in the log and holds up nothing', async ({ expect }) => {
    const { instanceId } = await world.run({
      id: 'default/leave-late@1',
      hooks: { preStop: { timeoutMs: 100 } },
      modules: [main(`export const preStop = () => scheduler.wait(60_000); ${SERVE}`)],
    });
    await stop(instanceId, 500);
    await exitOf(instanceId);
    expect(await logged('leave-late', 'did not finish within 100 ms')).toMatchObject({ kind: 'platform' });
  });

  test('without a grace there is no hook', async ({ expect }) => {
    const { instanceId } = await world.run({
      id: 'default/leave-now@1',
      vars: { WHO: 'never' },
      hooks: preStop,
      modules: [main(`${leave} ${SERVE}`)],
    });
    await stop(instanceId, 0);
    expect(await exitOf(instanceId)).toEqual({ ended: true, reason: 'stopped' });
    expect((await world.entries('leave-now')).filter((entry) => entry.message.includes('leaving'))).toEqual(
      [],
    );
  });
});
