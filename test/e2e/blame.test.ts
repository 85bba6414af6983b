/**
 * Goal: who breaks a limit hears of it, and who only shared its instance is served. Method: several requests
 * in flight on one instance of a real platform when one of them loops.
 */
import { afterAll, beforeAll, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { TestPlatform, type CallAnswer } from '../support/platform.ts';

const SOURCE = `
let waiting = 0;
export default {
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case '/loop': for (;;) {}
      case '/late-loop': await scheduler.wait(600); for (;;) {}
      case '/wait': waiting += 1; await scheduler.wait(1_500); return new Response('waited');
      case '/echo': {
        const text = await request.text();
        waiting += 1;
        await scheduler.wait(1_500);
        return new Response(text);
      }
      case '/waiting': return new Response(String(waiting));
      default: return new Response('fine');
    }
  },
};`;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

async function deploy(name: string): Promise<void> {
  await platform.api.deploy(name, {
    modules: { 'index.js': SOURCE },
    config: { auth: { mode: 'public' }, limits: { cpuMs: 200 }, scaling: { maxInstances: 1 } },
  });
}

/** Requests that begin together cannot be told apart from outside. */
async function apart(): Promise<void> {
  const untilMs = performance.now() + 150;
  await waitFor('some time to pass', () => performance.now() > untilMs);
}

async function bystanders(name: string, count: number): Promise<Promise<CallAnswer>[]> {
  const calls = Array.from({ length: count }, () => platform.call(name, { path: '/wait' }));
  await waitFor(
    'the bystanders to be in flight',
    async () => (await platform.call(name, { path: '/waiting' })).text === String(count),
  );
  await apart();
  return calls;
}

test('a loop is answered cpu_exceeded, and those who shared its instance are served by another', async ({
  expect,
}) => {
  await deploy('shared');
  const waiting = await bystanders('shared', 4);
  const loop = platform.call('shared', { path: '/loop' });
  await apart();
  const later = platform.call('shared');
  expect(await loop).toMatchObject({ status: 500, code: 'cpu_exceeded' });
  expect((await Promise.all(waiting)).map(({ text }) => text)).toEqual(Array(4).fill('waited'));
  expect((await later).text).toBe('fine');
});

test('a request that cannot be repeated hears that it was not to blame', async ({ expect }) => {
  await deploy('posted');
  const [waiting] = await bystanders('posted', 1);
  const posted = platform.call('posted', { path: '/wait', method: 'POST' });
  await waitFor(
    'it to be in flight',
    async () => (await platform.call('posted', { path: '/waiting' })).text === '2',
  );
  await apart();
  expect((await platform.call('posted', { path: '/loop' })).code).toBe('cpu_exceeded');
  expect((await posted).code).toBe('instance_lost');
  expect((await waiting)?.text).toBe('waited');
});

test('a request of another function with an idempotency key is sent again, with its body', async ({
  expect,
}) => {
  await deploy('paid');
  await platform.api.deploy('payer', {
    modules: {
      'index.js': `export default { fetch: (request, env) => env.PAID.fetch('http://paid/echo', {
        method: 'POST', body: 'paid once', headers: { 'idempotency-key': 'k-1' },
      }) };`,
    },
    config: { auth: { mode: 'public' }, services: [{ binding: 'PAID', function: 'paid' }] },
  });
  const paying = platform.call('payer');
  await waitFor(
    'it to be in flight',
    async () => (await platform.call('paid', { path: '/waiting' })).text === '1',
  );
  await apart();
  expect((await platform.call('paid', { path: '/loop' })).code).toBe('cpu_exceeded');
  expect((await paying).text).toBe('paid once');
});

test('the log of the function names the request that was stopped', async ({ expect }) => {
  await deploy('named');
  const answer = await platform.call('named', { path: '/late-loop' });
  expect(answer).toMatchObject({ code: 'cpu_exceeded' });
  const { body } = await platform.api.call('GET', 'functions/named/logs?tail=10');
  expect(String(body)).toContain(`"requestId":"${String(answer.headers['isoplane-request-id'])}"`);
});
