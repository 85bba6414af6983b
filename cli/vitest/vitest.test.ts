/** `isoplane/vitest` on functions of each kind, as a test of a user would call it. */
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { tempProject } from '../testing/temp-project.ts';
import { startFunction } from './index.ts';

const config = (name: string, extra: object = {}): string =>
  JSON.stringify({ name, main: 'index.ts', compatibilityDate: '2026-11-01', ...extra });

const SHOP = {
  'shop/isoplane.jsonc': config('shop', {
    vars: { A: 'configured', B: 'configured' },
    secrets: ['KEY'],
    services: [
      { binding: 'PRICES', function: 'prices' },
      { binding: 'ADMIN', function: 'prices', entrypoint: 'Admin' },
    ],
    kv: [{ binding: 'KV', namespace: 'store' }],
    layers: [{ name: 'greet', version: 3 }],
  }),
  'shop/greet/greeting.ts': "export const greeting: string = 'from the layer';",
  'shop/index.ts': `import { greeting } from '/opt/greeting.js';
    export default { async fetch(request: Request, env: any) {
      const { pathname } = new URL(request.url);
      if (pathname === '/out') return fetch('https://api.example.com/x');
      if (pathname === '/caller') return new Response(atob(request.headers.get('isoplane-claims') ?? ''));
      return Response.json([env.A, env.B, env.KEY, greeting, await env.PRICES.price('tea'), await env.ADMIN.raise(1), await env.KV.get('k')]);
    } };`,
  'prices/isoplane.jsonc': config('prices', { entrypoints: ['Admin'] }),
  'prices/index.ts': `import { WorkerEntrypoint } from 'cloudflare:workers';
    export class Admin extends WorkerEntrypoint { raise(n: number) { return n + 1; } }
    export default class extends WorkerEntrypoint { price(item: string) { return item.length; } fetch() { return new Response('prices'); } }`,
};

describe('startFunction()', () => {
  test('gives variables, secrets, layers, namespaces and the functions beside it', async ({ expect }) => {
    await using folder = await tempProject(SHOP);
    await using app = await startFunction<{
      KV: { put(key: string, value: string): Promise<void> };
      PRICES: { price(item: string): Promise<number> };
    }>(join(folder.path, 'shop'), {
      vars: { B: 'of the test' },
      secrets: { KEY: 'secret' },
      outbound: (request) => new Response(`asked for ${request.url}`),
    });
    await app.env.KV.put('k', 'v');
    expect(await (await app.fetch('/')).json()).toEqual([
      'configured',
      'of the test',
      'secret',
      'from the layer',
      3,
      2,
      'v',
    ]);
    expect(await app.env.PRICES.price('milk')).toBe(4);
    expect(await (await app.fetch('/out')).text()).toBe('asked for https://api.example.com/x');
    const claims = { sub: 'ada' };
    expect(await (await app.fetch('/caller', { caller: { claims } })).json()).toEqual(claims);
  });

  test('tells a bound function who calls, as a deployed one hears it, whatever the caller sends', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'front/isoplane.jsonc': config('front', { services: [{ binding: 'BACK', function: 'back' }] }),
      'front/index.ts': `export default { async fetch(request: Request, env: any) {
        const answer = await env.BACK.fetch('http://back/', { method: 'POST', body: 'text', headers: { 'isoplane-principal': 'key:forged', 'isoplane-claims': 'e30', 'x-own': '1' } });
        using counter = await env.BACK.counter(1);
        const failed = await env.BACK.fail().catch((error: unknown) => error instanceof RangeError && error.message);
        return Response.json([await answer.json(), await counter.add(2), failed, await env.BACK.name]);
      } };`,
      'back/isoplane.jsonc': config('back'),
      'back/index.ts': `import { RpcTarget, WorkerEntrypoint } from 'cloudflare:workers';
        class Counter extends RpcTarget { constructor(public n: number) { super(); } add(m: number) { return this.n + m; } }
        export default class extends WorkerEntrypoint {
          get name() { return 'back'; }
          counter(n: number) { return new Counter(n); }
          fail() { throw new RangeError('on purpose'); }
          async fetch(request: Request) {
            const names = ['isoplane-principal', 'isoplane-claims', 'x-own'];
            return Response.json([await request.text(), ...names.map((name) => request.headers.get(name))]);
          }
        }`,
    });
    await using front = await startFunction(join(folder.path, 'front'));
    expect(await (await front.fetch('/')).json()).toEqual([
      ['text', 'function:default/front', null, '1'],
      3,
      'on purpose',
      'back',
    ]);
  });

  test('counts rate limits, those of each binding and those of a namespace', async ({ expect }) => {
    await using folder = await tempProject({
      'limited/isoplane.jsonc': config('limited', {
        rateLimits: [
          { binding: 'ONE', limit: 1, periodSeconds: 60 },
          { binding: 'NAMED', namespace: 'shared', limit: 2, periodSeconds: 60 },
        ],
      }),
      'limited/index.ts': `export default { async fetch(_request: Request, env: any) {
        const answers = [];
        for (const binding of ['ONE', 'ONE', 'NAMED', 'NAMED', 'NAMED']) answers.push((await env[binding].limit({ key: 'k' })).success);
        return Response.json(answers);
      } };`,
    });
    await using limited = await startFunction(join(folder.path, 'limited'));
    expect(await (await limited.fetch('/')).json()).toEqual([true, false, true, true, false]);
  });

  test('takes the miniflare of the project, also where it is not one of its own packages', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'own/isoplane.jsonc': config('own'),
      'own/index.ts': 'export default { fetch: () => new Response() };',
      'own/package.json': '{}',
      'own/node_modules/miniflare/package.json': JSON.stringify({ name: 'miniflare', main: 'index.js' }),
      'own/node_modules/miniflare/index.js':
        "exports.Miniflare = class { constructor() { throw new Error('that of the project'); } };",
    });
    await expect(startFunction(join(folder.path, 'own'))).rejects.toThrow('that of the project');
  });

  test('keeps the storage of each start apart', async ({ expect }) => {
    await using folder = await tempProject(SHOP);
    const start = () =>
      startFunction<{
        KV: { put(k: string, v: string): Promise<void>; get(k: string): Promise<string | null> };
      }>(join(folder.path, 'shop'), { secrets: { KEY: 'x' } });
    await using first = await start();
    await using second = await start();
    await first.env.KV.put('k', 'v');
    expect([await first.env.KV.get('k'), await second.env.KV.get('k')]).toEqual(['v', null]);
  });

  test('answers as the deployed function does where it throws or is called wrongly', async ({ expect }) => {
    await using folder = await tempProject({
      'throws/isoplane.jsonc': config('throws'),
      'throws/index.ts': `export default { fetch(request: Request) {
        if (new URL(request.url).pathname === '/nothing') return undefined;
        throw new Error('on purpose');
      } };`,
      'event/isoplane.jsonc': config('event', { style: 'event' }),
      'event/index.ts': `export const handler = (event: unknown) => {
        if (event === undefined) throw new Error('no event');
        return typeof event === 'string' ? event : () => 1;
      };`,
    });
    await using throws = await startFunction(join(folder.path, 'throws'));
    for (const path of ['/', '/nothing']) {
      const answer = await throws.fetch(path);
      expect([answer.status, answer.headers.get('content-type')], path).toEqual([
        500,
        'application/problem+json',
      ]);
      const problem = (await answer.json()) as { code: string; requestId: string };
      expect(problem.code, path).toBe('function_error');
      expect(answer.headers.get('isoplane-request-id'), path).toBe(problem.requestId);
    }
    await using event = await startFunction(join(folder.path, 'event'));
    const call = async (body: string, method = 'POST'): Promise<readonly unknown[]> => {
      const answer = await event.fetch('/', { method, ...(method === 'POST' ? { body } : {}) });
      const isJson = answer.headers.get('content-type')?.includes('json') === true;
      return [answer.status, isJson ? ((await answer.json()) as { code: string }).code : await answer.text()];
    };
    expect(await call('')).toEqual([500, 'function_error']);
    expect(await call('{')).toEqual([400, 'bad_request']);
    expect(await call('{}')).toEqual([500, 'function_error']);
    expect(await call('', 'GET')).toEqual([405, 'method_not_allowed']);
    expect(await call('"said"')).toEqual([200, 'said']);
  });

  test('runs scripts of the service-worker format, with bindings as globals', async ({ expect }) => {
    await using folder = await tempProject({
      'script/wrangler.toml':
        'name = "script"\nmain = "index.js"\ncompatibility_date = "2026-11-01"\n[vars]\nGREETING = "hello"\n',
      'script/index.js': `import text from './words.txt';
        undeclared = 'sloppy';
        addEventListener('fetch', (event) => {
          if (event.request.url.endsWith('/throw')) throw new Error('thrown by a listener');
          event.respondWith(new Response([GREETING, text, undeclared, event instanceof FetchEvent].join()));
        });`,
      'script/words.txt': 'words',
    });
    await using script = await startFunction(join(folder.path, 'script'));
    expect(await (await script.fetch('/')).text()).toBe('hello,words,sloppy,true');
    expect((await script.fetch('/throw')).status).toBe(500);
  });

  test('calls event functions and entrypoints, and says what is missing', async ({ expect }) => {
    await using folder = await tempProject({
      ...SHOP,
      'event/isoplane.jsonc': config('event', { style: 'event' }),
      'event/index.ts': 'export const handler = (event: { n: number }) => ({ n: event.n + 1 });',
      'lonely/isoplane.jsonc': config('lonely', { services: [{ binding: 'X', function: 'nowhere' }] }),
      'lonely/index.ts': 'export default { fetch: () => new Response() };',
    });
    await using event = await startFunction(join(folder.path, 'event'));
    const answer = await event.fetch('/', { method: 'POST', body: '{"n":1}' });
    expect(await answer.json()).toEqual({ n: 2 });
    await using prices = await startFunction(join(folder.path, 'prices'));
    const admin = prices.entrypoints['Admin'] as { raise(n: number): Promise<number> };
    expect(await admin.raise(41)).toBe(42);
    await expect(startFunction(join(folder.path, 'shop'))).rejects.toThrow('shop needs secrets: KEY');
    await expect(startFunction(join(folder.path, 'lonely'))).rejects.toThrow(
      'no project of the function nowhere',
    );
  });
});
