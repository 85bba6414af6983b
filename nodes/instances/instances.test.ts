/** The agent from the outside: versions arrive by the feed, instances answer on their sockets. Real workerd. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { waitFor } from '#shared/testing/fakes.ts';
import { sampleProcess } from '../sandbox/proc.ts';
import { callSocket, World, type SourceModule } from '../testing/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world[Symbol.asyncDispose]());

function descendantsOf(pid: number): readonly number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)))
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // It ended while it was looked at.
    }
  const found: number[] = [];
  const walk = (of: number): void => {
    for (const [child, parent] of parents)
      if (parent === of) {
        found.push(child);
        walk(child);
      }
  };
  walk(pid);
  return found;
}

const main = (content: string): SourceModule => ({ name: 'index.js', content });

describe('module style', () => {
  test('an instance starts from a version of the feed and answers on its socket', async ({ expect }) => {
    const { path, startMs } = await world.run({
      modules: [main('export default { fetch() { return new Response("hello"); } };')],
    });
    expect(await callSocket(path)).toMatchObject({ status: 200, text: 'hello' });
    expect(startMs).toBeGreaterThan(0);
  });

  test('a class entrypoint serves, and its fields and named exports work', async ({ expect }) => {
    const { path } = await world.run({
      id: 'default/classy@1',
      vars: { WHO: 'class' },
      modules: [
        main(`import { WorkerEntrypoint } from 'cloudflare:workers';
              export class Named extends WorkerEntrypoint { hi() { return 1; } }
              export default class extends WorkerEntrypoint {
                async fetch(request) { return new Response(this.env.WHO + new URL(request.url).pathname); }
              }`),
      ],
    });
    expect(await callSocket(path, { path: '/x' })).toMatchObject({ status: 200, text: 'class/x' });
  });

  test('every module type, relative imports, layers under /opt and variables reach the code', async ({
    expect,
  }) => {
    // (module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
    const wasm = Uint8Array.from(
      Buffer.from(
        '0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b',
        'hex',
      ),
    );
    const { path } = await world.run({
      id: 'default/modules@1',
      vars: { GREETING: 'hi', LIST: [1, { a: 2 }] },
      modules: [
        {
          name: 'src/index.js',
          content: `import { util } from './lib/util.js';
            import text from '../t.txt'; import data from '../d.bin'; import json from '../j.json';
            import wasm from '../add.wasm'; import cjs from '../c.cjs'; import layer from '/opt/greet.js';
            export default { fetch(request, env) {
              const { exports } = new WebAssembly.Instance(wasm);
              return Response.json({ util, text, data: new Uint8Array(data).length, json, add: exports.add(2, 3), cjs: cjs.n, layer, env });
            } };`,
        },
        { name: 'src/lib/util.js', content: 'export const util = "u";' },
        { name: 't.txt', type: 'text', content: 'täxt' },
        { name: 'd.bin', type: 'data', content: new Uint8Array(300) },
        { name: 'j.json', type: 'json', content: '{"k":[1]}' },
        { name: 'add.wasm', type: 'wasm', content: wasm },
        { name: 'c.cjs', type: 'commonjs', content: 'module.exports = { n: 7 };' },
        { name: 'opt/greet.js', content: 'import base from "./base.js"; export default "layer " + base;' },
        { name: 'opt/base.js', content: 'export default "base";' },
      ],
    });
    const { text } = await callSocket(path);
    expect(JSON.parse(text)).toEqual({
      util: 'u',
      text: 'täxt',
      data: 300,
      json: { k: [1] },
      add: 5,
      cjs: 7,
      layer: 'layer base',
      env: { GREETING: 'hi', LIST: [1, { a: 2 }] },
    });
  });

  test('an exception is answered 500 with the outcome header and logged with its stack and request id', async ({
    expect,
  }) => {
    const { path } = await world.run({
      id: 'default/thrower@1',
      modules: [
        main(
          `export default { async fetch() { console.log('before', { a: 1 }, [2]); throw new Error('boom', { cause: new TypeError('why') }); } };`,
        ),
      ],
    });
    const answer = await callSocket(path, { headers: { 'isoplane-request-id': 'req-1' } });
    expect(answer).toMatchObject({
      status: 500,
      text: '',
      headers: { 'isoplane-outcome': 'function_error' },
    });
    const logs = await world.entries('thrower', 2);
    expect(logs[0]).toMatchObject({
      kind: 'console',
      level: 'log',
      message: 'before { a: 1 } [ 2 ]',
      requestId: 'req-1',
    });
    expect(logs[1]).toMatchObject({
      kind: 'exception',
      level: 'error',
      message: 'Error: boom',
      requestId: 'req-1',
    });
    expect(logs[1]?.stack).toMatch(
      /^Error: boom\n\s+at Object\.fetch \(index\.js:1:\d+\)[\s\S]*Caused by: TypeError: why/,
    );
  });

  test('request.cf is undefined, and there is no network', async ({ expect }) => {
    const { path } = await world.run({
      id: 'default/closed@1',
      modules: [
        main(`export default { async fetch(request) {
          const fetched = await fetch('http://127.0.0.1:1/').then((r) => r.status, (e) => 'refused');
          return Response.json({ cf: request.cf ?? null, fetched });
        } };`),
      ],
    });
    expect(JSON.parse((await callSocket(path)).text)).toEqual({ cf: null, fetched: 'refused' });
  });
});

describe('event style', () => {
  const call = async (content: string, body: string | undefined, id: string) => {
    const { path } = await world.run({ id, style: 'event', vars: { A: 'b' }, modules: [main(content)] });
    return callSocket(path, {
      method: 'POST',
      headers: { 'isoplane-request-id': 'req-9', 'isoplane-deadline-ms': '5000' },
      ...(body === undefined ? {} : { body }),
    });
  };

  test('the handler gets the event and a context, and its result is JSON', async ({ expect }) => {
    const answer = await call(
      `export const handler = async (event, context) => ({ event, id: context.requestId, name: context.functionName,
         version: context.functionVersion, env: context.env, time: context.getRemainingTimeMs() > 4000 });`,
      '{"x":1}',
      'default/event-one@4',
    );
    expect(answer.headers['content-type']).toBe('application/json');
    expect(JSON.parse(answer.text)).toEqual({
      event: { x: 1 },
      id: 'req-9',
      name: 'event-one',
      version: 4,
      env: { A: 'b' },
      time: true,
    });
  });

  test('text is sent as text, nothing as 204, a Response as it is', async ({ expect }) => {
    const source = `export const handler = (event) => event === 1 ? 'text' : event === 2 ? undefined : new Response('own', { status: 418 });`;
    const { path } = await world.run({ id: 'default/event-two@1', style: 'event', modules: [main(source)] });
    expect(await callSocket(path, { body: '1' })).toMatchObject({ status: 200, text: 'text' });
    expect(await callSocket(path, { body: '2' })).toMatchObject({ status: 204, text: '' });
    expect(await callSocket(path, { body: '3' })).toMatchObject({ status: 418, text: 'own' });
    expect(await callSocket(path, { body: '{' })).toMatchObject({ status: 400 });
    expect(await callSocket(path)).toMatchObject({ status: 405, headers: { allow: 'POST' } });
  });

  test('what the handler throws is a function error', async ({ expect }) => {
    const answer = await call(
      'export function handler() { throw new RangeError("no"); }',
      '1',
      'default/event-three@1',
    );
    expect(answer).toMatchObject({ status: 500, headers: { 'isoplane-outcome': 'function_error' } });
  });
});

describe('a start that fails', () => {
  const failure = async (content: string, style: 'module' | 'event' = 'module') => {
    const runnable = world.control.runnable({ id: 'default/bad@1', style, modules: [main(content)] });
    const reply = await world.peer.call('/v1/check', z.looseObject({ ok: z.boolean() }), {
      method: 'POST',
      body: { runnable },
    });
    return reply;
  };

  test('an exception at the top level is told with message, stack and logs', async ({ expect }) => {
    const reply = await failure(
      'console.log("first"); function f() { throw new Error("boom at top"); }\nf(); export default {};',
    );
    expect(reply).toMatchObject({ ok: false, message: 'Error: boom at top', logs: ['log: first'] });
    expect(reply['stack']).toMatch(/index\.js:1:\d+/);
  });

  test('a syntax error is told with its place', async ({ expect }) => {
    expect(await failure('export default { this is not code')).toMatchObject({
      ok: false,
      message: expect.stringContaining('SyntaxError'),
      stack: expect.stringContaining('index.js:1'),
    });
  });

  test('a missing handler is told with what to write', async ({ expect }) => {
    expect(await failure('export const x = 1;')).toMatchObject({
      ok: false,
      message: expect.stringContaining('no default export'),
    });
    expect(await failure('export default { scheduled() {} };')).toMatchObject({
      ok: false,
      message: expect.stringContaining('no `fetch` method'),
    });
    expect(await failure('export default {};', 'event')).toMatchObject({
      ok: false,
      message: expect.stringContaining('no `handler` function'),
    });
  });

  test('a missing import is told by name', async ({ expect }) => {
    expect(await failure('import "./nowhere.js"; export default {};')).toMatchObject({
      ok: false,
      message: expect.stringContaining('nowhere.js'),
    });
  });

  test('an instance start fails with startup_failed and the stack', async ({ expect }) => {
    const start = world.run({ id: 'default/bad@2', modules: [main('throw new Error("later");')] });
    await expect(start).rejects.toMatchObject({
      code: 'startup_failed',
      extensions: { reason: 'Error: later', stack: expect.stringContaining('index.js') },
    });
    await waitFor('the slot to be gone', async () => !(await ids()).includes('default/bad@2'));
  });

  /** The process of code that computes without end at its top level. */
  const busyPid = (): Promise<number> =>
    waitFor('a process that computes', () =>
      descendantsOf(process.pid).find((pid) => (sampleProcess(pid, 0)?.cpuMs ?? 0) > 500),
    );

  test('a trial whose process is killed from outside says nothing about the code, and can be repeated', async ({
    expect,
  }) => {
    const trial = failure('for (;;) {}');
    // Whichever happens first, the rejection is looked at below.
    trial.catch(() => undefined);
    process.kill(await busyPid(), 'SIGKILL');
    await expect(trial).rejects.toMatchObject({ code: 'instance_lost' });
    const start = world.run({ id: 'default/busy@1', modules: [main('for (;;) {}')] });
    start.catch(() => undefined);
    process.kill(await busyPid(), 'SIGKILL');
    await expect(start).rejects.toMatchObject({ code: 'instance_lost' });
  });

  test('a trial whose process crashes speaks against the code', async ({ expect }) => {
    const trial = failure('for (;;) {}');
    trial.catch(() => undefined);
    process.kill(await busyPid(), 'SIGSEGV');
    expect(await trial).toMatchObject({ ok: false });
  });

  test('good code passes the check', async ({ expect }) => {
    expect(await failure('export default { fetch() { return new Response(); } };')).toMatchObject({
      ok: true,
    });
  });
});

async function ids(): Promise<string> {
  return JSON.stringify(await world.peer.call('/v1/status', z.unknown()));
}
