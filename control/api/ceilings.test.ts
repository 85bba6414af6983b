/** Ceilings of accounts, provisioned instances and quarantine as the API tells and enforces them. */
import { describe, test } from 'vitest';
import type { AccountView } from '#shared/contracts/access.ts';
import type { FunctionView, PlatformStatus, ProvisionView } from '#shared/contracts/api.ts';
import type { FunctionLife } from '#shared/contracts/scheduling.ts';
import type { Problem } from '#shared/errors.ts';
import { aliasNameSchema, versionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { readSnapshot } from '../feed/changes.ts';
import { scriptedNode, world, type World } from '../testing/world.ts';

const A = '/v1/accounts/default';
const PROVISION = `${A}/functions/hello/aliases/live/provision`;

const itemsFor = async (w: World, role: 'node' | 'scheduler') =>
  (await w.deps.db.read((orm) => readSnapshot(orm, role))).items;

describe('ceilings', () => {
  test('are set by the operator alone, for any account, and replaced whole', async ({ expect }) => {
    await using w = await world();
    const stranger = await w.token('owner', { account: 'other' });
    const refused = await w.call<Problem>('PATCH', '/v1/accounts/other', {
      body: { ceilings: {} },
      token: stranger.token,
    });
    expect(refused.body.code).toBe('forbidden');
    await w.call('PATCH', '/v1/accounts/other', {
      body: { ceilings: { instances: 3, cpuMs: 100, kvBytes: 9 } },
    });
    // Nodes hear of what they hold to, and of nothing else.
    expect(await itemsFor(w, 'node')).toContainEqual({
      kind: 'account',
      key: 'other',
      value: { name: 'other', ceilings: { kvBytes: 9 } },
    });
    const { body } = await w.call<AccountView>('PATCH', '/v1/accounts/other', {
      body: { ceilings: { instances: 2 } },
    });
    expect(body.ceilings).toEqual({ instances: 2 });
    expect(await itemsFor(w, 'scheduler')).toContainEqual({
      kind: 'account',
      key: 'other',
      value: { name: 'other', ceilings: { instances: 2 } },
    });
    const gone = await w.call<AccountView>('PATCH', '/v1/accounts/other', { body: { ceilings: null } });
    expect(gone.body.ceilings).toBeUndefined();
  });

  test('the operator sets no issuer for another account', async ({ expect }) => {
    await using w = await world();
    await w.token('owner', { account: 'other' });
    const { body } = await w.call<Problem>('PATCH', '/v1/accounts/other', { body: { issuer: null } });
    expect(body.code).toBe('forbidden');
  });

  test('a config above them is refused with each limit that is over', async ({ expect }) => {
    await using w = await world();
    const ceilings = { cpuMs: 100, timeoutMs: 1_000, memoryMb: 64 };
    await w.call('PATCH', A, { body: { ceilings } });
    const over = await w.publish('hello', undefined, {
      config: { limits: { cpuMs: 101, timeoutMs: 1_001, memoryMb: 64 } },
    });
    expect(over.body).toMatchObject({
      code: 'config_invalid',
      problems: [{ path: 'config.limits.cpuMs' }, { path: 'config.limits.timeoutMs' }],
    });
    expect((await w.publish('hello', undefined, { config: { limits: ceilings } })).status).toBe(201);
  });

  test('lower the limits that a config leaves to the platform, and say so', async ({ expect }) => {
    await using w = await world();
    await w.call('PATCH', A, { body: { ceilings: { cpuMs: 100, timeoutMs: 1_000, memoryMb: 4_096 } } });
    const { status, body } = await w.publish('hello', undefined, { config: { limits: { cpuMs: 50 } } });
    expect(status).toBe(201);
    expect(body.version.config.limits).toMatchObject({
      cpuMs: 50,
      timeoutMs: 1_000,
      memoryMb: LIMITS.memoryMbDefault,
    });
    expect(body.warnings).toEqual([
      `limits.timeoutMs is 1000, as much as the account may have: the default is ${LIMITS.timeoutMsDefault}`,
    ]);
    const none = await w.publish('other');
    expect(none.body.version.config.limits).toMatchObject({ cpuMs: 100, timeoutMs: 1_000 });
    expect(none.body.warnings).toHaveLength(2);
  });

  test('one function more than the account may have is refused, a new version is not', async ({ expect }) => {
    await using w = await world();
    await w.call('PATCH', A, { body: { ceilings: { functions: 1 } } });
    expect((await w.publish('one')).status).toBe(201);
    expect((await w.publish('two')).body.code).toBe('quota_exceeded');
    expect((await w.publish('one', { 'main.js': '2' })).status).toBe(201);
  });

  test('a least tier holds for the trial start and for every version that runs, at once', async ({
    expect,
  }) => {
    const node = scriptedNode();
    await using w = await world({ nodes: [node] });
    const tiers = async () =>
      (await itemsFor(w, 'node')).flatMap((item) => (item.kind === 'runnable' ? [item.value?.tier] : []));
    await w.publish('hello');
    expect(await tiers()).toEqual(['standard']);
    const before = w.deps.db.revision;
    await w.call('PATCH', A, { body: { ceilings: { tier: 'strict' } } });
    expect(await tiers()).toEqual(['strict']);
    // The account and its version: nodes hear of the version.
    expect(w.deps.db.revision).toBe(before + 2);
    await w.publish('hello', { 'main.js': '2' });
    expect(node.checked.map(({ tier }) => tier)).toEqual(['standard', 'strict']);
  });
});

describe('provisioned instances', () => {
  const provision = {
    instances: 1,
    schedule: [{ days: [1, 2], from: '08:00', to: '18:00', instances: 5 }],
  };

  test('reach the scheduler with the alias, follow its moves, and can be removed', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    const set = await w.call<ProvisionView>('PUT', PROVISION, { body: provision });
    expect(set.body).toEqual({ alias: 'live', ...provision });
    await w.publish('hello', { 'main.js': '2' });
    const placed = (await itemsFor(w, 'scheduler')).find((item) => item.kind === 'placement');
    expect(placed?.value).toMatchObject({
      aliases: [{ name: 'live', weights: [{ version: 2, weight: 100 }], provision }],
      versions: [{ id: 'default/hello@2' }],
    });
    const shown = await w.call<FunctionView>('GET', `${A}/functions/hello`);
    expect(shown.body.aliases[0]?.provision).toEqual(provision);
    expect((await w.call('DELETE', PROVISION)).status).toBe(204);
    const none = await w.call<ProvisionView>('GET', PROVISION);
    expect(none.body).toEqual({ alias: 'live', instances: 0, schedule: [] });
  });

  test.for([
    ['more than the platform allows', { instances: 1_001 }],
    ['a time that is none', { schedule: [{ days: [1], from: '8:00', to: '24:00', instances: 1 }] }],
    ['an eighth day', { schedule: [{ days: [7], from: '08:00', to: '09:00', instances: 1 }] }],
  ])('refuses %s', async ([, body], { expect }) => {
    await using w = await world();
    await w.publish('hello');
    expect((await w.call<Problem>('PUT', PROVISION, { body })).body.code).toBe('config_invalid');
  });

  test('refuses an alias that is not there', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    const path = PROVISION.replace('/live/', '/none/');
    expect((await w.call<Problem>('PUT', path, { body: {} })).body.code).toBe('alias_not_found');
  });
});

describe('what the scheduler says', () => {
  const held = {
    version: versionId('default', 'hello', 1),
    code: 'quarantined',
    reason: 'crashed',
    retryAfterMs: 10_000,
    count: 2,
  };
  const life: FunctionLife = {
    aliases: [{ name: aliasNameSchema.parse('live'), target: 3, ready: 2 }],
    versions: [],
    held: [held],
  };

  test('is shown with function, alias and status, with an instant instead of a duration', async ({
    expect,
  }) => {
    await using w = await world({
      scheduler: { life: () => Promise.resolve(life), held: () => Promise.resolve([held]) },
    });
    await w.publish('hello');
    const expected = [
      {
        version: 'default/hello@1',
        code: 'quarantined',
        reason: 'crashed',
        count: 2,
        until: expect.any(String),
      },
    ];
    expect((await w.call<FunctionView>('GET', `${A}/functions/hello`)).body.held).toEqual(expected);
    expect((await w.call<PlatformStatus>('GET', '/v1/status')).body.held).toEqual(expected);
    expect((await w.call<ProvisionView>('GET', PROVISION)).body).toMatchObject({ target: 3, ready: 2 });
  });

  test('is left out while there is no scheduler', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    expect((await w.call<FunctionView>('GET', `${A}/functions/hello`)).body.held).toBeUndefined();
    expect((await w.call<PlatformStatus>('GET', '/v1/status')).status).toBe(200);
  });
});
