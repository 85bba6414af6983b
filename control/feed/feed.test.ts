/** The feed as its consumers read it, with the shared consumer state as the reader. */
import { describe, test } from 'vitest';
import type { FeedLine, FeedRole } from '#shared/contracts/feed.ts';
import { readLineSchema } from '#shared/feed/read.ts';
import type { DeploymentView, Propagation } from '#shared/contracts/api.ts';
import type { Problem } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import { FakeClock, waitFor } from '#shared/testing/fakes.ts';
import { world, type World } from '../testing/world.ts';

interface Reader {
  next(): Promise<FeedLine>;
  /** The next line that is no bookmark. */
  nextItems(): Promise<Exclude<FeedLine, { type: 'bookmark' }>>;
  cancel(): Promise<void>;
}

async function openFeed(
  w: World,
  role: FeedRole,
  options: { from?: number; epoch?: string; consumer?: string } = {},
): Promise<Reader> {
  const query = new URLSearchParams({
    consumer: options.consumer ?? `${role}-1`,
    role,
    from: String(options.from ?? 0),
    epoch: options.epoch ?? w.deps.db.epoch,
  });
  const response = await w.internal.request(`/internal/feed?${query.toString()}`);
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  const next = async (): Promise<FeedLine> => {
    const { value, done } = await reader.read();
    if (done) throw new Error('the feed ended');
    return readLineSchema.parse(JSON.parse(decoder.decode(value)));
  };
  return {
    next,
    nextItems: async () => {
      for (;;) {
        const line = await next();
        if (line.type !== 'bookmark') return line;
      }
    },
    cancel: () => reader.cancel(),
  };
}

async function acknowledge(
  w: World,
  role: FeedRole,
  revision: number,
  consumer = `${role}-1`,
): Promise<void> {
  await w.internal.request('/internal/feed/ack', {
    method: 'POST',
    body: JSON.stringify({ consumer, role, revision }),
  });
}

function keysOf(line: { items: readonly { kind: string; key: string; value: unknown }[] }): string[] {
  return line.items.map((item) => `${item.value === null ? '-' : '+'}${item.kind} ${item.key}`).sort();
}

describe('feed', () => {
  test('a new gateway gets accounts, functions, live versions, routes and keys, and no code', async ({
    expect,
  }) => {
    await using w = await world();
    await w.publish('hello', { 'main.js': 'SECRET CODE' }, { config: { vars: { PASSWORD: 'hidden' } } });
    await w.publish('hello', { 'main.js': '2' });
    await w.call('POST', '/v1/accounts/default/routes', {
      body: { host: 'Example.ORG', path: '/api/*', function: 'hello' },
    });
    await w.token('owner');
    const line = await (await openFeed(w, 'gateway')).next();
    expect(line).toMatchObject({ type: 'snapshot', epoch: w.deps.db.epoch, revision: w.deps.db.revision });
    if (line.type !== 'snapshot') return;
    const kinds = keysOf(line).map((key) => key.replace(/ (route|key)-.*/, ' $1'));
    expect(kinds).toEqual([
      '+account default',
      '+function default/hello',
      '+key key',
      '+route route',
      '+version default/hello@2',
    ]);
    expect(line.items.find((item) => item.kind === 'route')?.value).toMatchObject({ host: 'example.org' });
    expect(JSON.stringify(line)).not.toContain('hidden');
  });

  test('a new node gets what it may run, and nothing else', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    const line = await (await openFeed(w, 'node')).next();
    if (line.type !== 'snapshot') throw new Error('no snapshot');
    expect(keysOf(line)).toEqual([
      '+account default',
      '+function default/hello',
      '+runnable default/hello@1',
    ]);
    expect(line.items.find((item) => item.kind === 'runnable')?.value).toMatchObject({
      main: 'main.js',
      compatibilityDate: '2026-01-01',
    });
  });

  test('a publish arrives as one delta: the new version comes, the old one goes', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello', { 'main.js': '1' });
    const gateway = await openFeed(w, 'gateway');
    const node = await openFeed(w, 'node');
    await gateway.next();
    await node.next();
    await w.publish('hello', { 'main.js': '2' });
    const [forGateway, forNode] = [await gateway.nextItems(), await node.nextItems()];
    expect(keysOf(forGateway)).toEqual([
      '+function default/hello',
      '+version default/hello@2',
      '-version default/hello@1',
    ]);
    expect(keysOf(forNode)).toEqual([
      '+function default/hello',
      '+runnable default/hello@2',
      '-runnable default/hello@1',
    ]);
    expect(forGateway.revision).toBe(w.deps.db.revision);
  });

  test('deleting a function takes it away with its routes and versions', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    const route = await w.call('POST', '/v1/accounts/default/routes', {
      body: { host: 'example.org', path: '/', function: 'hello' },
    });
    const gateway = await openFeed(w, 'gateway');
    await gateway.next();
    await w.call('DELETE', '/v1/accounts/default/functions/hello');
    expect(keysOf(await gateway.nextItems())).toEqual([
      '-function default/hello',
      `-route ${route.body['id'] as string}`,
      '-version default/hello@1',
    ]);
  });

  test('a revoked key and a disabled function arrive', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    const key = await w.call('POST', '/v1/accounts/default/keys', {
      body: { name: 'k', role: 'invoker', algorithm: 'hmac-sha256' },
    });
    const gateway = await openFeed(w, 'gateway');
    await gateway.next();
    await w.call('DELETE', `/v1/accounts/default/keys/${key.body['id'] as string}`);
    expect(keysOf(await gateway.nextItems())).toEqual([`-key ${key.body['id'] as string}`]);
    await w.call('PATCH', '/v1/accounts/default/functions/hello', { body: { enabled: false } });
    const line = await gateway.nextItems();
    expect(line.items[0]?.value).toMatchObject({ name: 'hello', enabled: false });
  });

  test('a known revision continues with deltas; another epoch starts over', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    const from = w.deps.db.revision;
    const current = await (await openFeed(w, 'gateway', { from })).next();
    expect(current).toEqual({ type: 'bookmark', revision: from });
    await w.publish('other');
    const behind = await (await openFeed(w, 'gateway', { from })).next();
    expect(behind).toMatchObject({ type: 'delta' });
    const restored = await (await openFeed(w, 'gateway', { from, epoch: 'another' })).next();
    expect(restored.type).toBe('snapshot');
  });

  test('changes older than the bound are compacted: one inside it gets a delta, one before it a snapshot', async ({
    expect,
  }) => {
    await using w = await world({ database: { changesKept: 5 } });
    for (let index = 0; index < 20; index += 1)
      await w.deps.db.write((tx) => tx.change('account', 'default'));
    const newest = w.deps.db.revision;
    const type = async (from: number) => (await (await openFeed(w, 'gateway', { from })).next()).type;
    expect(await type(newest - 5)).toBe('delta');
    expect(await type(newest - 6)).toBe('snapshot');
  });

  test('a bookmark comes every period; a consumer that does not read is cut', async ({ expect }) => {
    const clock = new FakeClock(0);
    await using w = await world({ clock, timers: clock });
    const gateway = await openFeed(w, 'gateway');
    await gateway.next();
    clock.advance(LIMITS.feedBookmarkMs);
    expect(await gateway.next()).toEqual({ type: 'bookmark', revision: w.deps.db.revision });
    expect(w.hub.size).toBe(1);
    for (let period = 0; period < 6; period += 1) clock.advance(LIMITS.feedBookmarkMs);
    expect(w.hub.size).toBe(0);
    await expect(gateway.next().then(() => gateway.next())).rejects.toThrow(/cut/);
  });

  test('many changes while nobody reads become one delta', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello', { 'main.js': '0' });
    const node = await openFeed(w, 'node');
    await node.next();
    for (let index = 1; index <= 5; index += 1) await w.publish('hello', { 'main.js': String(index) });
    let lines = 0;
    let revision = 0;
    while (revision < w.deps.db.revision) {
      revision = (await node.nextItems()).revision;
      lines += 1;
    }
    expect(lines).toBeLessThanOrEqual(3);
  });

  test('a consumer that leaves ends its stream', async ({ expect }) => {
    await using w = await world();
    const gateway = await openFeed(w, 'gateway');
    await gateway.next();
    await gateway.cancel();
    expect(w.hub.size).toBe(0);
  });

  test('bad requests are problems', async ({ expect }) => {
    await using w = await world();
    const code = async (path: string) => ((await (await w.internal.request(path)).json()) as Problem).code;
    expect(await code('/internal/feed?role=gateway')).toBe('bad_request');
    expect(await code('/internal/feed?consumer=x&role=other')).toBe('bad_request');
    expect(await code('/internal/blobs/..%2f..%2fetc')).toBe('bad_request');
    expect(await code('/internal/other')).toBe('not_found');
  });
});

describe('propagation', () => {
  test('waits for every live consumer and says how long it took from the commit', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello', { 'main.js': '1' });
    await w.publish('hello', { 'main.js': '2' });
    for (const role of ['gateway', 'node'] as const) await (await openFeed(w, role)).next();
    const back = await w.call<DeploymentView>(
      'POST',
      '/v1/accounts/default/functions/hello/aliases/live/rollback',
    );
    const { revision } = back.body;
    const waiting = w.call<Propagation>('GET', `/v1/propagation?revision=${revision}&waitMs=10000`);
    await acknowledge(w, 'gateway', revision);
    await acknowledge(w, 'node', revision);
    const { body } = await waiting;
    expect(body).toMatchObject({
      revision,
      complete: true,
      gateways: { total: 1, applied: 1 },
      nodes: { total: 1, applied: 1 },
    });
    expect(body.elapsedMs).toBeGreaterThan(0);
  });

  test('neither waits for the scheduler nor counts it', async ({ expect }) => {
    await using w = await world();
    for (const role of ['gateway', 'scheduler'] as const) await (await openFeed(w, role)).next();
    await w.publish('hello');
    const { revision } = w.deps.db;
    await acknowledge(w, 'gateway', revision);
    expect(await w.deps.consumers.propagation(revision, 0)).toMatchObject({
      complete: true,
      gateways: { total: 1, applied: 1 },
      nodes: { total: 0, applied: 0 },
    });
    expect(w.deps.consumers.status().map(({ role }) => role)).toEqual(['gateway', 'scheduler']);
  });

  test('answers incomplete when the wait is over', async ({ expect }) => {
    await using w = await world();
    await (await openFeed(w, 'gateway')).next();
    await w.publish('hello');
    const { body } = await w.call<Propagation>(
      'GET',
      `/v1/propagation?revision=${w.deps.db.revision}&waitMs=50`,
    );
    expect(body).toMatchObject({ complete: false, gateways: { total: 1, applied: 0 } });
    expect(body.elapsedMs).toBeUndefined();
  });

  test('a consumer that died stops counting after a while, and not before', async ({ expect }) => {
    const clock = new FakeClock(0);
    await using w = await world({ clock, timers: clock });
    const gateway = await openFeed(w, 'gateway');
    await gateway.next();
    await gateway.cancel();
    await w.publish('hello');
    const { revision } = w.deps.db;
    expect((await w.deps.consumers.propagation(revision, 0)).gateways.total).toBe(1);
    const waiting = w.deps.consumers.propagation(revision, 60_000);
    clock.advance(LIMITS.memberDeadMs + 2 * LIMITS.heartbeatMs);
    expect(await waiting).toMatchObject({ complete: true, gateways: { total: 0 } });
  });

  test('a wait that its caller has left is over, and its share of requests is given back', async ({
    expect,
  }) => {
    const clock = new FakeClock(0);
    await using w = await world({ clock, timers: clock });
    await openFeed(w, 'gateway');
    const { requests } = w.deps.shares;
    const callers = Array.from({ length: 20 }, () => new AbortController());
    const path = '/v1/propagation?revision=999999&waitMs=60000';
    const calls = callers.map(({ signal }) => w.response('GET', path, { signal }));
    await waitFor('all to wait', () => requests.heldBy('default') === 20);
    for (const caller of callers) caller.abort();
    await waitFor('the shares', () => requests.used === 0);
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(calls.map(() => 200));
  });

  test('a commit reaches a waiting consumer without polling', async ({ expect }) => {
    // The clock never moves: whatever arrives was pushed by the commit itself.
    const clock = new FakeClock(0);
    await using w = await world({ clock, timers: clock });
    const gateway = await openFeed(w, 'gateway');
    await gateway.next();
    const arriving = gateway.next();
    await w.publish('hello');
    expect((await arriving).type).toBe('delta');
    await waitFor('the stream to be the only one', () => w.hub.size === 1);
  });
});
