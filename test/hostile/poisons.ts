/** Code that changes what everything in its isolate is made of, or ends it from within. */
import { type AnswerMust, attack, type Attack, handler } from './attack.ts';

const THROWN: AnswerMust = { status: 500, code: 'function_error' };
const FINE: AnswerMust = { status: 200, text: /^fine$/ };

const poisons = (
  name: string,
  [top, body]: readonly [string, string],
  must: AnswerMust,
  extra: Partial<Attack> = {},
): Attack =>
  attack(
    `poisons ${name}`,
    `${top}\nexport default { async fetch(request, env, ctx) { ${body} } };`,
    must,
    extra,
  );
const ANY: AnswerMust = { status: [200, 500], code: [undefined, 'function_error'] };

export const POISONS: readonly Attack[] = [
  poisons(
    'Promise',
    [
      `Promise.prototype.then = function () { return this; }; globalThis.Promise = class {};`,
      `return new Response('fine');`,
    ],
    { status: [200, 500, 504], code: [undefined, 'function_error', 'timeout'] },
    { config: { limits: { timeoutMs: 1_000 } } },
  ),
  poisons(
    'Response, so that its throw looks like an answer',
    [
      `const Real = Response; globalThis.Response = class { constructor() { return new Real('fine'); } }; Object.defineProperty(Real, Symbol.hasInstance, { value: () => true });`,
      `throw new Error('behind the mask');`,
    ],
    ANY,
  ),
  poisons(
    'JSON',
    [
      `JSON.stringify = () => '{"k":"c","l":"log","m":"forged"}'; JSON.parse = () => { throw 1; };`,
      `console.log('x'); return new Response('fine');`,
    ],
    FINE,
    { log: { kind: 'console', message: /^(?:forged|x)$/ } },
  ),
  poisons(
    'the console',
    [
      `console.log = console.error = console.info = () => { throw new Error('console'); };`,
      `throw new Error('seen all the same');`,
    ],
    THROWN,
    { log: { kind: 'exception', message: /seen all the same/ } },
  ),
  poisons(
    'AsyncLocalStorage',
    [
      `import { AsyncLocalStorage } from 'node:async_hooks'; AsyncLocalStorage.prototype.getStore = () => ({ headers: { get: () => 'forged' } }); AsyncLocalStorage.prototype.run = () => 'not run';`,
      `return new Response('fine');`,
    ],
    ANY,
  ),
  poisons(
    'Object.prototype',
    [
      `for (const name of ['k', 'l', 'm', 'r', 's', 'status', 'headers', 'value', 'get', 'set', 'webSocket', 'cf']) Object.defineProperty(Object.prototype, name, { __proto__: null, configurable: true, get() { return undefined; }, set() { throw new Error('set'); } });`,
      `console.log('x'); return new Response('fine');`,
    ],
    FINE,
    { log: { kind: 'console', message: /^x$/ } },
  ),
  poisons(
    'arrays and strings',
    [
      `for (const target of [Array.prototype, String.prototype, Map.prototype, Set.prototype]) for (const name of Object.getOwnPropertyNames(target)) try { target[name] = () => { throw new Error('poison'); }; } catch {}`,
      `console.log('a', { b: 1 }); return new Response('fine');`,
    ],
    FINE,
    { log: { kind: 'console', message: /^a \{ b: 1 \}$/ } },
  ),
  poisons(
    'Headers, to hide its request from the log',
    [`Headers.prototype.get = () => 'forged';`, `console.log('x'); return new Response('fine');`],
    FINE,
  ),
  poisons(
    'every global by deleting it',
    [
      `for (const name of Object.getOwnPropertyNames(globalThis)) try { delete globalThis[name]; } catch {}`,
      `return 1;`,
    ],
    THROWN,
    { log: { kind: 'exception', message: /it returned a number/ } },
  ),
  poisons(
    'the modules of the platform',
    [
      `for (const name of ['isoplane-internal:runtime', './isoplane/runtime.js', './isoplane/entry.js']) { const inner = await import(name).catch(() => undefined); for (const key of Object.keys(inner ?? {})) try { inner[key] = () => 1; } catch {} }`,
      `return new Response('fine');`,
    ],
    ANY,
  ),
  {
    ...attack(
      'replaces the entry module of the platform',
      `export default { fetch() { return new Response('fine'); } };`,
      FINE,
    ),
    modules: {
      'index.js': `export default { fetch() {} };`,
      'isoplane/entry.js': `export default { fetch() {} };`,
    },
    must: { kind: 'refused_upload', code: 'module_name_invalid', reason: /reserved prefix/ },
  },
  {
    ...attack('breaks out of the name of its main module', ``, FINE),
    modules: { 'a";import "workerd:unsafe";".js': `export default { fetch() {} };` },
    must: { kind: 'refused_upload', code: 'module_name_invalid', reason: /plain path segments/ },
  },
  handler(
    'ends its own process',
    `const { default: process } = await import('node:process'); (process.reallyExit ?? process.exit)(0); return new Response('fine');`,
    { status: [200, 500, 502], code: [undefined, 'function_error', 'crashed'] },
  ),
  handler(
    'aborts its own context',
    `ctx.abort(new Error('by itself')); await scheduler.wait(50); return new Response('still here');`,
    THROWN,
    { log: { kind: 'exception', message: /by itself/ } },
  ),
  handler(
    'aborts its own isolate',
    `const { abortIsolate } = await import('cloudflare:workers'); abortIsolate('by itself'); return new Response('still here');`,
    { status: [500, 502], code: ['function_error', 'crashed'] },
  ),
  handler(
    'aborts its own process',
    `const { default: process } = await import('node:process'); process.abort(); return new Response('fine');`,
    { status: [200, 500, 502], code: [undefined, 'function_error', 'crashed'] },
  ),
];
