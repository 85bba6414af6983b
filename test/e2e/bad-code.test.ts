/**
 * Goal: code that misbehaves harms itself only, and the caller hears what happened. Method: such functions
 * run on a real platform beside a neighbour that is called all the time.
 */
import { afterAll, beforeAll, beforeEach, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { processTree } from '../support/proc.ts';
import { TestPlatform, type CallAnswer } from '../support/platform.ts';

const PUBLIC = { auth: { mode: 'public' } } as const;
const CPU_MS = 200;

/** One function whose path says how it misbehaves. */
const BAD = `
const keep = [];
let waiting = 0;
export default {
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case '/loop': for (;;) {}
      case '/slow': await scheduler.wait(60_000); return new Response('late');
      case '/wait': waiting += 1; await scheduler.wait(20_000); return new Response('waited');
      case '/waiting': return new Response(String(waiting));
      case '/heap': for (;;) keep.push(new Array(100_000).fill(Math.random()));
      case '/buffers': for (;;) keep.push(new Uint8Array(32 << 20).fill(1));
      case '/die': return new Response('x'.repeat(2 ** 28).split('').length);
      case '/throw': throw new RangeError('thrown on purpose');
      case '/hang': return new Promise(() => {});
      case '/flood':
        for (let line = 0; line < 100_000; line += 1) console.log('flood', line, 'x'.repeat(200));
        return new Response('flooded');
      default: return new Response('fine');
    }
  },
};
`;
let platform: TestPlatform;
let neighbourFails: CallAnswer[];
let neighbourCalls: number;
let watching: AbortController;
let watcher: Promise<void>;

/** @param ampleMs - CPU and wall time for functions that must run into something else. */
async function deployBad(name: string, ampleMs?: number): Promise<void> {
  await platform.api.deploy(name, {
    modules: { 'index.js': BAD },
    config: {
      ...PUBLIC,
      limits: { cpuMs: ampleMs ?? CPU_MS, timeoutMs: ampleMs ?? 1_500, memoryMb: 64 },
      scaling: { maxInstances: 2 },
    },
  });
}

const bad = (name: string, path: string): Promise<CallAnswer> => platform.call(name, { path });

async function watchNeighbour(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const answer = await platform.call('neighbour');
    neighbourCalls += 1;
    if (answer.text !== 'fine') neighbourFails.push(answer);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function neighbourIsFine(): Promise<void> {
  watching.abort();
  await watcher;
  if (neighbourCalls === 0) throw new Error('the neighbour was never called');
  if (neighbourFails.length > 0)
    throw new Error(
      `the neighbour failed ${neighbourFails.length} times: ${JSON.stringify(neighbourFails[0])}`,
    );
}

beforeAll(async () => {
  platform = await TestPlatform.start();
  await platform.api.deploy('neighbour', {
    modules: { 'index.js': `export default { fetch() { return new Response('fine'); } };` },
    config: PUBLIC,
  });
});
afterAll(() => platform?.[Symbol.asyncDispose]());
beforeEach(() => {
  neighbourFails = [];
  neighbourCalls = 0;
  watching = new AbortController();
  watcher = watchNeighbour(watching.signal);
  return neighbourIsFine;
});

describe('a function that', () => {
  test('loops for ever is stopped as cpu_exceeded, and serves again', async ({ expect }) => {
    await deployBad('looping');
    expect(await bad('looping', '/loop')).toMatchObject({ status: 500, code: 'cpu_exceeded' });
    const again = await waitFor('a new instance', async () => {
      const answer = await bad('looping', '/');
      return answer.status === 200 ? answer : undefined;
    });
    expect(again.text).toBe('fine');
  });

  test('fills its heap is stopped as memory_exceeded', async ({ expect }) => {
    await deployBad('hog', 20_000);
    expect(await bad('hog', '/heap')).toMatchObject({ status: 500, code: 'memory_exceeded' });
  });

  test('fills its array buffers hits a limit too', async ({ expect }) => {
    await deployBad('buffers', 20_000);
    const answer = await bad('buffers', '/buffers');
    // Refused by the allocator (a RangeError that the function did not catch) or stopped by the node.
    expect(answer.status).toBe(500);
    expect(['function_error', 'memory_exceeded']).toContain(answer.code);
  });

  test('does not answer in time is answered timeout', async ({ expect }) => {
    await deployBad('slow');
    const begin = performance.now();
    expect(await bad('slow', '/slow')).toMatchObject({ status: 504, code: 'timeout' });
    expect(performance.now() - begin).toBeLessThan(10_000);
  });

  test('can never answer fails instead of hanging', async ({ expect }) => {
    await deployBad('hanging');
    const answer = await bad('hanging', '/hang');
    expect(answer.status).toBeGreaterThanOrEqual(500);
    expect(['function_error', 'timeout']).toContain(answer.code);
  });

  test('throws is answered function_error, and its log has the stack', async ({ expect }) => {
    await deployBad('throwing');
    const answer = await bad('throwing', '/throw');
    expect(answer).toMatchObject({ status: 500, code: 'function_error' });
    expect(answer.text).not.toContain('thrown on purpose');
    const requestId = String(answer.headers['isoplane-request-id']);
    const entry = await waitFor('the log entry', async () => {
      const logs = await platform.api.call('GET', 'functions/throwing/logs?tail=50');
      return String(logs.body)
        .split('\n')
        .find((line) => line.includes('thrown on purpose') && line.includes(requestId));
    });
    expect(JSON.parse(entry)).toMatchObject({
      kind: 'exception',
      stack: expect.stringContaining('index.js'),
    });
  });

  test('crashes its own process takes nothing else along', async ({ expect }) => {
    await deployBad('dying', 20_000);
    const answer = await bad('dying', '/die');
    expect(answer.status).toBeGreaterThanOrEqual(500);
    expect(['crashed', 'memory_exceeded']).toContain(answer.code);
  });

  test('loses its process is answered crashed', async ({ expect }) => {
    await platform.api.deploy('killed', {
      modules: { 'index.js': BAD },
      config: { ...PUBLIC, scaling: { maxInstances: 1 } },
    });
    const instance = await busiestProcess(() => bad('killed', '/'));
    const waiting = platform.call('killed', { path: '/wait', method: 'POST' });
    await waitFor('the call to run', async () => (await bad('killed', '/waiting')).text === '1');
    process.kill(instance, 'SIGKILL');
    expect(await waiting).toMatchObject({ status: 502, code: 'crashed' });
    expect(
      await waitFor('a new instance', async () => {
        const answer = await bad('killed', '/');
        return answer.status === 200 ? answer.text : undefined;
      }),
    ).toBe('fine');
  });

  test('floods its log answers, and the log says what was dropped', async ({ expect }) => {
    await platform.api.deploy('flood', {
      modules: { 'index.js': BAD },
      config: { ...PUBLIC, limits: { cpuMs: 30_000, timeoutMs: 30_000 } },
    });
    expect(await bad('flood', '/flood')).toMatchObject({ status: 200, text: 'flooded' });
    const logs = await waitFor('the note about dropped entries', async () => {
      const { body } = await platform.api.call('GET', 'functions/flood/logs?tail=2000');
      return String(body).includes('"dropped":') ? String(body) : undefined;
    });
    expect(logs.split('\n').length).toBeLessThanOrEqual(2_001);
  });
});

/** The sandboxed process whose CPU time rises when `work` is done, more than any other's. */
async function busiestProcess(work: () => Promise<unknown>): Promise<number> {
  const ticks = (): Map<number, number> =>
    new Map(
      Object.values(platform.platform.pids())
        .flatMap((pid) => processTree(pid))
        .filter(({ name }) => name === 'workerd')
        .map((stat) => [stat.pid, stat.ticks]),
    );
  return waitFor('the busy process', async () => {
    const before = ticks();
    for (let index = 0; index < 200; index += 1) await work();
    const [busiest] = [...ticks()]
      .map(([pid, used]) => ({ pid, used: used - (before.get(pid) ?? 0) }))
      .sort((left, right) => right.used - left.used);
    return busiest !== undefined && busiest.used > 1 ? busiest.pid : undefined;
  });
}
