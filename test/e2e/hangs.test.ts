/**
 * Goal: a plane that hangs is replaced, and until then it holds up nobody who does not need it.
 * Method: planes of a running platform are stopped (SIGSTOP), while functions are called all the time.
 */
import { request } from 'undici';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { hostOf, TestPlatform } from '../support/platform.ts';

const CALL_MS_MAX = 20_000;

const statusSchema = z.object({
  versions: z.array(z.object({ versionId: z.string(), slotsLeased: z.number() })),
});

interface Called {
  readonly answers: readonly string[];
  /** Connections that broke, or had no answer in time. */
  readonly failures: readonly string[];
}

describe('a running platform', () => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await TestPlatform.start({ gateways: 2 });
    await platform.api.deploy('warm', {
      modules: { 'index.js': `export default { fetch() { return new Response('warm'); } };` },
      config: { auth: { mode: 'public' } },
    });
    await platform.call('warm');
  });
  afterAll(() => platform?.[Symbol.asyncDispose]());

  /** Calls one after the other, each on a connection of its own, until `until` resolves. */
  async function callWhile(until: Promise<unknown>): Promise<Called> {
    const answers: string[] = [];
    const failures: string[] = [];
    const over = new AbortController();
    const ended = until.finally(() => over.abort());
    while (!over.signal.aborted)
      try {
        const { body } = await request(platform.gatewayUrl, {
          headers: { host: hostOf(platform.gatewayUrl, 'warm') },
          reset: true,
          signal: AbortSignal.timeout(CALL_MS_MAX),
        });
        answers.push(await body.text());
      } catch (thrown) {
        failures.push(String(thrown));
      }
    await ended;
    return { answers, failures };
  }

  async function hang(plane: string): Promise<void> {
    const pid = platform.platform.pids()[plane] ?? 0;
    process.kill(pid, 'SIGSTOP');
    await waitFor(
      `another ${plane}`,
      () => ![pid, undefined].includes(platform.platform.pids()[plane]),
      30_000,
    );
  }

  const planes = (): Promise<unknown> =>
    waitFor(
      'both gateways, the scheduler and the node to follow the feed',
      async () => (await platform.api.status()).consumers.filter(({ connected }) => connected).length === 4,
      30_000,
    );

  for (const plane of ['control', 'scheduler', 'node'])
    test(`replaces a ${plane} that hangs, and every call is answered meanwhile`, async ({ expect }) => {
      const { answers, failures } = await callWhile(hang(plane).then(planes));
      expect(failures).toEqual([]);
      expect([...new Set(answers)]).toEqual(['warm']);
      expect(answers.length).toBeGreaterThan(10);
    });

  test('calls an instance that lies idle, before there is another scheduler', async ({ expect }) => {
    expect((await platform.call('warm')).text).toBe('warm');
    const scheduler = peerOf(layoutOf(platform.dataDir).sockets.scheduler);
    // Gateways give leases back that nobody uses; the instance stays.
    await waitFor('all leases to be given back', async () => {
      const { versions } = await scheduler.call('/v1/status', statusSchema);
      return (
        versions.some(({ versionId }) => versionId.startsWith('default/warm@')) &&
        versions.every(({ slotsLeased }) => slotsLeased === 0)
      );
    });
    await scheduler.close();
    const pid = platform.platform.pids()['scheduler'] ?? 0;
    process.kill(pid, 'SIGKILL');
    const answer = await platform.call('warm');
    expect(answer.text).toBe('warm');
    expect([pid, undefined]).toContain(platform.platform.pids()['scheduler']);
    await waitFor(
      'another scheduler',
      () => ![pid, undefined].includes(platform.platform.pids()['scheduler']),
      30_000,
    );
    await planes();
    expect((await platform.call('warm')).text).toBe('warm');
  });

  test('replaces one of two gateways: connections that it had break instead of hanging, later ones are answered', async ({
    expect,
  }) => {
    const { answers, failures } = await callWhile(hang('gateway-1').then(planes));
    expect([...new Set(answers)]).toEqual(['warm']);
    expect(failures.filter((failure) => /timeout|abort/i.test(failure))).toEqual([]);
    const after = await callWhile(new Promise((resolve) => setTimeout(resolve, 500)));
    expect(after.failures).toEqual([]);
    expect(after.answers.length).toBeGreaterThan(10);
  });

  test('deploys again after all that', async ({ expect }) => {
    await platform.api.deploy('fresh', {
      modules: { 'index.js': `export default { fetch() { return new Response('fresh'); } };` },
      config: { auth: { mode: 'public' } },
    });
    expect((await platform.call('fresh')).text).toBe('fresh');
  });
});
