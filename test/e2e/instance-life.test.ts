/**
 * Goal: instances live as a version's scaling and an alias's provision say. Method: functions that count the
 * requests of their instance, on a platform that really runs, with the scheduler asked what it holds.
 */
import { afterAll, beforeAll, describe, test, type ExpectStatic } from 'vitest';
import { functionViewSchema } from '#shared/contracts/api.ts';
import { COLD_START, VERSION } from '#shared/contracts/invoke.ts';
import { functionLifeSchema, type FunctionLife } from '#shared/contracts/scheduling.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';
import type { Peer } from '#shared/runtime/peer.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import type { FunctionConfigInput } from '#shared/contracts/config.ts';
import { TestPlatform, type CallAnswer, type CallOptions } from '../support/platform.ts';

/** Says how many requests its instance has had; `/wait` answers after ms; `/loop` does not. */
const COUNTER = `
let count = 0;
export default {
  async fetch(request) {
    const url = new URL(request.url);
    count += 1;
    if (url.pathname === '/loop') for (;;);
    if (url.pathname === '/wait') await new Promise((go) => setTimeout(go, Number(url.searchParams.get('ms'))));
    return new Response(String(count));
  },
};
`;
/** From a deploy to the drain of the last version: the linger, and heartbeats on the way. */
const DRAIN_MS_MAX = 20_000;

let platform: TestPlatform;
let scheduler: Peer;

beforeAll(async () => {
  platform = await TestPlatform.start();
  scheduler = peerOf(layoutOf(platform.dataDir).sockets.scheduler);
});
afterAll(async () => {
  await scheduler?.close();
  await platform?.[Symbol.asyncDispose]();
});

const life = (name: string): Promise<FunctionLife> =>
  scheduler.call(`/v1/functions/default/${name}`, functionLifeSchema);

const ready = async (name: string, version: number): Promise<number> =>
  (await life(name)).versions.find((entry) => entry.version === `default/${name}@${version}`)?.ready ?? 0;

async function deploy(name: string, config: Partial<FunctionConfigInput>, comment = '1'): Promise<void> {
  await platform.api.deploy(name, {
    modules: { 'main.js': `${COUNTER}// ${comment}` },
    config: { auth: { mode: 'public' }, ...config },
  });
}

async function counted(expect: ExpectStatic, name: string, options?: CallOptions): Promise<number> {
  const answer = await platform.call(name, options);
  expect(answer.status, answer.text).toBe(200);
  return Number(answer.text);
}

describe('isolation', { timeout: 60_000 }, () => {
  test('`request` gives each request an instance of its own, one after the other and at once', async ({
    expect,
  }) => {
    await deploy('each', { scaling: { isolation: 'request', maxInstances: 4 } });
    for (let request = 0; request < 5; request += 1) expect(await counted(expect, 'each')).toBe(1);
    const together = await Promise.all(Array.from({ length: 8 }, () => counted(expect, 'each')));
    expect(together).toEqual(Array.from({ length: 8 }, () => 1));
    await waitFor('all instances to have ended', async () => (await ready('each', 1)) === 0);
  });

  test('`session` keeps a session on one instance by its cookie, and others away from it', async ({
    expect,
  }) => {
    await deploy('visit', { scaling: { isolation: 'session', maxInstances: 3 } });
    const first = await platform.call('visit');
    const cookie = String(first.headers['set-cookie']);
    expect(cookie).toMatch(/^isoplane_session=[A-Za-z0-9_-]{22}; Path=\/; HttpOnly; SameSite=Lax$/);
    const headers = { cookie: `other=1; ${cookie.split(';')[0]}` };
    for (const expected of [2, 3, 4]) {
      const answer: CallAnswer = await platform.call('visit', { headers });
      expect([answer.text, answer.headers['set-cookie']]).toEqual([String(expected), undefined]);
    }
    expect(await counted(expect, 'visit')).toBe(1);
    const guessed = { cookie: 'isoplane_session=no spaces!' };
    const ignored = await platform.call('visit', { headers: guessed });
    expect([ignored.text, ignored.headers['set-cookie']]).toEqual(['1', expect.any(String)]);
  });

  test('`session` goes by a header where the function says so, and a full house waits and is refused', async ({
    expect,
  }) => {
    await deploy('desk', {
      scaling: {
        isolation: 'session',
        session: { by: 'header', name: 'X-Desk' },
        maxInstances: 1,
        queueTimeoutMs: 300,
      },
    });
    const first = await platform.call('desk');
    const headers = { 'x-desk': String(first.headers['x-desk']) };
    expect(await counted(expect, 'desk', { headers })).toBe(2);
    const other = await platform.call('desk', { headers: { 'x-desk': 'somebody-else' } });
    expect(other.code).toBe('queue_timeout');
    expect(await counted(expect, 'desk', { headers })).toBe(3);
  });
});

describe('the end of an instance', { timeout: 60_000 }, () => {
  test('comes after maxRequests, exactly', async ({ expect }) => {
    await deploy('three', { scaling: { maxRequests: 3, maxInstances: 1 } });
    const seen: number[] = [];
    for (let request = 0; request < 7; request += 1) seen.push(await counted(expect, 'three'));
    expect(seen).toEqual([1, 2, 3, 1, 2, 3, 1]);
  });

  test('comes after maxRequests with several gateways too', async ({ expect }) => {
    await using wide = await TestPlatform.start({ gateways: 2 });
    await wide.api.deploy('three', {
      modules: { 'main.js': COUNTER },
      config: {
        auth: { mode: 'public' },
        scaling: { maxRequests: 3, maxInstances: 4, queueTimeoutMs: 50_000 },
      },
    });
    const answers = await Promise.all(Array.from({ length: 20 }, () => wide.call('three')));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(Math.max(...answers.map(({ text }) => Number(text)))).toBeLessThanOrEqual(3);
  });

  test('comes after maxAgeMs, and requests go on on the next', async ({ expect }) => {
    await deploy('young', { scaling: { maxAgeMs: 1_000, maxInstances: 2 } });
    await counted(expect, 'young');
    await waitFor('another instance', async () => (await counted(expect, 'young')) === 1, 10_000);
  });

  test('comes soon after a deploy, and lets the request in flight end', async ({ expect }) => {
    await deploy('moved', {});
    const long = platform.call('moved', { path: '/wait?ms=13000' });
    await waitFor('the first version to run', async () => (await ready('moved', 1)) === 1);
    await deploy('moved', {}, '2');
    expect((await platform.call('moved')).headers[VERSION]).toBe('default/moved@2');
    expect((await long).text).toBe('1');
    await waitFor(
      'the first version to be gone',
      async () => (await life('moved')).versions.every((entry) => entry.version !== 'default/moved@1'),
      DRAIN_MS_MAX,
    );
    expect(await ready('moved', 2)).toBe(1);
  });
});

describe('a rollback', { timeout: 60_000 }, () => {
  test('within moments of the deploy finds its instance warm', async ({ expect }) => {
    await deploy('back', {});
    await counted(expect, 'back');
    await deploy('back', {}, '2');
    await counted(expect, 'back');
    await platform.api.propagated((await platform.api.rollback('back')).revision);
    const answer = await platform.call('back');
    expect([answer.headers[VERSION], answer.text]).toEqual(['default/back@1', '2']);
  });
});

describe('a provisioned alias', { timeout: 60_000 }, () => {
  test('serves without a cold start after it was set, and after a deploy', async ({ expect }) => {
    await deploy('warm', { scaling: { idleTimeoutMs: 500 } });
    const set = await platform.cli(['--json', 'aliases', 'provision', 'warm', 'live', '--instances', '1']);
    expect(set.code, set.stderr).toBe(0);
    for (const version of [1, 2]) {
      if (version > 1) await deploy('warm', { scaling: { idleTimeoutMs: 500 } }, String(version));
      await waitFor(
        `version ${version} to be ready`,
        async () => (await ready('warm', version)) === 1,
        20_000,
      );
      const answer = await platform.call('warm');
      expect(answer.headers[VERSION]).toBe(`default/warm@${version}`);
      expect([answer.text, answer.headers[COLD_START]]).toEqual(['1', undefined]);
    }
    const shown = await platform.cli(['--json', 'aliases', 'provision', 'warm', 'live']);
    expect(shown.json()).toMatchObject({ alias: 'live', instances: 1, target: 1, ready: 1 });
    await platform.cli(['aliases', 'provision', 'warm', 'live', '--off']);
    await waitFor('the instance to end', async () => (await ready('warm', 2)) === 0, 20_000);
  });
});

describe('a version that ends its instance with each request', { timeout: 120_000 }, () => {
  test('is quarantined, shown, and free again with the next version', async ({ expect }) => {
    await deploy('burns', { limits: { cpuMs: 50 } });
    const codes = new Set<string | undefined>();
    const burn = () =>
      waitFor(
        'the quarantine',
        async () => {
          const { code } = await platform.call('burns', { path: '/loop' });
          codes.add(code);
          return code === 'quarantined';
        },
        30_000,
      );
    const held = {
      version: 'default/burns@1',
      code: 'quarantined',
      reason: 'cpu_exceeded',
      count: expect.any(Number),
      until: expect.any(String),
    };
    const isHeld = async () => {
      const { body } = await platform.api.call('GET', 'functions/burns');
      return (functionViewSchema.parse(body).held ?? []).length > 0;
    };
    // It ends by itself, after a longer pause each time: what took longer to look at it looks again.
    const seen = await waitFor(
      'it to be seen while it lasts',
      async () => {
        await burn();
        const [shown, status, ...texts] = await Promise.all([
          platform.api.call('GET', 'functions/burns'),
          platform.api.status(),
          ...[['functions', 'show', 'burns'], ['status']].map((args) => platform.cli(args)),
        ]);
        return (await isHeld()) && { shown: shown.body, status, texts: texts.map(({ stdout }) => stdout) };
      },
      90_000,
    );
    expect([...codes]).toContain('cpu_exceeded');
    expect(seen.shown).toMatchObject({ held: [held] });
    expect(seen.status.held).toContainEqual(held);
    for (const text of seen.texts) expect(text).toMatch(/default\/burns@1\s+quarantined\s+cpu_exceeded/);
    await deploy('burns', { limits: { cpuMs: 50 } }, '2');
    expect(await counted(expect, 'burns')).toBe(1);
  });
});

describe('ceilings of an account', { timeout: 60_000 }, () => {
  test('bound the instances of all its functions, and what a config may ask for', async ({ expect }) => {
    await using other = await TestPlatform.start();
    const publish = (name: string, config: Partial<FunctionConfigInput> = {}) =>
      other.api.upload(name, {
        modules: { 'main.js': COUNTER },
        config: {
          auth: { mode: 'public' },
          scaling: { idleTimeoutMs: 5_000 },
          limits: { cpuMs: 1_000 },
          ...config,
        },
      });
    await publish('one');
    await publish('two');
    const set = [
      'accounts',
      'ceilings',
      'default',
      '--instances',
      '1',
      '--functions',
      '2',
      '--cpu-ms',
      '2000',
    ];
    expect((await other.cli(set)).stdout).toContain('instances 1');
    const busy = other.call('one', { path: '/wait?ms=4000' });
    const refused = await waitFor('a refusal', async () => {
      const answer = await other.call('two');
      return answer.code === 'no_capacity' ? answer : undefined;
    });
    expect(refused.text).toContain('as many instances as it may have');
    expect((await busy).text).toBe('1');
    // Idle now, so it makes room.
    await waitFor(
      'the other function to be served',
      async () => (await other.call('two')).status === 200,
      20_000,
    );
    expect((await publish('three')).body).toMatchObject({ code: 'quota_exceeded' });
    expect((await publish('one', { limits: { cpuMs: 2_001 } })).body).toMatchObject({
      code: 'config_invalid',
    });
  });
});
