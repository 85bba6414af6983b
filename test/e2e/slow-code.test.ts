/**
 * Goal: time is bounded for code that waits instead of burning. Method: such functions on a real platform;
 * each call must end by itself, with its own outcome, and the function must serve on.
 */
import { request } from 'undici';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { hostOf, TestPlatform } from '../support/platform.ts';

const SOURCE = `
export default {
  async fetch(request, env, ctx) {
    switch (new URL(request.url).pathname) {
      case '/late': await scheduler.wait(1_000); return new Response('late');
      case '/never-reads': await new Promise((resolve) => setTimeout(resolve, 60_000)); return new Response('late');
      case '/ignores-body': return new Response('not read');
      case '/hangs': return new Promise(() => {});
      case '/stream': {
        const { readable, writable } = new TransformStream();
        const writer = writable.getWriter();
        ctx.waitUntil((async () => {
          await writer.write(new TextEncoder().encode('begun'));
          await scheduler.wait(60_000);
        })());
        return new Response(readable);
      }
      case '/not-a-response': return { status: 200 };
      case '/throws-text': throw 'just a text';
      case '/throws-nothing': throw undefined;
      default: return new Response('fine');
    }
  },
};`;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await TestPlatform.start();
  await platform.api.deploy('slow', {
    modules: { 'index.js': SOURCE },
    config: {
      auth: { mode: 'public' },
      limits: { timeoutMs: 500, streamIdleMs: 400 },
      scaling: { maxInstances: 1, concurrency: 4, queueDepth: 0 },
    },
  });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

/** Head and first bytes of a stream that goes on. */
function open(path: string): ReturnType<typeof request> {
  return request(new URL(path, platform.gatewayUrl), {
    headers: { host: hostOf(platform.gatewayUrl, 'slow') },
  });
}

describe('a function that', () => {
  for (const [path, status, code] of [
    ['/late', 504, 'timeout'],
    ['/hangs', 500, 'function_error'],
    ['/not-a-response', 500, 'function_error'],
    ['/throws-text', 500, 'function_error'],
    ['/throws-nothing', 500, 'function_error'],
  ] as const)
    test(`does ${path} is answered ${code}`, async ({ expect }) => {
      expect(await platform.call('slow', { path })).toMatchObject({ status, code });
      expect((await platform.call('slow')).text).toBe('fine');
    });

  test('never reads a body is answered timeout, and one that ignores it its own answer', async ({
    expect,
  }) => {
    const body = new Uint8Array(8 << 20);
    expect(await platform.call('slow', { path: '/never-reads', method: 'POST', body })).toMatchObject({
      code: 'timeout',
    });
    const ignored = await platform.call('slow', { path: '/ignores-body', method: 'POST', body: 'short' });
    expect(ignored.text).toBe('not read');
  });

  test('never ends its response is cut after the silence it may keep', async ({ expect }) => {
    const response = await open('/stream');
    expect(response.statusCode).toBe(200);
    await expect(response.body.text()).rejects.toThrow();
    expect((await platform.call('slow')).text).toBe('fine');
  });

  test('holds streams open uses up its concurrency with them', async ({ expect }) => {
    const streams = await Promise.all([1, 2, 3, 4].map(() => open('/stream')));
    const refused = await platform.call('slow');
    expect(refused.code).toBe('queue_full');
    await Promise.all(streams.map((stream) => stream.body.text().catch(() => 'cut')));
    await waitFor('a free slot', async () => (await platform.call('slow')).text === 'fine');
  });
});
