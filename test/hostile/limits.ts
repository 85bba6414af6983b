/** Code that takes more than its share: CPU, memory, time, connections, log, bytes. */
import { request } from 'undici';
import { hostOf } from '../support/platform.ts';
import { attack, handler, type AnswerMust, type Attack, type Target } from './attack.ts';

const CPU: AnswerMust = { status: 500, code: 'cpu_exceeded' };
const MEMORY: AnswerMust = { status: 500, code: 'memory_exceeded' };
const TIMEOUT: AnswerMust = { status: 504, code: 'timeout' };
const THROWN: AnswerMust = { status: 500, code: 'function_error' };
/** Killed for its memory, or refused by the allocator: then the exception is its own. */
const HOG: AnswerMust = { status: 500, code: ['memory_exceeded', 'function_error'] };
const FINE = `if (new URL(request.url).pathname === '/fine') return new Response('fine');`;
const SHORT = { limits: { cpuMs: 200, timeoutMs: 20_000, memoryMb: 64 } } as const;
/** CPU and wall time for what must run into its memory limit. */
const AMPLE = { limits: { cpuMs: 20_000, timeoutMs: 30_000, memoryMb: 64 } } as const;
const KILLED_FOR_CPU = { kind: 'platform', message: /limit of a request is 200 ms/ } as const;

const burns = (name: string, body: string): Attack =>
  handler(`cpu: ${name}`, `${FINE} ${body}`, CPU, { config: SHORT, log: KILLED_FOR_CPU, recovers: '/fine' });

const hogs = (name: string, body: string, must = MEMORY): Attack =>
  handler(`memory: ${name}`, `${FINE} const keep = (globalThis.keep = []); ${body}`, must, {
    config: AMPLE,
    recovers: '/fine',
  });

/** `(module (func (export "spin") (loop br 0)) (memory (export "memory") 1))` */
const WASM = new Uint8Array([
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 17, 2, 4, 0x73, 0x70,
  0x69, 0x6e, 0, 0, 6, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 2, 0, 10, 9, 1, 7, 0, 3, 0x40, 0x0c, 0, 0x0b, 0x0b,
]);
const withWasm = (name: string, body: string, must: AnswerMust, extra: Partial<Attack>): Attack => ({
  ...handler(name, `${FINE} const instance = await WebAssembly.instantiate(module); ${body}`, must, extra),
  modules: {
    'index.js': `import module from './bad.wasm';
export default { async fetch(request) { ${FINE} const { exports } = await WebAssembly.instantiate(module); ${body} } };`,
    'bad.wasm': WASM,
  },
});

const LOOPS: readonly Attack[] = [
  {
    ...attack('cpu: a loop at top level', `for (;;) {} export default { fetch() {} };`, { status: 200 }),
    must: { kind: 'refused_upload', code: 'publish_startup_failed', reason: /endless loop at its top level/ },
  },
  burns('a plain loop', `for (;;) {}`),
  burns('a loop in a getter', `return new Response(({ get loot() { for (;;) {} } }).loot);`),
  burns('a regular expression', `return new Response(String(/^(a+)+$/.test('a'.repeat(60) + '!')));`),
  burns('microtasks', `const spin = () => Promise.resolve().then(spin); await spin();`),
  burns('queueMicrotask', `const spin = () => queueMicrotask(spin); spin(); await scheduler.wait(1);`),
  burns('an asynchronous iterator', `for await (const _ of (async function* () { for (;;) yield 1; })()) {}`),
  burns('a comparator', `return Response.json([2, 1].sort(() => { for (;;) {} }));`),
  burns('a trap of a proxy', `return new Response(new Proxy({}, { get() { for (;;) {} } }).loot);`),
  burns('toJSON', `return Response.json({ toJSON() { for (;;) {} } });`),
  burns('a thenable', `return { then() { for (;;) {} } };`),
  burns('toString of what it throws', `throw { toString() { for (;;) {} }, get message() { for (;;) {} } };`),
  burns(
    'the stack of what it throws',
    `Error.prepareStackTrace = () => { for (;;) {} }; throw new Error('x');`,
  ),
  burns('a loop that catches everything', `for (;;) try { throw 1; } catch {} finally { continue; }`),
  burns('a timer that loops', `await new Promise(() => setTimeout(() => { for (;;) {} }, 0)); `),
  burns('big integers', `let big = 3n; for (;;) big = (big * big) % (1n << 4_000_000n);`),
  burns('encoding', `for (;;) new TextDecoder().decode(new Uint8Array(1 << 20));`),
  burns('hashing', `for (;;) await crypto.subtle.digest('SHA-512', new Uint8Array(1 << 20));`),
  burns(
    'node:crypto',
    `const { createHash } = await import('node:crypto'); for (;;) createHash('sha512').update(new Uint8Array(1 << 20)).digest();`,
  ),
  withWasm('cpu: a loop in wasm', `exports.spin();`, CPU, {
    config: SHORT,
    log: KILLED_FOR_CPU,
    recovers: '/fine',
  }),
  handler(
    'cpu: a loop after the answer',
    `${FINE} ctx.waitUntil(scheduler.wait(50).then(() => { for (;;) {} })); return new Response('fine');`,
    { status: 200, text: /^fine$/ },
    {
      // Stopped as idle, it would be ended for that.
      config: { ...SHORT, scaling: { idleTimeoutMs: 20_000 } },
      log: { kind: 'platform', message: /CPU time/ },
      recovers: '/fine',
    },
  ),
];

const HOGS: readonly Attack[] = [
  hogs('the heap', `for (;;) keep.push(new Array(100_000).fill(Math.random()));`),
  hogs('ArrayBuffers', `for (;;) keep.push(new Uint8Array(16 << 20).fill(1));`, HOG),
  hogs('shared buffers', `for (;;) keep.push(new Uint8Array(new SharedArrayBuffer(16 << 20)).fill(1));`, HOG),
  hogs(
    'strings',
    `for (let text = 'x'; ; text += text + Math.random()) keep.push([...text].join('-'));`,
    HOG,
  ),
  hogs(
    'JSON.parse of a huge string',
    `return Response.json(JSON.parse('[' + '{"a":[1]},'.repeat(3_000_000) + '1]').length);`,
    HOG,
  ),
  hogs(
    'a map',
    `const map = new Map(); for (let index = 0; ; index += 1) map.set({ index }, { index });`,
    HOG,
  ),
  hogs('blobs', `for (;;) keep.push(new Blob([new Uint8Array(4 << 20).fill(1)]));`, HOG),
  hogs(
    'streams that nobody reads',
    `for (;;) { const { writable } = new TransformStream(undefined, { highWaterMark: 1e9 }, { highWaterMark: 1e9 }); keep.push(writable); void writable.getWriter().write(new Uint8Array(4 << 20).fill(1)); }`,
    HOG,
  ),
  hogs(
    'closures that outlive the request',
    `for (;;) { const big = new Array(50_000).fill(request); keep.push(() => big); }`,
    HOG,
  ),
  hogs(
    'hogging and catching it',
    `for (;;) try { keep.push(new Array(200_000).fill(Math.random())); } catch {}`,
  ),
  withWasm(
    'memory: pages of wasm',
    `const view = () => new Uint8Array(exports.memory.buffer); for (;;) { if (exports.memory.grow(256) < 0) throw new Error('no more'); view().fill(1); }`,
    HOG,
    { config: AMPLE, recovers: '/fine' },
  ),
  handler(
    'memory: the whole process at once',
    `${FINE} return new Response(String('x'.repeat(2 ** 28).split('').length));`,
    { status: [500, 502], code: ['memory_exceeded', 'crashed'] },
    { config: AMPLE, recovers: '/fine' },
  ),
  handler(
    'memory: endless recursion',
    `const again = () => again() + 1; return new Response(String(again()));`,
    THROWN,
    { log: { kind: 'exception', message: /Maximum call stack/ } },
  ),
  handler(
    'memory: JSON nested ten million deep',
    `return Response.json(JSON.parse('['.repeat(10_000_000)));`,
    { status: [500, 502], code: ['function_error', 'crashed'] },
    { config: { limits: { ...AMPLE.limits, memoryMb: 128 } } },
  ),
  handler(
    'memory: a million timers',
    `for (let index = 0; index < 1_000_000; index += 1) setTimeout(() => {}, 100_000); return new Response('set');`,
    { status: 500, code: ['function_error', 'memory_exceeded'] },
    { config: AMPLE },
  ),
];

async function unfinished({ name, platform }: Target): Promise<string> {
  const response = await request(platform.gatewayUrl, {
    headers: { host: hostOf(platform.gatewayUrl, name) },
  });
  try {
    const text = await response.body.text();
    return `${response.statusCode} and all of it: ${text.slice(0, 50)}`;
  } catch {
    return `${response.statusCode} cut`;
  }
}

/** The head has gone out, so only an unfinished body tells the caller. */
const cut = (name: string, body: string, config: Attack['config']): Attack => ({
  ...handler(`time: ${name}`, body, { status: 200 }, config === undefined ? {} : { config }),
  must: {
    kind: 'check',
    check: async (target) => {
      const outcome = await unfinished(target);
      return outcome === '200 cut' ? undefined : outcome;
    },
  },
});

const IMPATIENT = { limits: { cpuMs: 500, timeoutMs: 1_000, streamIdleMs: 500 } } as const;
const TIMES: readonly Attack[] = [
  handler('time: never answering', `await scheduler.wait(60_000); return new Response('late');`, TIMEOUT, {
    config: IMPATIENT,
  }),
  handler('time: a promise that nobody settles', `return new Promise(() => {});`, THROWN, {
    config: IMPATIENT,
  }),
  handler(
    'time: a promise that a timer keeps alive',
    `setInterval(() => {}, 100); return new Promise(() => {});`,
    TIMEOUT,
    { config: IMPATIENT },
  ),
  handler(
    'time: answering after the deadline',
    `await scheduler.wait(1_500); return new Response('late');`,
    TIMEOUT,
    { config: IMPATIENT },
  ),
  handler(
    'time: waiting for ever for its own body',
    `await request.text(); await scheduler.wait(1e9);`,
    TIMEOUT,
    { config: IMPATIENT, call: { method: 'POST', body: 'x'.repeat(100_000) } },
  ),
  handler('time: never reading its body', `await scheduler.wait(1e9);`, TIMEOUT, {
    config: IMPATIENT,
    call: { method: 'POST', body: 'x'.repeat(8_000_000) },
  }),
  handler(
    'time: answering without reading its body',
    `return new Response('early');`,
    { status: 200, text: /^early$/ },
    { call: { method: 'POST', body: 'x'.repeat(8_000_000) } },
  ),
  handler(
    'time: work that never ends after the answer',
    `ctx.waitUntil(scheduler.wait(1e9)); ctx.waitUntil(new Promise(() => {})); return new Response('fine');`,
    { status: 200, text: /^fine$/ },
  ),
  cut(
    'a response that never ends and says nothing',
    `const { readable, writable } = new TransformStream(); writable.getWriter().write(new TextEncoder().encode('x')); ctx.waitUntil(scheduler.wait(1e9)); return new Response(readable);`,
    IMPATIENT,
  ),
  cut(
    'a response that fails half way',
    `let sent = 0; return new Response(new ReadableStream({ async pull(stream) { if (sent++ < 3) { await scheduler.wait(20); stream.enqueue(new TextEncoder().encode('part')); } else stream.error(new Error('half')); } }));`,
    IMPATIENT,
  ),
];

async function readsUntil({ name, platform }: Target, bytesMax: number): Promise<string | undefined> {
  const response = await request(platform.gatewayUrl, {
    headers: { host: hostOf(platform.gatewayUrl, name) },
  });
  let bytes = 0;
  for await (const chunk of response.body as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > bytesMax) break;
  }
  return bytes > bytesMax ? undefined : `ended after ${bytes} bytes`;
}

const BYTES: readonly Attack[] = [
  {
    ...handler(
      'bytes: a response without end',
      `const chunk = new Uint8Array(1 << 20); return new Response(new ReadableStream({ pull(stream) { stream.enqueue(chunk); } }));`,
      { status: 200 },
      { config: AMPLE },
    ),
    // The caller goes away; the census afterwards shows that the function ended with it.
    must: { kind: 'check', check: (target) => readsUntil(target, 64 << 20) },
  },
  handler(
    'bytes: one header of a megabyte',
    `return new Response('x', { headers: { 'x-huge': 'x'.repeat(1 << 20) } });`,
    { status: 502, code: 'response_invalid' },
  ),
  handler(
    'bytes: ten thousand headers',
    `const headers = new Headers(); for (let index = 0; index < 10_000; index += 1) headers.append('x-' + index, 'y'.repeat(50)); return new Response('x', { headers });`,
    { status: 502, code: 'response_invalid' },
  ),
  handler(
    'bytes: a gigabyte of log',
    `for (let line = 0; line < 100_000; line += 1) console.log('x'.repeat(10_000)); return new Response('logged');`,
    { status: [200, 500], code: [undefined, 'cpu_exceeded'] },
    {
      config: { limits: { cpuMs: 2_000, timeoutMs: 30_000 } },
      log: { kind: 'platform', message: /dropped/ },
    },
  ),
  handler(
    'bytes: one entry of a hundred megabytes',
    `console.log('x'.repeat(100_000_000)); return new Response('logged');`,
    { status: 200, text: /^logged$/ },
    { config: AMPLE, log: { kind: 'console', message: /^x{1000}/ } },
  ),
  handler(
    'bytes: a log entry without end of line, again and again',
    `const { default: process } = await import('node:process'); for (let part = 0; part < 2_000; part += 1) process.stdout.write('y'.repeat(10_000)); return new Response('logged');`,
    { status: 200, text: /^logged$/ },
    { config: AMPLE },
  ),
];

export const LIMIT_ATTACKS: readonly Attack[] = [...LOOPS, ...HOGS, ...TIMES, ...BYTES];
