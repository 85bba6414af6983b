/**
 * Goal: every shape of program that workerd runs starts, and answers as there. Method: versions on a real agent, called
 * over their sockets.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World, type TestVersion } from '../testing/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ slots: 2 });
});
afterAll(() => world?.[Symbol.asyncDispose]());

const HEADERS = { 'isoplane-request-id': 'own' };

const said = (name: string, words: string): Promise<LogEntry> =>
  waitFor(`"${words}" in the log`, async () =>
    (await world.entries(name)).find(({ message }) => message.includes(words)),
  );

async function run(
  name: string,
  content: string,
  further: Partial<TestVersion> = {},
): Promise<(path?: string) => ReturnType<typeof callSocket>> {
  const { path: socket } = await world.run({
    id: `default/${name}@1`,
    modules: [{ name: 'index.js', content }],
    ...further,
  });
  return (path = '/') => callSocket(socket, { path, headers: HEADERS });
}

/** Why the instance did not start. */
async function refusal(name: string, content: string, further: Partial<TestVersion> = {}): Promise<string> {
  await run(name, content, further).catch(() => undefined);
  return (await said(name, 'The instance did not start')).message;
}

describe('a script of the service-worker format', () => {
  const SCRIPT = `
    addEventListener('fetch', (event) => {
      const { pathname } = new URL(event.request.url);
      if (pathname === '/throw') throw new Error('plainly thrown');
      if (pathname === '/throw-later') { event.respondWith(new Response('x')); throw new Error('thrown later'); }
      if (pathname === '/reject') return event.respondWith(Promise.reject(new Error('rejected')));
      if (pathname === '/after') { event.waitUntil(Promise.reject(new Error('after the answer'))); return event.respondWith(new Response('answered')); }
      if (pathname === '/none') return;
      if (pathname === '/text') return event.respondWith('no response');
      if (pathname === '/twice') {
        event.respondWith(new Response('first'));
        try { event.respondWith(new Response('second')); } catch ({ name, message }) { console.log(name, message); }
        return;
      }
      if (pathname === '/late') return event.respondWith((async () => {
        await scheduler.wait(1);
        try { event.respondWith(new Response('late')); } catch ({ name, message }) { return new Response(name + ': ' + message); }
      })());
      if (pathname === '/second') return;
      event.passThroughOnException();
      event.respondWith(new Response(JSON.stringify([GREETING, LIMITS.most, typeof env, event.type, event instanceof FetchEvent, event.request instanceof Request])));
    });
    addEventListener('fetch', { handleEvent(event) { if (event.request.url.endsWith('/second')) event.respondWith(new Response('second listener')); } });
    const removed = (event) => event.respondWith(new Response('removed'));
    addEventListener('fetch', removed);
    removeEventListener('fetch', removed);`;

  test.for(['2021-11-01', '2026-11-01'])(
    'answers, with its bindings as globals, at %s',
    async (compatibilityDate, { expect }) => {
      const name = `script-${compatibilityDate}`;
      const call = await run(name, SCRIPT, {
        style: 'service-worker',
        compatibilityDate,
        vars: { GREETING: 'hello', LIMITS: { most: 3 } },
      });
      expect(JSON.parse((await call()).text)).toEqual(['hello', 3, 'undefined', 'fetch', true, true]);
      expect((await call('/second')).text).toBe('second listener');
      expect((await call('/twice')).text).toBe('first');
      expect((await said(name, 'InvalidStateError')).message).toContain('it can only be called once');
      expect((await call('/late')).text).toMatch(/^InvalidStateError: Too late/);
      expect((await call('/after')).text).toBe('answered');
      const failures = {
        '/throw': 'plainly thrown',
        '/throw-later': 'thrown later',
        '/reject': 'rejected',
        '/none': 'No `fetch` listener called event.respondWith()',
        '/text': 'it returned a string',
      };
      for (const [path, words] of Object.entries(failures)) {
        expect(await call(path)).toMatchObject({
          status: 500,
          headers: { 'isoplane-outcome': 'function_error' },
        });
        expect(await said(name, words)).toMatchObject({ kind: 'exception', requestId: 'own' });
      }
      expect(await said(name, 'after the answer')).toMatchObject({ kind: 'exception', requestId: 'own' });
    },
  );

  test('is sloppy code where it is uploaded as CommonJS', async ({ expect }) => {
    const call = await run('sloppy', '', {
      style: 'service-worker',
      modules: [
        {
          name: 'index.js',
          type: 'commonjs',
          content: `undeclared = 'sloppy'; self.addEventListener('fetch', (event) => event.respondWith(new Response(undeclared)));`,
        },
      ],
    });
    expect((await call()).text).toBe('sloppy');
  });

  test('that nothing would call is refused by name', async ({ expect }) => {
    const style = 'service-worker';
    expect(await refusal('cron', `addEventListener('scheduled', () => undefined);`, { style })).toContain(
      'listens to `scheduled` alone',
    );
    expect(await refusal('silent', `globalThis.x = 1;`, { style })).toContain('adds no `fetch` listener');
    expect(await refusal('unsaid', `addEventListener('fetch', () => undefined);`)).toContain(
      '"style": "service-worker"',
    );
  });
});

describe('a module without fetch', () => {
  const LACKS = 'we lack a handler for FetchEvents';

  test.for([
    [
      'a class of RPC methods',
      `import { WorkerEntrypoint } from 'cloudflare:workers'; export default class extends WorkerEntrypoint { add(a, b) { return a + b; } }`,
    ],
    ['an object of RPC methods', `export default { double(n) { return 2 * n; } };`],
    [
      'named classes alone',
      `import { WorkerEntrypoint } from 'cloudflare:workers'; export class Adder extends WorkerEntrypoint { add(a, b) { return a + b; } }`,
    ],
  ] as const)('runs when it is %s, and answers fetch as workerd does', async ([kind, source], { expect }) => {
    const name = kind.replaceAll(' ', '-').toLowerCase();
    const call = await run(name, source);
    expect((await call()).status).toBe(500);
    expect((await said(name, LACKS)).kind).toBe('console');
  });

  test('is refused when nothing could be called, or by the name of what nobody calls', async ({ expect }) => {
    expect(await refusal('none', 'export const a = 1;')).toContain('has no default export');
    expect(await refusal('empty', 'export default { a: 1 };')).toContain('has no `fetch` method');
    const cron = 'export default { async scheduled() {}, queue() {} };';
    expect(await refusal('events', cron)).toContain(
      'nothing on this platform calls what it has: "scheduled","queue"',
    );
  });
});

describe('a module that replaces builtins before the platform prepares its handler', () => {
  const FINE = `export default { async fetch() { console.log('own words', { a: [1] }); return new Response('fine'); } };`;
  const ALL = `for (const name of ['get', 'set', 'value', 'writable', 'configurable', 'status', 'headers', 'toJSON'])
    Object.defineProperty(Object.prototype, name, { __proto__: null, configurable: true, get() { return undefined; }, set() { throw new Error('set'); } });`;
  /** The poison's own loops must not need what it has poisoned. */
  const each = (
    targets: string,
  ): string => `const poison = () => { throw new Error('poison'); }; const { ownKeys } = Reflect; const targets = [${targets}];
    for (let at = 0; at < targets.length; at += 1) { const names = ownKeys(targets[at]); for (let index = 0; index < names.length; index += 1) try { targets[at][names[index]] = poison; } catch {} }`;
  const POISONS = {
    'members of Object.prototype': ALL,
    'methods of arrays, strings, maps and sets': each(
      'Array.prototype, String.prototype, Map.prototype, Set.prototype, WeakMap.prototype, RegExp.prototype',
    ),
    'what objects and reflection do': each('Object, Reflect, Function.prototype, JSON, Math, Number, Date'),
    'requests, responses and headers': each(
      'Request.prototype, Headers.prototype, Event.prototype, EventTarget.prototype',
    ),
    promises: `Promise.prototype.then = Promise.resolve = () => { throw new Error('poison'); }; globalThis.Promise = class {};`,
    'its own globals by deleting them': `for (const name of Object.getOwnPropertyNames(globalThis)) if (name !== 'Response' && name !== 'console') try { delete globalThis[name]; } catch {}`,
  };

  test.for(Object.entries(POISONS))('%s: it runs and is heard', async ([what, poison], { expect }) => {
    const name = what
      .replaceAll(/[^a-z]+/gi, '-')
      .toLowerCase()
      .slice(0, 30);
    const call = await run(name, `${poison}\n${FINE}`);
    expect(await call()).toMatchObject({ status: 200, text: 'fine' });
    expect(await said(name, 'own words')).toMatchObject({
      message: 'own words { a: [ 1 ] }',
      requestId: 'own',
    });
  });

  test('polyfills of globals are what its handlers use, and the platform does without', async ({
    expect,
  }) => {
    const call = await run(
      'polyfills',
      `class Later { constructor(run) { this.inner = new Native(run); } then(...steps) { return this.inner.then(...steps); } }
       const Native = Promise; globalThis.Promise = Later;
       globalThis.Map = class extends Map { get(key) { return super.get(key) ?? 'polyfilled'; } };
       Array.prototype.at = function () { return 'polyfilled'; };
       export default { fetch: () => new Promise((resolve) => resolve(new Response([new Map().get(1), [].at(0)].join()))) };`,
    );
    expect(await call()).toMatchObject({ status: 200, text: 'polyfilled,polyfilled' });
  });
});

test('the place of the entry module in a stack leads nowhere', async ({ expect }) => {
  const call = await run(
    'curious',
    `let stack = '';
     export default new Proxy({ fetch: async () => {
       const place = /isoplane\\/(\\w+)\\//.exec(stack)?.[1];
       const doors = ['workerd:isoplane-' + place, 'isoplane-internal:runtime'];
       const opened = await Promise.allSettled(doors.map((door) => import(door)));
       return Response.json([place?.length, opened.map(({ status }) => status)]);
     } }, { get(target, name) { stack = new Error('where').stack; return target[name]; }, ownKeys(target) { stack += new Error('where').stack; return Reflect.ownKeys(target); } });`,
  );
  const [length, doors] = JSON.parse((await call()).text) as [number, string[]];
  expect(length).toBe(32);
  expect(doors).toEqual(['rejected', 'rejected']);
});
