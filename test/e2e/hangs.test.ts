/**
 * Goal: a plane that hangs is replaced, and until then it holds up nobody who does not need it.
 * Method: planes of a running platform are stopped (SIGSTOP), while functions are called all the time.
 */
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { planeMain } from '#cli/up/planes.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { hostOf, TestPlatform } from '../support/platform.ts';

const CALL_MS_MAX = 20_000;

const HANGING_NODE = fileURLToPath(new URL('../support/hanging-node.main.ts', import.meta.url));
const statusSchema = z.object({
  nodes: z.array(z.object({ silent: z.boolean() })),
  versions: z.array(z.object({ versionId: z.string(), slotsLeased: z.number() })),
});

async function schedulerOf({ dataDir }: TestPlatform) {
  const peer = peerOf(layoutOf(dataDir).sockets.scheduler);
  return {
    isSilent: async () => (await peer.call('/v1/status', statusSchema)).nodes[0]?.silent,
    [Symbol.asyncDispose]: () => peer.close(),
  };
}

interface Called {
  readonly answers: readonly string[];
  /** Connections that broke, or had no answer in time. */
  readonly failures: readonly string[];
}

describe('a running platform', () => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await TestPlatform.start({
      gateways: 2,
      mainOf: (plane) => (plane === 'node' ? HANGING_NODE : planeMain(plane)),
    });
    for (const name of ['warm', 'rare']) {
      await platform.api.deploy(name, {
        modules: { 'index.js': `export default { fetch() { return new Response('${name}'); } };` },
        config: { auth: { mode: 'public' }, scaling: { queueTimeoutMs: CALL_MS_MAX } },
      });
      await platform.call(name);
    }
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

  test('calls an instance that lies idle, before there is another scheduler', async ({ expect }) => {
    const pidNow = (): number | undefined => platform.platform.pids()['scheduler'];
    /** Whether the answer came before another scheduler was there: a loaded machine may be too late for that. */
    const callWithout = async (): Promise<boolean> => {
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
      const pid = pidNow() ?? 0;
      process.kill(pid, 'SIGKILL');
      expect((await platform.call('warm')).text).toBe('warm');
      const isWithout = [pid, undefined].includes(pidNow());
      await waitFor('another scheduler', () => ![pid, undefined].includes(pidNow()), 30_000);
      await planes();
      return isWithout;
    };
    let isSeen = false;
    for (let tries = 0; tries < 5 && !isSeen; tries += 1) isSeen = await callWithout();
    expect(isSeen).toBe(true);
    expect((await platform.call('warm')).text).toBe('warm');
  });

  test('calls the instances of a node whose loop stands still, until it is replaced', async ({ expect }) => {
    const running = platform.platform;
    const pids = () => running.pids();
    await using scheduler = await schedulerOf(platform);
    const pid = pids()['node'];
    expect((await platform.call('rare')).text).toBe('rare');
    running.tell('node', { hang: true });
    const rare = async (): Promise<unknown> => {
      await waitFor('the node to be silent', scheduler.isSilent, 30_000);
      // Nobody holds a lease on it any more.
      const { status, text } = await platform.call('rare');
      return { status, text, before: pids()['node'] === pid };
    };
    const called = rare();
    const { answers, failures } = await callWhile(
      called
        .then(() => waitFor('another node', () => ![pid, undefined].includes(pids()['node']), 40_000))
        .then(planes),
    );
    expect(await called).toEqual({ status: 200, text: 'rare', before: true });
    expect(failures).toEqual([]);
    expect([...new Set(answers)]).toEqual(['warm']);
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
