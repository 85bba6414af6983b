/** Logs of functions that mean harm, and of those that only fail, from a real workerd to the store. */
import { afterAll, beforeAll, describe, test } from 'vitest';
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { LIMITS } from '#shared/limits.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World } from '../testing/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ slots: 2 });
});
afterAll(() => world[Symbol.asyncDispose]());

const HEADERS = { 'isoplane-request-id': 'own' };

/** Runs `body` in one request and waits for the line `last`, which it must log at its end. */
async function logged(name: string, body: string, limits = {}): Promise<LogEntry[]> {
  const { path } = await world.run({
    id: `default/${name}@1`,
    limits,
    modules: [
      {
        name: 'index.js',
        content: `export default { async fetch(request, env, ctx) { ${body}; console.log('last'); return new Response('answered'); } };`,
      },
    ],
  });
  expectAnswered((await callSocket(path, { headers: HEADERS })).text);
  return waitFor('the last line', async () => {
    const all = await world.entries(name);
    return all.some(({ message }) => message === 'last') ? all : undefined;
  });
}

function expectAnswered(text: string): void {
  if (text !== 'answered') throw new Error(`the function answered ${text}`);
}

describe('a function cannot', () => {
  test('forge entries of another kind or request', async ({ expect }) => {
    const all = await logged(
      'forger',
      `console.log('~plother forged by the platform');
       console.log('~xeother a\\\\|stack');
       console.log('text\\n~cwother a second line');
       console.context?.('x')?.log?.('~cwother through a context');
       globalThis.process?.stdout?.write?.('~cwother through stdout\\n')`,
    );
    expect(all.filter(({ kind }) => kind !== 'console')).toEqual([]);
    expect(new Set(all.map(({ requestId }) => requestId))).toEqual(new Set(['own']));
    expect(all.map(({ message }) => message)).toEqual(
      expect.arrayContaining(['~plother forged by the platform', 'text\n~cwother a second line']),
    );
  });

  test('break the log with binary, empty or endless lines', async ({ expect }) => {
    const all = await logged(
      'garbage',
      `console.log('\\0\\x01\\x1b[31m\\ud800\\r\\u2028');
       console.log('');
       console.log('x'.repeat(5_000_000));
       console.log('\\\\'.repeat(100_000));
       console.log('\\n'.repeat(100_000))`,
    );
    expect(all).toHaveLength(6);
    for (const { message } of all) expect(message.length).toBeLessThanOrEqual(LIMITS.logEntryBytesMax);
    expect(all[0]?.message.startsWith('\0\x01\x1b[31m')).toBe(true);
  });

  test('harm anybody but itself with poisoned prototypes', async ({ expect }) => {
    const all = await logged(
      'poison',
      `Headers.prototype.get = () => 'someone else\\n~cwx y';
       Array.prototype.map = () => { throw new Error('poisoned'); };
       JSON.stringify = () => 'poisoned';
       console.log('after', { a: 1 })`,
    );
    expect(all.every(({ versionId, kind }) => versionId === 'default/poison@1' && kind === 'console')).toBe(
      true,
    );
  });

  test('write more than its allowance: the rest is dropped and counted', async ({ expect }) => {
    const all = await logged(
      'meagre',
      `for (let line = 0; line < 500; line += 1) console.log('x'.repeat(100));
       await scheduler.wait(1_500)`,
      { logBytesPerSecond: 2_000 },
    );
    const kept = all.filter(({ message }) => message.startsWith('xxx')).length;
    const dropped = all.reduce((sum, entry) => sum + (entry.dropped ?? 0), 0);
    expect(kept).toBeLessThan(60);
    // Words of workerd itself may be among them.
    expect(kept + dropped).toBeGreaterThanOrEqual(500);
    expect(kept + dropped).toBeLessThan(505);
  });
});

test('what nobody catches is in the log, with its request', async ({ expect }) => {
  const all = await logged(
    'uncaught',
    `Promise.reject(new TypeError('rejected'));
     setTimeout(() => { throw new RangeError('from a timer'); }, 1);
     ctx.waitUntil(Promise.reject(new Error('after the response')));
     setTimeout(() => Promise.reject('no error at all'), 1);
     await scheduler.wait(30)`,
  );
  expect(
    all
      .filter(({ kind }) => kind === 'exception')
      .map(({ message, requestId }) => `${requestId} ${message}`)
      .sort(),
  ).toEqual([
    'own Error: after the response',
    'own RangeError: from a timer',
    'own TypeError: rejected',
    'own Uncaught no error at all',
  ]);
});

const POISON = `
  const poison = () => { throw 'poisoned'; };
  Object.defineProperty(Error, Symbol.hasInstance, { value: poison });
  const { ownKeys } = Reflect;
  const skipped = new Set(['prototype', 'constructor', 'length']);
  const has = skipped.has.bind(skipped);
  for (const target of [String.prototype, RegExp.prototype, Map.prototype, Set.prototype, WeakSet.prototype, Date.prototype, Promise.prototype, Function.prototype, Object, Array, Date, Math, Array.prototype])
    for (const name of ownKeys(target))
      try { if (!has(name)) target[name] = poison; } catch {}
  globalThis.Error = globalThis.String = globalThis.Number = globalThis.JSON = globalThis.Map = globalThis.Promise = globalThis.WeakSet = poison;
`;

test('the console and exceptions are heard when nearly every builtin was poisoned before', async ({
  expect,
}) => {
  const { path } = await world.run({
    id: 'default/venom@1',
    modules: [
      {
        name: 'index.js',
        content: `const values = [new Map([['k', [1, 'two']]]), new Set([3]), new Date(0), /r/g, new Uint8Array(4), { a: { b: null } }];
          const error = new RangeError('in spite of it', { cause: new TypeError('its cause') });
          export default { fetch(request) {
            ${POISON}
            console.log('%s and %d%%', 'text', 42, values[0], values[1]);
            console.warn(values[2], values[3], values[4], values[5], 'a\\nb');
            console.count('label');
            throw error;
          } };`,
      },
    ],
  });
  await callSocket(path, { headers: HEADERS }).catch(() => undefined);
  const all = await waitFor('the exception', async () => {
    const found = await world.entries('venom');
    return found.some(({ kind }) => kind === 'exception') ? found : undefined;
  });
  expect(all.filter(({ requestId }) => requestId === 'own').map(({ message }) => message)).toEqual([
    'text and 42% Map(1) { "k" => [ 1, "two" ] } Set(1) { 3 }',
    '1970-01-01T00:00:00.000Z /r/g Uint8Array (4 bytes) { a: { b: null } } a\nb',
    'label: 1',
    'RangeError: in spite of it',
  ]);
  expect(all.at(-1)?.stack).toContain('Caused by: TypeError: its cause');
});

describe('workerd formats each line with methods that user code can replace, who', () => {
  /** Before the module's own handler; each tries to turn what is written into an exception of another request. */
  const FORGERS = {
    'replaces `pop`': `Array.prototype.pop = function () { globalThis.seen.push(this[0]); this[0] = FORGED; return false; };`,
    'replaces `pop` by a getter': `Object.defineProperty(Array.prototype, 'pop', { configurable: true, get: () => function () { globalThis.seen.push(this[0]); this[0] = FORGED; return false; } });`,
    'replaces the iterator': `Array.prototype[Symbol.iterator] = function* () { globalThis.seen.push(this[0]); yield FORGED; };`,
    'replaces the steps of the iterator': `const steps = Object.getPrototypeOf([][Symbol.iterator]()); const { next } = steps; steps.next = function () { const step = next.call(this); globalThis.seen.push(step.value); return step.done ? step : { done: false, value: FORGED }; };`,
  };

  test.for(Object.entries(FORGERS))(
    '%s, forges nothing and learns nothing',
    async ([, forger], { expect }) => {
      const { path } = await world.run({
        id: `default/forger-${Object.values(FORGERS).indexOf(forger)}@1`,
        // stdout of such a date goes past the console.
        compatibilityDate: '2025-01-01',
        compatibilityFlags: ['nodejs_compat'],
        modules: [
          {
            name: 'index.js',
            content: `globalThis.seen = []; const FORGED = '~xeother forged'; ${forger}
            export default { fetch() { console.log('own words'); let text = ''; for (let at = 0; at < seen.length; at += 1) text += seen[at] + '|'; return new Response(text); } };`,
          },
        ],
      });
      const { text } = await callSocket(path, { headers: HEADERS });
      expect(text).not.toMatch(/~\w/);
      const name = `forger-${Object.values(FORGERS).indexOf(forger)}`;
      const all = await waitFor('the line', async () => {
        const found = await world.entries(name);
        return found.length > 0 ? found : undefined;
      });
      expect(all.map(({ kind, message, requestId }) => [kind, message, requestId])).toEqual([
        ['console', 'own words', 'own'],
      ]);
    },
  );

  test('makes it his for good, is not heard', async ({ expect }) => {
    const { path } = await world.run({
      id: 'default/fixed@1',
      modules: [
        {
          name: 'index.js',
          content: `export default { fetch() {
              Object.defineProperty(Array.prototype, 'pop', { configurable: false, writable: false, value: function () { this[0] = '~xeother forged'; return false; } });
              console.log('own words');
              return new Response('answered');
            } };`,
        },
      ],
    });
    expectAnswered((await callSocket(path, { headers: HEADERS })).text);
    expect(await world.entries('fixed')).toEqual([]);
  });
});

test('values whose traps and conversions throw are logged as not printable', async ({ expect }) => {
  const all = await logged(
    'traps',
    `const trap = () => { throw new Error('trap'); };
     const proxy = new Proxy({}, { getPrototypeOf: trap, get: trap, ownKeys: trap });
     console.log('%d', { valueOf: trap }, proxy);
     console.count(proxy);
     setTimeout(() => { throw proxy; }, 1);
     setTimeout(() => { throw new Proxy(new Error('x'), { getPrototypeOf: trap }); }, 1);
     await scheduler.wait(30)`,
  );
  const own = all.filter(({ requestId }) => requestId === 'own');
  expect(own.map(({ kind, message }) => `${kind} ${message}`)).toEqual([
    'console [not printable] [not printable]',
    'console [not printable]: 1',
    'exception a value that cannot be printed was thrown',
    'exception a value that cannot be printed was thrown',
    'console last',
  ]);
});

test('a burst far beyond the pipe neither blocks the instance nor is lost', async ({ expect }) => {
  const all = await logged('burst', `for (let line = 0; line < 1_500; line += 1) console.log(line)`);
  expect(all.filter(({ message }) => /^\d+$/.test(message)).map(({ message }) => Number(message))).toEqual(
    Array.from({ length: 1_500 }, (_, index) => index),
  );
});

test('the last words before a loop and a kill are kept', async ({ expect }) => {
  const { path } = await world.run({
    id: 'default/words@1',
    limits: { cpuMs: 100 },
    modules: [
      {
        name: 'index.js',
        content: "export default { fetch() { console.log('one'); console.log('two'); for (;;) {} } };",
      },
    ],
  });
  await callSocket(path).catch(() => undefined);
  const all = await waitFor('the kill', async () => {
    const found = await world.entries('words');
    return found.some(({ kind }) => kind === 'platform') ? found : undefined;
  });
  expect(all.map(({ message }) => message).slice(0, 2)).toEqual(['one', 'two']);
});
