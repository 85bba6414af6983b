/**
 * Goal: bindings that need nothing made before behave as in Workers. Method: functions on a running platform that
 * answer what they saw.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;

async function deploy(name: string, source: string, config: Record<string, unknown>): Promise<void> {
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

beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

describe('a rate limit', () => {
  const LIMITER = `import { env as global } from 'cloudflare:workers';
    const reason = (work) => work().then(({ success }) => success, (error) => error.name + ': ' + error.message);
    export default { async fetch(request, env) {
      const { pathname, searchParams } = new URL(request.url);
      const key = searchParams.get('key');
      if (pathname === '/same') return Response.json([global.LIMIT === env.LIMIT, Object.keys(env.LIMIT), typeof env.LIMIT.agent]);
      if (pathname === '/bad') return Response.json([
        await reason(() => env.LIMIT.limit()), await reason(() => env.LIMIT.limit({ key: 1 })),
        await reason(() => env.LIMIT.limit({ key: 'x'.repeat(8_001) })), await reason(() => env.LIMIT.limit({ key: 'k', delta: 0 })),
        await reason(() => env.LIMIT.limit({ key: 'ä ?&#=/' + 'x'.repeat(7_900) })) ]);
      const answers = [];
      for (let n = 0; n < Number(searchParams.get('n') ?? 1); n += 1) answers.push((await env.LIMIT.limit({ key })).success);
      return Response.json(answers);
    } };`;
  const limits = (rule: object): Record<string, unknown> => ({
    rateLimits: [{ binding: 'LIMIT', limit: 3, periodSeconds: 60, ...rule }],
  });

  test('lets the limit through for each key, and refuses the next call', async ({ expect }) => {
    await deploy('limiter', LIMITER, limits({}));
    expect(await json('limiter', '/?key=a&n=5')).toEqual([true, true, true, false, false]);
    expect(await json('limiter', '/?key=b&n=2')).toEqual([true, true]);
    expect(await json('limiter', '/same')).toEqual([true, [], 'undefined']);
    expect(await json('limiter', '/bad')).toEqual([
      'TypeError: limit() takes { key }, and the key is a string.',
      'TypeError: limit() takes { key }, and the key is a string.',
      expect.stringContaining('too long'),
      expect.stringContaining('delta'),
      true,
    ]);
  });

  test('counts on with the next version, together with who has its namespace, and apart from others', async ({
    expect,
  }) => {
    await deploy('one', LIMITER, limits({ namespace: 'shared' }));
    await deploy('two', LIMITER, limits({ namespace: 'shared', limit: 4 }));
    await deploy('three', LIMITER, limits({}));
    expect(await json('one', '/?key=k&n=3')).toEqual([true, true, true]);
    expect(await json('two', '/?key=k&n=2')).toEqual([true, false]);
    expect(await json('three', '/?key=k&n=1')).toEqual([true]);
    await deploy('one', `${LIMITER} // again`, limits({ namespace: 'shared' }));
    expect(await json('one', '/?key=k&n=1')).toEqual([false]);
  });

  test('begins anew after its period', async ({ expect }) => {
    await deploy('again', LIMITER, limits({ periodSeconds: 10, limit: 1 }));
    expect(await json('again', '/?key=k&n=2')).toEqual([true, false]);
    await waitFor('the next period', async () =>
      ((await json('again', '/?key=k')) as boolean[])[0] === true ? true : undefined,
    );
  });

  test('holds whatever the code does to the classes around it', async ({ expect }) => {
    await deploy(
      'poisoner',
      `let seen = 'nothing';
       export default { async fetch(request, env, ctx) {
         const poison = function (...values) { seen = 'called'; return new Response(null, { status: 204 }); };
         for (let each = Object.getPrototypeOf(ctx.exports.default); each !== null; each = Object.getPrototypeOf(each))
           if (Object.hasOwn(each, 'fetch')) Reflect.defineProperty(each, 'fetch', { value: poison });
         Object.defineProperty(Response.prototype, 'status', { get: () => 204 });
         globalThis.encodeURIComponent = () => Math.random();
         const answers = [];
         for (let n = 0; n < 3; n += 1) answers.push((await env.LIMIT.limit({ key: 'k' })).success);
         const before = seen;
         await ctx.exports.default.fetch('http://self/');
         return Response.json({ before, after: seen, answers });
       } };`,
      limits({ limit: 2 }),
    );
    expect(await json('poisoner')).toEqual({
      before: 'nothing',
      after: 'called',
      answers: [true, true, false],
    });
  });

  test.for(['2021-11-02', '2023-06-01'])('is there at compatibility date %s', async (date, { expect }) => {
    await deploy('old', LIMITER.replace(/^import .*$/m, 'const global = {};'), {
      ...limits({ limit: 1, namespace: date }),
      compatibilityDate: date,
    });
    expect(await json('old', '/?key=k&n=2')).toEqual([true, false]);
  });

  test('is refused with a period that is neither 10 nor 60 seconds', async ({ expect }) => {
    await expect(deploy('odd', LIMITER, limits({ periodSeconds: 30 }))).rejects.toThrow(/periodSeconds/);
  });
});

describe('version metadata', () => {
  const source = (text: string): string =>
    `import { env as global } from 'cloudflare:workers';
     const atStart = global.VERSION.timestamp;
     export default { fetch: (request, { VERSION }) => Response.json({ ...VERSION, atStart, text: ${JSON.stringify(text)} }) };`;
  const config = { versionMetadata: { binding: 'VERSION' } };

  test('names the version that runs, with the time at which it was published', async ({ expect }) => {
    const beforeMs = Date.now();
    await deploy('told', source('one'), config);
    const first = (await json('told')) as Record<string, string>;
    expect(first).toMatchObject({ id: 'default/told@1', tag: '', text: 'one', atStart: first['timestamp'] });
    expect(first['timestamp']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const { createdAt } = (await platform.api.call('GET', 'functions/told/versions/1')).body as {
      createdAt: string;
    };
    expect(first['timestamp']).toBe(createdAt);
    expect(Date.parse(createdAt)).toBeGreaterThanOrEqual(beforeMs);
    await deploy('told', source('two'), config);
    expect(await json('told')).toMatchObject({ id: 'default/told@2', text: 'two' });
  });

  test('shares the names of env: a variable of its name is refused', async ({ expect }) => {
    await expect(deploy('twice', source('x'), { ...config, vars: { VERSION: '1' } })).rejects.toThrow(
      /VERSION is already used in env/,
    );
  });
});
