/**
 * Goal: whatever shape a handler has and however its answer fails, it runs once, the caller hears the cause, and each
 * line of the log has the id of its request. Method: functions on a running platform, with their logs.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { logEntrySchema, type LogEntry } from '#shared/contracts/nodes.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { TestPlatform, type CallAnswer } from '../support/platform.ts';

let platform: TestPlatform;

async function deploy(name: string, source: string, config: Record<string, unknown> = {}): Promise<void> {
  await platform.api.deploy(name, {
    modules: { 'index.js': source },
    config: { auth: { mode: 'public' }, ...config },
  });
}

const call = (name: string, path = '/', method = 'GET'): Promise<CallAnswer> =>
  platform.call(name, { path, method });

async function logsOf(name: string): Promise<readonly LogEntry[]> {
  const { stdout } = await platform.cli(['logs', name, '--tail', '500', '--json']);
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => logEntrySchema.parse(JSON.parse(line)));
}

const logged = (name: string, text: string): Promise<LogEntry> =>
  waitFor(`"${text}" in the log`, async () =>
    (await logsOf(name)).find(({ message }) => message.includes(text)),
  );

beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

describe('an answer that fails', () => {
  /** Path → what the log says of it. */
  const FAILURES = {
    '/error-at-start': 'stream failed',
    '/short': 'FixedLengthStream did not see all expected bytes',
    '/abort': 'writer gave up',
    '/locked': 'locked to a reader',
    '/undefined': 'it returned undefined',
    '/used': 'was already used',
    '/never': 'had hung and would never generate a response',
    '/throw': 'plainly thrown',
  };

  beforeAll(() =>
    deploy(
      'failing',
      `let runs = 0;
       export default { async fetch(request, env, ctx) {
         const { pathname } = new URL(request.url);
         if (pathname === '/runs') return Response.json(runs);
         runs += 1;
         switch (pathname) {
           case '/error-at-start': return new Response(new ReadableStream({ start(c) { c.error(new Error('stream failed')); } }));
           case '/error-later': return new Response(new ReadableStream({
             async pull(c) { c.enqueue(new Uint8Array(10)); await scheduler.wait(20); c.error(new Error('stream failed later')); } }));
           case '/short': {
             const { readable, writable } = new FixedLengthStream(10);
             const writer = writable.getWriter();
             writer.write(new Uint8Array(3)).catch(() => undefined);
             writer.close().catch(() => undefined);
             return new Response(readable);
           }
           case '/abort': {
             const { readable, writable } = new TransformStream();
             writable.getWriter().abort(new Error('writer gave up')).catch(() => undefined);
             return new Response(readable);
           }
           case '/locked': { const response = new Response('x'); response.body.getReader(); return response; }
           case '/undefined': return undefined;
           case '/used': { const response = new Response('x'); await response.text(); return response; }
           case '/never': return new Promise(() => undefined);
           case '/throw': throw new Error('plainly thrown');
         }
       } };`,
    ),
  );

  test.for(Object.entries(FAILURES))(
    '%s is the fault of the function, runs once, and is in its log under the id',
    async ([path, words], { expect }) => {
      const before = Number((await call('failing', '/runs')).text);
      const answers = [];
      for (const method of ['GET', 'PUT', 'POST']) answers.push(await call('failing', path, method));
      expect(answers.map(({ status, code }) => [status, code])).toEqual(
        Array.from({ length: 3 }, () => [500, 'function_error']),
      );
      expect(Number((await call('failing', '/runs')).text) - before).toBe(3);
      const ids = answers.map(({ headers }) => headers['isoplane-request-id']);
      await waitFor(`lines with the ids of ${path}`, async () => {
        const entries = await logsOf('failing');
        return ids.every((id) =>
          entries.some(({ requestId, message }) => requestId === id && message.includes(words)),
        );
      });
      expect((await logsOf('failing')).filter(({ requestId }) => requestId === undefined)).toEqual([]);
    },
  );

  test('a stream that breaks off after its head is in the log under the id', async ({ expect }) => {
    await expect(call('failing', '/error-later')).rejects.toThrow();
    expect((await logged('failing', 'stream failed later')).requestId).toBeDefined();
  });
});

test("a response of status 500 that is the function's own arrives as it is", async ({ expect }) => {
  await deploy(
    'own-500',
    `export default { fetch: () => new Response(new TextEncoder().encode('Internal Server Error'), { status: 500 }) };`,
  );
  const answer = await call('own-500');
  expect(answer).toMatchObject({ status: 500, text: 'Internal Server Error' });
  expect(answer.headers['isoplane-outcome']).toBeUndefined();
});

describe('the shape of a handler', () => {
  test('may be a proxy', async ({ expect }) => {
    await deploy(
      'proxied',
      `export default { fetch: new Proxy(() => new Response('ok'), { get: () => undefined }) };`,
    );
    expect(await call('proxied')).toMatchObject({ status: 200, text: 'ok' });
  });

  test('may be a class with fetch as a field, which is itself under its own name', async ({ expect }) => {
    await deploy(
      'field',
      `import { WorkerEntrypoint } from 'cloudflare:workers';
       export default class Main extends WorkerEntrypoint {
         constructor(ctx, env) { super(ctx, env); console.log('constructed'); }
         fetch = async () => Response.json([this.constructor.name, this.constructor === Main]);
       }`,
    );
    const answer = await call('field');
    expect(JSON.parse(answer.text)).toEqual(['Main', true]);
    expect((await logged('field', 'constructed')).requestId).toBe(answer.headers['isoplane-request-id']);
  });
});

test.for(['2024-01-01', '2026-11-17'])(
  'with date %s a rejection that a listener prevents is not logged, another is',
  async (compatibilityDate, { expect }) => {
    const name = `rejects-${compatibilityDate}`;
    await deploy(
      name,
      `addEventListener('unhandledrejection', (event) => { if (event.reason.message === 'handled') event.preventDefault(); });
       export default { fetch() {
         Promise.reject(new Error('handled'));
         Promise.reject(new Error('left alone'));
         return new Response('ok');
       } };`,
      { compatibilityDate },
    );
    const answer = await call(name);
    expect((await logged(name, 'left alone')).requestId).toBe(answer.headers['isoplane-request-id']);
    expect((await logsOf(name)).filter(({ message }) => message.includes('handled'))).toEqual([]);
  },
);

describe('the modules of the platform', () => {
  test.for(['2024-01-01', '2026-11-17'])(
    'with date %s are out of reach, and ids cannot be forged',
    async (compatibilityDate, { expect }) => {
      const name = `reach-${compatibilityDate}`;
      await deploy(
        name,
        `const tried = [];
         for (const specifier of ['isoplane-internal:runtime', './isoplane/entry.js', './isoplane/console.worker.ts', 'workerd:isoplane'])
           await import(specifier).then(() => tried.push(specifier), () => undefined);
         let hooked = 0;
         export function init() { hooked += 1; }
         export default { async fetch(request, env, ctx) {
           if (new URL(request.url).pathname === '/inner') { console.log('inner'); return new Response(); }
           const forged = { headers: { 'isoplane-request-id': 'forged' } };
           const hook = await ctx.exports?.IsoplaneEvents.fetch('http://events/init', { method: 'POST', body: '{"kind":"hook","name":"init"}' });
           await ctx.exports?.default.fetch('http://x/inner', forged);
           Object.defineProperty(Request.prototype, 'headers', { get: () => new Headers(forged.headers) });
           console.log('outer');
           return Response.json({ tried, hooked, hook: hook?.status });
         } };`,
        {
          compatibilityDate,
          hooks: { init: {} },
          compatibilityFlags: compatibilityDate < '2025' ? ['enable_ctx_exports'] : [],
        },
      );
      const answer = await call(name);
      expect(JSON.parse(answer.text)).toEqual({ tried: [], hooked: 1, hook: 404 });
      const id = answer.headers['isoplane-request-id'];
      expect((await logged(name, 'outer')).requestId).toBe(id);
      expect((await logged(name, 'inner')).requestId).toBe(id);
    },
  );

  test('a module that the public workerd lacks is there', async ({ expect }) => {
    await deploy(
      'mail',
      `import { EmailMessage } from 'cloudflare:email';
       export default { fetch: () => new Response(new EmailMessage('a@b.test', 'c@d.test', 'x').to) };`,
    );
    expect((await call('mail')).text).toBe('c@d.test');
  });
});

const CACHING = `export default { async fetch(request) {
  const { searchParams: query } = new URL(request.url);
  const cache = query.get('name') === null ? caches.default : await caches.open(query.get('name'));
  const url = 'https://example.com/' + query.get('key');
  switch (query.get('do')) {
    case 'put': {
      const headers = { 'cache-control': 'max-age=60', etag: '"1"', 'x-bytes': '\\u00fc' };
      await cache.put(url, new Response('kept by ' + query.get('key'), { headers }));
      return new Response('put');
    }
    case 'delete': return Response.json(await cache.delete(url));
    case 'post': return new Response(await cache.put(new Request(url, { method: 'POST' }), new Response()).catch(({ name }) => name));
    case 'plain': await cache.put(url, new Response('without a word of its freshness')); return new Response('put');
    case 'range': return (await cache.match(new Request(url, { headers: { range: 'bytes=0-3' } }))) ?? new Response('none');
    case 'known': return new Response(null, { status: (await cache.match(new Request(url, { headers: { 'if-none-match': '"1"' } })))?.status ?? 500 });
    default: return (await cache.match(url)) ?? new Response('none');
  }
} };`;

describe('caches', () => {
  test.for(['2024-01-01', '2026-11-17'])(
    'with date %s keep what is put, for as long as it says',
    async (compatibilityDate, { expect }) => {
      const name = `cached-${compatibilityDate}`;
      await deploy(name, CACHING, { compatibilityDate });
      const ask = async (query: string): Promise<string> => (await call(name, `/?${query}`)).text;
      expect(await ask('key=a')).toBe('none');
      expect(await ask('key=a&do=put')).toBe('put');
      expect(await ask('key=a')).toBe('kept by a');
      expect(await ask('key=a&do=range')).toBe('kept');
      expect((await call(name, '/?key=a&do=known')).status).toBe(304);
      expect(await ask('key=a&name=other')).toBe('none');
      expect(await ask('key=a&name=other&do=put')).toBe('put');
      expect(await ask('key=a&do=delete')).toBe('true');
      expect(await ask('key=a&do=delete')).toBe('false');
      expect([await ask('key=a'), await ask('key=a&name=other')]).toEqual(['none', 'kept by a']);
      await ask('key=p&do=plain');
      expect(await ask('key=p')).toBe('none');
      expect(await ask('key=a&do=post')).toBe('TypeError');
    },
  );
  test('are those of one version: a deploy begins with nothing', async ({ expect }) => {
    await deploy('versioned', CACHING);
    const ask = async (query: string): Promise<string> => (await call('versioned', `/?${query}`)).text;
    await ask('key=a&do=put');
    expect(await ask('key=a')).toBe('kept by a');
    await deploy('versioned', `${CACHING} // next`);
    expect(await ask('key=a')).toBe('none');
  });
});

describe('one request, one id', () => {
  test('travels with fetch through a binding; a call by RPC has an id of its own', async ({ expect }) => {
    await deploy(
      'second',
      `import { WorkerEntrypoint } from 'cloudflare:workers';
       export default class extends WorkerEntrypoint {
         fetch() { console.log('by fetch'); return new Response(); }
         say() { console.log('by rpc'); return 'said'; }
       }`,
    );
    await deploy(
      'first',
      `export default { async fetch(request, env) {
         await env.SECOND.fetch('http://second/', { headers: { 'isoplane-request-id': 'forged' } });
         return new Response(await env.SECOND.say());
       } };`,
      { services: [{ binding: 'SECOND', function: 'second' }] },
    );
    const answer = await call('first');
    expect((await logged('second', 'by fetch')).requestId).toBe(answer.headers['isoplane-request-id']);
    expect((await logged('second', 'by rpc')).requestId).toMatch(/^[\da-f-]{36}$/);
  });
});

test('a handler that nothing calls is said to be one when it is published', async ({ expect }) => {
  const answer = await platform.api.upload('timed', {
    modules: { 'index.js': `export default { fetch: () => new Response(), scheduled() {}, queue() {} };` },
    config: {},
  });
  expect(answer.status).toBe(201);
  expect(JSON.stringify(answer.body)).toMatch(/`scheduled` is exported, but nothing.*`queue` is exported/);
});
