/**
 * Goal: calls between functions are requests like any other: limited, counted, ended. Method: functions on a
 * running platform that loop, hang, call in circles, or are called by others alone.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import type { UsageView } from '#shared/contracts/api.ts';
import { LIMITS } from '#shared/limits.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { TestPlatform, type CallAnswer } from '../support/platform.ts';

let platform: TestPlatform;

async function deploy(name: string, source: string, config: Record<string, unknown> = {}): Promise<void> {
  await platform.api.deploy(name, {
    modules: { 'index.js': source },
    config: { auth: { mode: 'public' }, ...config },
  });
}

async function json(name: string, path = '/'): Promise<unknown> {
  const answer = await platform.call(name, { path });
  if (answer.status !== 200) throw new Error(`${name}${path} answered ${answer.status}: ${answer.text}`);
  return JSON.parse(answer.text);
}

const call = (name: string, path: string): Promise<CallAnswer> => platform.call(name, { path });

beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

describe('a target that does not behave', () => {
  beforeAll(async () => {
    await deploy(
      'bad',
      `import { WorkerEntrypoint } from 'cloudflare:workers';
       export default class extends WorkerEntrypoint {
         async fetch(request) {
           switch (new URL(request.url).pathname) {
             case '/loop': for (;;) {}
             case '/hang': return new Promise((resolve) => setTimeout(resolve, 60_000));
             case '/large': return Response.json((await request.text()).length);
           }
           return new Response('fine');
         }
         loop() { for (;;) {} }
         fine() { return 'fine'; }
       }`,
      { limits: { cpuMs: 100, timeoutMs: 1_000, requestBodyBytes: 1_000_000 }, scaling: { maxInstances: 2 } },
    );
    await deploy(
      'sufferer',
      `export default { async fetch(request, env) {
         const { pathname } = new URL(request.url);
         try {
           if (pathname === '/rpc-loop') return Response.json(await env.BAD.loop());
           if (pathname === '/rpc-fine') return Response.json(await env.BAD.fine());
           const body = pathname === '/large' ? new Uint8Array(1_000_001) : undefined;
           return await env.BAD.fetch('http://bad' + pathname, { method: body ? 'POST' : 'GET', body });
         } catch (error) { return Response.json('rejected: ' + error.message); }
       } };`,
      { services: [{ binding: 'BAD', function: 'bad' }] },
    );
  });

  test('is stopped when it loops, and the caller hears why', async ({ expect }) => {
    expect(await call('sufferer', '/loop')).toMatchObject({ status: 500, code: 'cpu_exceeded' });
    expect((await call('sufferer', '/fine')).text).toBe('fine');
  });

  test('is stopped when a method loops: the call rejects, and the next one gets another instance', async ({
    expect,
  }) => {
    expect(await json('sufferer', '/rpc-loop')).toMatch(/^rejected: /);
    expect(await json('sufferer', '/rpc-fine')).toBe('fine');
  });

  test('is cut off at its time limit and at its body limit', async ({ expect }) => {
    expect(await call('sufferer', '/hang')).toMatchObject({ status: 504, code: 'timeout' });
    expect(await call('sufferer', '/large')).toMatchObject({ status: 413, code: 'body_too_large' });
    expect((await call('sufferer', '/fine')).text).toBe('fine');
  });
});

describe('calls in a circle', () => {
  const circle = `
    export default { async fetch(request, env) {
      const answer = await env.SELF.fetch('http://self/');
      const { code, depth = 0 } = await answer.json();
      return Response.json({ code, depth: depth + 1 });
    } };`;

  test(`end at ${LIMITS.callDepthMax}`, async ({ expect }) => {
    await deploy('circle', circle, { services: [{ binding: 'SELF', function: 'circle' }] });
    expect(await json('circle')).toEqual({ code: 'call_depth_exceeded', depth: LIMITS.callDepthMax + 1 });
    // Nothing is left in flight: the next one goes as deep.
    expect(await json('circle')).toEqual({ code: 'call_depth_exceeded', depth: LIMITS.callDepthMax + 1 });
  });

  test('end in a queue where there is no room for as many, and not in a deadlock', async ({ expect }) => {
    await deploy('narrow', circle, {
      services: [{ binding: 'SELF', function: 'narrow' }],
      scaling: { concurrency: 1, maxInstances: 2, queueTimeoutMs: 500 },
    });
    expect(await json('narrow')).toMatchObject({ code: 'queue_timeout' });
  });

  test('end when they are RPC', async ({ expect }) => {
    await deploy(
      'spiral',
      `import { WorkerEntrypoint } from 'cloudflare:workers';
       export default class extends WorkerEntrypoint {
         async fetch() { try { return Response.json(await this.down(0)); } catch (error) { return Response.json(error.message); } }
         async down(depth) {
           if (depth > 200) return 'endless';
           try { return await this.env.SELF.down(depth + 1); } catch (error) { throw new Error(error.message, { cause: depth }); }
         }
       }`,
      { services: [{ binding: 'SELF', function: 'spiral' }], scaling: { maxInstances: 1 } },
    );
    expect(await json('spiral')).not.toBe('endless');
  });
});

describe('leases', () => {
  test('hold calls from functions to the concurrency of the target; the rest waits its turn', async ({
    expect,
  }) => {
    await deploy(
      'counted',
      `let now = 0, most = 0, all = 0;
       export default { async fetch() {
         now += 1; all += 1; most = Math.max(most, now);
         await scheduler.wait(5);
         now -= 1;
         return Response.json({ most, all });
       } };`,
      { scaling: { concurrency: 3, maxInstances: 1 } },
    );
    await deploy(
      'crowd',
      `export default { async fetch(request, env) {
         const answers = await Promise.all(Array.from({ length: 100 }, async () => (await env.C.fetch('http://c/')).json()));
         return Response.json({ most: Math.max(...answers.map(({ most }) => most)), all: Math.max(...answers.map(({ all }) => all)) });
       } };`,
      { services: [{ binding: 'C', function: 'counted' }] },
    );
    expect(await json('crowd')).toEqual({ most: 3, all: 100 });
  });

  test('a function that is only called by others scales to zero once they are quiet', async ({ expect }) => {
    await deploy('sleeper', `export default { fetch: ({ method }) => Response.json({ method }) };`, {
      scaling: { idleTimeoutMs: 500 },
    });
    await deploy(
      'waker',
      `export default { async fetch(request, env) { return Response.json(await (await env.S.fetch('http://s/')).json()); } };`,
      { services: [{ binding: 'S', function: 'sleeper' }] },
    );
    const instances = async (): Promise<number> => (await platform.platform.nodeStatus()).instances;
    expect(await json('waker')).toMatchObject({ method: 'GET' });
    const with2 = await instances();
    await waitFor('the sleeper to be stopped', async () => (await instances()) < with2);
    expect(await json('waker')).toMatchObject({ method: 'GET' });
  });

  test('an RPC connection at rest keeps no instance alive, and the next call follows the alias', async ({
    expect,
  }) => {
    const version = (text: string) =>
      `import { WorkerEntrypoint } from 'cloudflare:workers';
       export default class extends WorkerEntrypoint { fetch() { return new Response(); } say() { return '${text}'; } }`;
    await deploy('speaker', version('one'), { scaling: { idleTimeoutMs: 500 } });
    await deploy(
      'listener',
      `export default { fetch: async (request, env) => Response.json(await env.S.say()) };`,
      {
        services: [{ binding: 'S', function: 'speaker' }],
      },
    );
    expect(await json('listener')).toBe('one');
    const before = (await platform.platform.nodeStatus()).instances;
    await waitFor(
      'the speaker to be stopped',
      async () => (await platform.platform.nodeStatus()).instances < before,
    );
    await deploy('speaker', version('two'), { scaling: { idleTimeoutMs: 500 } });
    expect(await json('listener')).toBe('two');
  });

  test('follow the alias: a binding reaches a new version at once', async ({ expect }) => {
    const version = (text: string) => `export default { fetch: () => new Response('${text}') };`;
    await deploy('moving', version('one'));
    await deploy('follower', `export default { fetch: (request, env) => env.M.fetch('http://m/') };`, {
      services: [{ binding: 'M', function: 'moving' }],
    });
    expect((await call('follower', '/')).text).toBe('one');
    await deploy('moving', version('two'));
    expect((await call('follower', '/')).text).toBe('two');
  });
});

test('calls between functions are usage of the target, exactly, as requests at a gateway are', async ({
  expect,
}) => {
  await deploy(
    'measured',
    `import { WorkerEntrypoint } from 'cloudflare:workers';
     export default class extends WorkerEntrypoint {
       async fetch(request) {
         const { pathname } = new URL(request.url);
         if (pathname === '/throw') throw new Error('on purpose');
         if (request.headers.get('upgrade') === 'websocket') {
           const [client, server] = Object.values(new WebSocketPair());
           server.accept();
           server.addEventListener('message', ({ data }) => { server.send(data); server.close(1000); });
           return new Response(null, { status: 101, webSocket: client });
         }
         return new Response('x'.repeat(1_000) + await request.text());
       }
       add(left, right) { return left + right; }
       fail() { throw new Error('on purpose'); }
     }`,
  );
  await deploy(
    'measurer',
    `export default { async fetch(request, env) {
       const { pathname } = new URL(request.url);
       if (pathname === '/rpc') {
         for (let n = 0; n < 7; n += 1) await env.M.add(n, 1);
         await Promise.all([env.M.add(1, 2), env.M.add(3, 4), env.M.fail().catch(() => undefined)]);
         return Response.json('called');
       }
       if (pathname === '/socket') {
         const { webSocket } = await env.M.fetch('http://m/', { headers: { upgrade: 'websocket' } });
         webSocket.accept();
         const closed = new Promise((resolve) => webSocket.addEventListener('close', resolve));
         webSocket.send('ping');
         await closed;
         return Response.json('closed');
       }
       for (let n = 0; n < 20; n += 1) await (await env.M.fetch('http://m/', { method: 'POST', body: '0123456789' })).text();
       for (let n = 0; n < 3; n += 1) await (await env.M.fetch('http://m/throw')).text();
       return Response.json('fetched');
     } };`,
    { services: [{ binding: 'M', function: 'measured' }] },
  );
  const used = (wanted: (view: UsageView) => boolean): Promise<UsageView> =>
    waitFor(
      'the reports',
      async () => {
        const { body } = await platform.api.call('GET', 'usage?granularity=total');
        const { items } = body as { items: UsageView[] };
        return items.find((item) => item.function === 'measured' && wanted(item));
      },
      3 * LIMITS.usageReportMs,
    );
  expect(await json('measurer')).toBe('fetched');
  expect(await used(({ requests }) => requests >= 23)).toMatchObject({
    requests: 23,
    errors: 3,
    requestBytes: 200,
    responseBytes: 20 * 1_010,
  });
  expect(await json('measurer', '/rpc')).toBe('called');
  expect(await json('measurer', '/socket')).toBe('closed');
  const all = await used(({ requests }) => requests >= 34);
  expect(all).toMatchObject({ requests: 23 + 10 + 1, errors: 4 });
  expect(all.requestBytes).toBeGreaterThan(200 + 'ping'.length);
}, 90_000);
