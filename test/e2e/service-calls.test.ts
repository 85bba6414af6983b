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
    expect(await json('sufferer', '/loop')).toMatch(/^rejected: cpu_exceeded/);
    expect((await call('sufferer', '/fine')).text).toBe('fine');
  });

  test('is stopped when a method loops: the call rejects, and the next one gets another instance', async ({
    expect,
  }) => {
    expect(await json('sufferer', '/rpc-loop')).toMatch(/^rejected: /);
    expect(await json('sufferer', '/rpc-fine')).toBe('fine');
    await waitFor('the caller to be told in its log', async () =>
      (await platform.cli(['logs', 'sufferer'])).stdout.includes(
        'RPC to bad was cut off: its instance ended',
      ),
    );
  });

  test('is cut off at its time limit and at its body limit', async ({ expect }) => {
    expect(await json('sufferer', '/hang')).toMatch(/^rejected: timeout/);
    expect(await json('sufferer', '/large')).toMatch(/^rejected: body_too_large/);
    expect((await call('sufferer', '/fine')).text).toBe('fine');
  });
});

describe('calls in a circle', () => {
  const circle = `
    export default { async fetch(request, env) {
      try {
        const { code, depth } = await (await env.SELF.fetch('http://self/')).json();
        return Response.json({ code, depth: depth + 1 });
      } catch ({ code }) {
        return Response.json({ code, depth: 1 });
      }
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
       export default class extends WorkerEntrypoint { fetch() { return new Response(); } say() { return '${text}'; }
         fail() { throw new RangeError('of ${text}'); } }`;
    await deploy('speaker', version('one'), { scaling: { idleTimeoutMs: 500 } });
    await deploy(
      'listener',
      `export default { fetch: async (request, env) => Response.json(new URL(request.url).pathname === '/fail'
         ? await env.S.fail().catch(({ message }) => message)
         : await env.S.say()) };`,
      {
        services: [{ binding: 'S', function: 'speaker' }],
      },
    );
    expect(await json('listener')).toBe('one');
    // A call that throws leaves nothing open either.
    expect(await json('listener', '/fail')).toBe('of one');
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

describe('a target whose instances are not for everybody', () => {
  const counter = `
    import { WorkerEntrypoint } from 'cloudflare:workers';
    let id;
    let count = 0;
    export default class extends WorkerEntrypoint {
      fetch() { id ??= crypto.randomUUID(); count += 1; return Response.json([id, count]); }
      async count(ms = 0) { id ??= crypto.randomUUID(); count += 1; const now = count; await scheduler.wait(ms); return [id, now]; }
    }`;
  const caller = `
    export default { async fetch(request, env) {
      const url = new URL(request.url);
      const fetched = async () => (await env.T.fetch('http://t/')).json();
      const times = Array.from({ length: Number(url.searchParams.get('n') ?? 1) });
      const failed = (error) => 'rejected: ' + error.message;
      switch (url.pathname) {
        case '/fetch': { const answers = []; for (const _ of times) answers.push(await fetched()); return Response.json(answers); }
        case '/together': return Response.json(await Promise.all(times.map(fetched)));
        case '/rpc': return Response.json(await env.T.count().catch(failed));
        case '/rpc-together': return Response.json(await Promise.all(times.map(() => env.T.count(200).catch(failed))));
      }
    } };`;
  type Counted = readonly [id: string, count: number];

  async function deployPair(name: string, scaling: object, callerScaling: object = {}): Promise<void> {
    await deploy(name, counter, { scaling });
    await deploy(`${name}-caller`, caller, {
      services: [{ binding: 'T', function: name }],
      scaling: callerScaling,
    });
  }

  test('isolation `request`: each call has an instance of its own, at once and one after the other', async ({
    expect,
  }) => {
    await deployPair('once', { isolation: 'request', maxInstances: 4 });
    const answers = [
      ...((await json('once-caller', '/fetch?n=5')) as Counted[]),
      ...((await json('once-caller', '/together?n=8')) as Counted[]),
    ];
    expect(answers.map(([, count]) => count)).toEqual(Array.from({ length: 13 }, () => 1));
    expect(new Set(answers.map(([id]) => id)).size).toBe(13);
  });

  test('isolation `request`: no method meets what another left; one too many on a connection is refused', async ({
    expect,
  }) => {
    await deployPair('once-rpc', { isolation: 'request', maxInstances: 4 });
    expect(await json('once-rpc-caller', '/rpc')).toMatchObject([expect.any(String), 1]);
    await waitFor('the connection to be closed', async () => {
      const answer = await call('once-rpc-caller', '/rpc');
      return answer.status === 200 && JSON.parse(answer.text)[1] === 1;
    });
    await waitFor('the connection to be closed', async () => {
      const answers = (await json('once-rpc-caller', '/rpc-together?n=3')) as (string | Counted)[];
      return answers.every((answer) =>
        typeof answer === 'string' ? answer.startsWith('rejected') : answer[1] === 1,
      );
    });
  });

  test('`maxRequests`: an instance takes so many calls and is replaced', async ({ expect }) => {
    await deployPair('few', { maxRequests: 3, maxInstances: 1 });
    const answers = (await json('few-caller', '/fetch?n=7')) as Counted[];
    expect(answers.map(([, count]) => count)).toEqual([1, 2, 3, 1, 2, 3, 1]);
    // What is left of a budget comes back: the gateway may use it.
    expect(JSON.parse((await call('few', '/')).text)[1]).toBe(2);
  });

  test('`maxRequests`: methods count, and the connection goes when they are used up', async ({ expect }) => {
    await deployPair('few-rpc', { maxRequests: 3, maxInstances: 1 });
    const counts: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      const [, count] = (await json('few-rpc-caller', '/rpc')) as Counted;
      counts.push(count);
    }
    expect(counts).toEqual([1, 2, 3]);
    await waitFor('the next instance', async () => {
      const answer = await call('few-rpc-caller', '/rpc');
      return answer.status === 200 && JSON.parse(answer.text)[1] === 1;
    });
  });

  test('isolation `session`: each calling instance is a session, which has one instance for itself', async ({
    expect,
  }) => {
    await deployPair('own', { isolation: 'session', maxInstances: 4 }, { isolation: 'session' });
    const cookies: string[] = [];
    const ids: string[] = [];
    for (const visitor of [0, 1, 0, 1]) {
      const cookie = cookies[visitor];
      const answer = await platform.call('own-caller', {
        path: '/fetch?n=2',
        ...(cookie === undefined ? {} : { headers: { cookie } }),
      });
      cookies[visitor] ??= String(answer.headers['set-cookie']).split(';')[0] ?? '';
      const answers = JSON.parse(answer.text) as Counted[];
      expect(new Set(answers.map(([id]) => id)).size).toBe(1);
      ids.push(answers[0]?.[0] ?? '');
    }
    expect(ids.slice(2)).toEqual(ids.slice(0, 2));
    expect(new Set(ids).size).toBe(2);
    // Another session at the gateway meets neither.
    expect(ids).not.toContain((JSON.parse((await call('own', '/')).text) as Counted)[0]);
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
       for (let n = 0; n < 3; n += 1) await env.M.fetch('http://m/throw').catch(() => undefined);
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
