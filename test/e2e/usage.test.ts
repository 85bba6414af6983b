/**
 * Goal: usage says what really passed. Method: known traffic through a real platform, read back through the
 * API and the command, also after a restart, which must neither lose nor repeat anything.
 */
import { afterAll, beforeAll, test } from 'vitest';
import type { UsageView } from '#shared/contracts/api.ts';
import { LIMITS } from '#shared/limits.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { TestPlatform } from '../support/platform.ts';

const SOURCE = `export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/throw') throw new Error('on purpose');
    const body = await request.text();
    if (pathname === '/burn') { const end = Date.now() + 100; while (Date.now() < end); }
    return new Response('x'.repeat(1_000) + body);
  },
};`;

let platform: TestPlatform;
beforeAll(async () => {
  platform = await TestPlatform.start();
  await platform.api.deploy('metered', {
    modules: { 'index.js': SOURCE },
    config: { auth: { mode: 'public' }, limits: { memoryMb: 64 } },
  });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

async function usage(): Promise<UsageView | undefined> {
  const { body } = await platform.api.call('GET', 'usage?granularity=total');
  const { items } = body as { items: UsageView[] };
  return items.find((item) => item.function === 'metered');
}

test('counts are exact for known traffic, and a restart neither loses nor repeats them', async ({
  expect,
}) => {
  for (let index = 0; index < 20; index += 1)
    await platform.call('metered', { method: 'POST', body: '0123456789' });
  for (let index = 0; index < 3; index += 1) await platform.call('metered', { path: '/throw' });
  for (let index = 0; index < 5; index += 1) await platform.call('metered', { path: '/burn' });
  const exact = {
    requests: 28,
    errors: 3,
    requestBytes: 200,
    responseBytes: 20 * 1_010 + 5 * 1_000,
    egressRequests: 0,
  };
  const first = await waitFor(
    'the reports',
    async () => {
      const found = await usage();
      return found !== undefined && found.requests > 0 && found.cpuMs > 0 ? found : undefined;
    },
    2 * LIMITS.usageReportMs,
  );
  expect(first).toMatchObject(exact);
  await platform.call('metered');
  await platform.restart();
  const after = await waitFor('usage after the restart', usage);
  expect(after).toMatchObject({ ...exact, requests: 29, responseBytes: exact.responseBytes + 1_000 });
  expect(after.cpuMs).toBeGreaterThan(50);
  expect(after.memoryMbMs).toBeGreaterThan(0);
  const said = await platform.cli(['--json', 'usage', '--function', 'metered']);
  expect(JSON.parse(said.stdout)).toMatchObject([{ function: 'metered', requests: 29 }]);
  expect((await platform.cli(['usage', '--by', 'hour'])).stdout).toContain('metered');
}, 60_000);
