/**
 * Goal: a plane that hangs is replaced, and until then it holds up nobody who does not need it.
 * Method: planes of a running platform are stopped (SIGSTOP), while functions are called all the time.
 */
import { request } from 'undici';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { hostOf, TestPlatform } from '../support/platform.ts';

const CALL_MS_MAX = 20_000;

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

  /** Calls one after the other, each on a connection of its own, until `until` resolves, and at least `callsMin`. */
  async function callWhile(until: Promise<unknown>, callsMin = 0): Promise<Called> {
    const answers: string[] = [];
    const failures: string[] = [];
    const over = new AbortController();
    const ended = until.finally(() => over.abort());
    while (!over.signal.aborted || answers.length + failures.length < callsMin)
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

  test('replaces one of two gateways: connections that it had break instead of hanging, later ones are answered', async ({
    expect,
  }) => {
    const { answers, failures } = await callWhile(hang('gateway-1').then(planes));
    expect([...new Set(answers)]).toEqual(['warm']);
    expect(failures.filter((failure) => /timeout|abort/i.test(failure))).toEqual([]);
    // Of two gateways either may get a connection.
    const after = await callWhile(Promise.resolve(), 50);
    expect(after.failures).toEqual([]);
    expect([...new Set(after.answers)]).toEqual(['warm']);
  });

  test('deploys again after all that', async ({ expect }) => {
    await platform.api.deploy('fresh', {
      modules: { 'index.js': `export default { fetch() { return new Response('fresh'); } };` },
      config: { auth: { mode: 'public' } },
    });
    expect((await platform.call('fresh')).text).toBe('fresh');
  });
});
