/**
 * Goal: for each thing that accounts share, a hostile account at full speed leaves another its own. Method: each
 * entry of the list names the attack that shows it, which must exist; the attacks count what the other account got
 * done, never how long it took.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { SHARED, type SharedName } from '#shared/shared-things.ts';
import { Shares } from '#shared/shares.ts';
import { createdKeySchema } from '#shared/contracts/access.ts';
import { importSigningKey } from '#shared/signatures/sign.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { SHARES_CASES } from '../bench/shares-cases.ts';
import { ControlApi } from '../support/api.ts';
import { repositoryRoot } from '../support/paths.ts';
import { TestPlatform } from '../support/platform.ts';

const GATEWAY = 'gateway/bodies.node.test.ts';
const UPLOADS = 'control/publish/shares.test.ts';
const RULE = 'shared/shares.test.ts';
const CACHE = 'shared/shared-cache.test.ts';
const KV = 'nodes/attachments/kv/kv.test.ts';
const CACHED = 'nodes/attachments/cache/cache.test.ts';
const NAMES = 'nodes/attachments/egress/bounds.test.ts';
const STARTS = 'nodes/instances/starts.test.ts';
const PLATFORM = 'test/hostile/shares.test.ts';

const SHOWN: Readonly<Record<SharedName, readonly [file: string, attack: string]>> = {
  'gateway.connections': [GATEWAY, 'one address keeps no other from connecting'],
  'gateway.requests': [GATEWAY, 'at the bound of requests in hand leaves the other account its own'],
  'gateway.bodies': [GATEWAY, 'that sends bodies to be digested holds half of all room'],
  'gateway.nonces': ['shared/signatures/replay.test.ts', 'a key that fills its share leaves room'],
  'gateway.tokens': [CACHE, 'a hostile account drives out its own entries'],
  'leases.acquires': [RULE, 'whatever happened before, one that holds nothing finds room'],
  'scheduler.waiters': ['scheduler/core/queue.test.ts', 'one account fills half of the queue'],
  'scheduler.starts': ['scheduler/core/placement.test.ts', 'and another starts beside it'],
  'node.starts': [PLATFORM, 'starts beside a flood of cold starts as soon as its turn comes'],
  'node.startPlaces': [STARTS, 'each start of another begins at once'],
  'node.slots': ['nodes/slots/pool.test.ts', 'a burst of one account leaves waiting slots to others'],
  'node.logs': [RULE, 'whatever happened before, one that holds nothing finds room'],
  'kv.requests': [KV, 'answers share_full to the account that has too much in hand, serves others'],
  'kv.bodies': [KV, 'eleven puts of one account that never end leave another its own'],
  'node.cache': [CACHE, 'a hostile account drives out its own entries'],
  'cache.bodies': [CACHED, 'puts of one account that never end leave another its own'],
  'cache.requests': [RULE, 'whatever happened before, one that holds nothing finds room'],
  'rateLimits.keys': [
    'nodes/attachments/rate-limits/windows.test.ts',
    'drive out its own oldest, and none of another',
  ],
  'egress.connections': ['nodes/attachments/egress/proxy.test.ts', 'the share of the account'],
  'egress.lookups': [NAMES, 'one account looks up half of all names that may be at once'],
  'egress.names': [NAMES, 'names that one account fills the memory with drive out none of another'],
  'node.programs': [CACHE, 'a hostile account drives out its own entries'],
  'assets.loading': [RULE, 'whatever happened before, one that holds nothing finds room'],
  'assets.sending': [RULE, 'whatever happened before, one that holds nothing finds room'],
  'control.connections': [GATEWAY, 'one address keeps no other from connecting'],
  'control.requests': [UPLOADS, 'at the bound of API requests in hand'],
  'control.bodies': [RULE, 'whatever happened before, one that holds nothing finds room'],
  'control.maps': [CACHE, 'a hostile account drives out its own entries'],
  'control.mapReads': ['shared/permits.test.ts', 'the next permit goes to who holds the fewest'],
  'control.mapReadPlaces': ['shared/permits.test.ts', 'one more than may wait is told so'],
  'control.uploads': [UPLOADS, 'at the bound of its uploads is told so, and the other goes on'],
  'control.trials': [UPLOADS, 'whose 24 uploads loop at their start keeps nobody from publishing'],
  'control.trialPlaces': ['shared/permits.test.ts', 'one more than may wait is told so'],
  'control.nonces': ['shared/signatures/replay.test.ts', 'an account with ever new keys holds half'],
};

/** Not attacked in the bench (`npm run bench -- --only shares`), and why. */
const NOT_IN_THE_BENCH: Readonly<Partial<Record<SharedName, string>>> = {
  'gateway.tokens': 'a token that is driven out is verified once more, which no call waits for',
  'node.cache': 'a response that is driven out is made once more',
  'cache.bodies': 'divided as kv.bodies, in the same way',
  'cache.requests': 'divided as kv.requests, in the same way',
  'rateLimits.keys': 'filling it takes minutes; its test fills a smaller one',
  'assets.loading': 'filling it takes gigabytes of files on disk',
  'assets.sending': 'filling it takes thousands of slow readers',
  'control.connections': 'the same code as gateway.connections',
  'control.maps': 'a map that is driven out is read once more',
  'control.mapReads': 'divided as control.trials, in the same way',
  'control.mapReadPlaces': 'divided as control.trialPlaces, in the same way',
};

describe('of everything that accounts share', () => {
  test('each is attacked in the bench, or it is said why not', ({ expect }) => {
    const attacked = new Set<string>(SHARES_CASES.flatMap(({ things }) => things));
    const names = Object.keys(SHARED);
    expect(names.filter((name) => attacked.has(name) === Object.hasOwn(NOT_IN_THE_BENCH, name))).toEqual([]);
  });

  test.for(Object.entries(SHOWN))('%s has an attack that exists', async ([, [file, attack]], { expect }) => {
    expect(await readFile(join(repositoryRoot, file), 'utf8')).toContain(attack);
  });

  test.for(Object.keys(SHARED) as SharedName[])(
    '%s lets another account do all it did alone, beside one that takes as fast as it can',
    (name, { expect }) => {
      const shares = new Shares(name);
      const amount = Math.max(1, Math.floor(shares.total / 1_000));
      let done = 0;
      for (let turn = 0; turn < 1_000; turn += 1) {
        while (shares.take('hostile', amount));
        if (!shares.take('good', amount)) continue;
        done += 1;
        shares.give('good', amount);
      }
      expect(done).toBe(1_000);
    },
  );
});

describe('on a platform with a hostile account', () => {
  let platform: TestPlatform;
  let hostile: ControlApi;
  beforeAll(async () => {
    platform = await TestPlatform.start();
    hostile = await hostileAccount(platform);
  });
  afterAll(() => platform?.[Symbol.asyncDispose]());

  test('another starts beside a flood of cold starts as soon as its turn comes', async ({ expect }) => {
    // Every call of them is a cold start.
    const config = {
      auth: { mode: 'public' },
      scaling: { isolation: 'request', maxInstances: 100 },
    } as const;
    const modules = { 'index.js': 'export default { fetch: () => new Response("started") };' };
    await hostile.deploy('flood', { modules, config });
    await platform.api.deploy('good', { modules, config });
    const over = new AbortController();
    let done = 0;
    const lane = async (): Promise<void> => {
      while (!over.signal.aborted) if ((await platform.call('flood.hostile')).status === 200) done += 1;
    };
    const flood = Promise.all(Array.from({ length: LANES }, lane));
    await waitFor('the flood', () => done > LANES);
    const before = done;
    for (let call = 0; call < CALLS; call += 1) {
      const answer = await platform.call('good');
      expect([answer.status, answer.headers['isoplane-cold-start']]).toEqual([200, '1']);
    }
    const beside = done - before;
    over.abort();
    await flood;
    // In the order of their arrival each would have waited for all lanes.
    expect(beside).toBeLessThan((LANES * CALLS) / 2);
    expect(beside, 'the flood went on').toBeGreaterThan(0);
  });
});

/** Calls of the flood in hand at once, and of the other account one after another. */
const LANES = 48;
const CALLS = 5;

async function hostileAccount({ api }: TestPlatform): Promise<ControlApi> {
  await api.call('POST', '/v1/accounts', { name: 'hostile' });
  const { id: keyId, secret = '' } = await api.expect(createdKeySchema, 'POST', '/v1/accounts/hostile/keys', {
    name: 'owner',
    role: 'owner',
    algorithm: 'ed25519',
  });
  const key = await importSigningKey({ keyId, algorithm: 'ed25519', secret });
  return new ControlApi(api.url, key, 'hostile');
}
