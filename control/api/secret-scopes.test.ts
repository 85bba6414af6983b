/** For which functions and hosts a secret is, and that a key limited to functions reaches nothing beyond them. */
import { describe, test } from 'vitest';
import { z } from 'zod';
import type { Runnable } from '#shared/contracts/feed.ts';
import { LIMITS } from '#shared/limits.ts';
import { importKeyEncryptionKey, unseal } from '#shared/seal.ts';
import { readSnapshot } from '../feed/changes.ts';
import { coversHost } from '../publish/grants.ts';
import { NODE_KEY, world, type World } from '../testing/world.ts';

const A = '/v1/accounts/default';
const VALUE = 'correct-horse-battery-staple';
const header = (secret: string, host = 'api.example.com') => ({
  egress: { allow: ['*'], deny: [], headers: [{ host, header: 'authorization', secret, prefix: '' }] },
});

/** `env` of the served version, opened as a node would. */
async function envOf(w: World, id: string): Promise<Record<string, string>> {
  const { items } = await w.deps.db.read((orm) => readSnapshot(orm, 'node'));
  const runnable = items.find((item) => item.kind === 'runnable' && item.key === id)?.value as Runnable;
  const key = await importKeyEncryptionKey(NODE_KEY);
  const open = async ({ binding, context, sealed }: Runnable['secrets'][number]) =>
    [binding, new TextDecoder().decode(await unseal(key, sealed, context))] as const;
  return Object.fromEntries(await Promise.all(runnable.secrets.map(open)));
}

const code = (reply: { status: number; body: unknown }): unknown => [
  reply.status,
  (reply.body as Record<string, unknown>)['code'],
];

describe('secrets of a function', () => {
  test('are in env of every served version, also when they are set before the first', async ({ expect }) => {
    await using w = await world();
    const put = await w.call('PUT', `${A}/functions/hello/secrets/KEY`, {
      body: { value: 'line 1\nline 2' },
    });
    expect([put.status, put.body['functionExists']]).toEqual([200, false]);
    expect((await w.publish('hello')).status).toBe(201);
    expect(await envOf(w, 'default/hello@1')).toEqual({ KEY: 'line 1\nline 2' });
    await w.call('PUT', `${A}/functions/hello/secrets/KEY`, { body: { value: 'ü' } });
    expect(await envOf(w, 'default/hello@1')).toEqual({ KEY: 'ü' });
    const listed = await w.call('GET', `${A}/functions/hello/secrets`);
    expect(listed.body).toEqual({ items: [{ name: 'KEY', updatedAt: expect.any(String) }] });
    expect((await w.call('DELETE', `${A}/functions/hello/secrets/KEY`)).status).toBe(204);
    expect(await envOf(w, 'default/hello@1')).toEqual({});
  });
  test('that a served version lists stay, and a version that lists one nobody made is refused with the command', async ({
    expect,
  }) => {
    await using w = await world();
    const refused = await w.publish('hello', undefined, { config: { secrets: ['ONE', 'TWO'] as never } });
    expect(code(refused)).toEqual([404, 'secret_not_found']);
    expect(JSON.stringify(refused.body)).toContain('isoplane secrets put TWO --function hello');
    for (const name of ['ONE', 'TWO'])
      await w.call('PUT', `${A}/functions/hello/secrets/${name}`, { body: { value: VALUE } });
    expect(
      (await w.publish('hello', undefined, { config: { secrets: ['ONE', 'TWO'] as never } })).status,
    ).toBe(201);
    expect(code(await w.call('DELETE', `${A}/functions/hello/secrets/TWO`))).toEqual([409, 'in_use']);
  });
  test('and variables do not hide each other', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello', undefined, { config: { vars: { MODE: 'plain' } } });
    expect(code(await w.call('PUT', `${A}/functions/hello/secrets/MODE`, { body: { value: 'x' } }))).toEqual([
      409,
      'name_taken',
    ]);
    await w.call('PUT', `${A}/functions/hello/secrets/KEY`, { body: { value: 'x' } });
    const hidden = await w.publish('hello', undefined, { config: { vars: { KEY: 'plain' } } });
    expect(code(hidden)).toEqual([422, 'config_invalid']);
  });
  test('go with it, so that a function that is made anew has none', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    await w.call('PUT', `${A}/functions/hello/secrets/KEY`, { body: { value: VALUE } });
    await w.call('DELETE', `${A}/functions/hello`);
    await w.publish('hello');
    expect(await envOf(w, 'default/hello@2')).toEqual({});
  });
  test('are bounded in number and size', async ({ expect }) => {
    await using w = await world();
    const put = (name: string, value: string) =>
      w.call('PUT', `${A}/functions/hello/secrets/${name}`, { body: { value } });
    for (let index = 0; index < LIMITS.secretsPerFunctionMax; index += 1)
      expect((await put(`S${index}`, 'x')).status).toBe(200);
    expect(code(await put('MORE', 'x'))).toEqual([422, 'quota_exceeded']);
    expect((await put('S1', 'ü'.repeat(LIMITS.secretBytesMax / 2))).status).toBe(200);
    expect(code(await put('S1', 'ü'.repeat(LIMITS.secretBytesMax / 2 + 1)))).toEqual([422, 'config_invalid']);
  });
});

describe('a secret of the account', () => {
  test('is bound under the name that the configuration gives, and the function’s own comes first', async ({
    expect,
  }) => {
    await using w = await world();
    await w.call('PUT', `${A}/secrets/shared`, { body: { value: 'from-account' } });
    await w.publish('hello', undefined, {
      config: { secrets: [{ binding: 'KEY', secret: 'shared' }] as never },
    });
    expect(await envOf(w, 'default/hello@1')).toEqual({ KEY: 'from-account' });
    await w.call('PUT', `${A}/functions/hello/secrets/KEY`, { body: { value: 'own' } });
    expect(await envOf(w, 'default/hello@1')).toEqual({ KEY: 'own' });
  });
  test('that names functions is for no other, and one that names hosts goes nowhere else', async ({
    expect,
  }) => {
    await using w = await world();
    await w.call('PUT', `${A}/secrets/stripe`, {
      body: { value: VALUE, functions: ['pay'], hosts: ['api.stripe.com', '*.stripe.test'] },
    });
    expect(code(await w.publish('hello', undefined, { config: header('stripe', 'api.stripe.com') }))).toEqual(
      [403, 'forbidden'],
    );
    for (const host of ['evil.test', '*', 'stripe.test', '*:8443'])
      expect(code(await w.publish('pay', undefined, { config: header('stripe', host) })), host).toEqual([
        403,
        'forbidden',
      ]);
    for (const host of ['api.stripe.com', 'eu.stripe.test'])
      expect((await w.publish('pay', undefined, { config: header('stripe', host) })).status, host).toBe(201);
    const inEnv = await w.publish('pay', undefined, {
      config: { secrets: [{ binding: 'KEY', secret: 'stripe' }] as never },
    });
    expect(code(inEnv)).toEqual([403, 'forbidden']);
    // A new value keeps for whom it is; null lifts it.
    const kept = await w.call('PUT', `${A}/secrets/stripe`, { body: { value: 'next' } });
    expect(kept.body).toMatchObject({ functions: ['pay'], hosts: ['api.stripe.com', '*.stripe.test'] });
    await w.call('PUT', `${A}/secrets/stripe`, { body: { value: 'next', functions: null, hosts: null } });
    expect((await w.publish('hello', undefined, { config: header('stripe', 'evil.test') })).status).toBe(201);
  });
  test.for([
    ['*', 'api.test', false],
    ['api.test', 'api.test', true],
    ['api.test', 'api.test:8443', false],
    ['api.test:*', 'api.test:8443', true],
    ['*.api.test', 'eu.api.test', true],
    ['*.api.test', '*.eu.api.test', true],
    ['*.api.test', 'api.test', false],
    ['*.api.test', 'evilapi.test', false],
    ['api.test', '*', false],
    ['*.api.test', '*', false],
  ] as const)('for %s may go to %s: %s', ([granted, wanted, may], { expect }) => {
    // `*` grants every host.
    expect(coversHost(granted, wanted)).toBe(granted === '*' ? true : may);
  });
});

describe('a key that is limited to functions', () => {
  async function limited(w: World) {
    await w.call('PUT', `${A}/secrets/stripe`, { body: { value: VALUE } });
    await w.call('POST', `${A}/kv-namespaces`, { body: { name: 'orders' } });
    await w.publish('other');
    const { token } = await w.token('deployer', { functions: ['hello'] });
    return { token, publish: (config: object) => w.publish('hello', undefined, { config, call: { token } }) };
  }
  test('binds no secret, namespace or function that was not given to its functions', async ({ expect }) => {
    await using w = await world();
    const { publish } = await limited(w);
    expect((await publish({})).status).toBe(201);
    for (const config of [
      header('stripe', 'evil.test'),
      { secrets: [{ binding: 'KEY', secret: 'stripe' }] },
      { kv: [{ binding: 'KV', namespace: 'orders' }] },
      { services: [{ binding: 'OTHER', function: 'other' }] },
    ])
      expect(code(await publish(config)), JSON.stringify(config)).toEqual([403, 'forbidden']);
    const told = await publish({
      ...header('stripe', 'evil.test'),
      kv: [{ binding: 'KV', namespace: 'orders' }],
      services: [{ binding: 'OTHER', function: 'other' }],
    });
    const { problems } = z.object({ problems: z.array(z.object({ message: z.string() })) }).parse(told.body);
    expect(problems.map(({ message }) => /`isoplane ([^`]+)`/.exec(message)?.[1])).toEqual([
      'secrets put stripe --for-function hello',
      'kv grant orders --for-function hello',
      'keys create NAME --role deployer --function hello --function other',
    ]);
    await w.call('PUT', `${A}/secrets/stripe`, { body: { value: VALUE, functions: ['hello'] } });
    await w.call('PATCH', `${A}/kv-namespaces/orders`, { body: { functions: ['hello'] } });
    expect((await publish({ secrets: [{ binding: 'KEY', secret: 'stripe' }] })).status).toBe(201);
    expect((await publish({ kv: [{ binding: 'KV', namespace: 'orders' }] })).status).toBe(201);
    const foreign = await w.publish('other', undefined, {
      config: { kv: [{ binding: 'KV', namespace: 'orders' }] },
    });
    expect(code(foreign)).toEqual([403, 'forbidden']);
  });
  test('reads nothing that functions hold, and of functions only its own', async ({ expect }) => {
    await using w = await world();
    const { token, publish } = await limited(w);
    await publish({});
    for (const path of [
      'kv-namespaces',
      'kv-namespaces/orders/keys',
      'kv-namespaces/orders/value?key=k',
      'secrets',
      'routes',
      'usage',
      'functions/other',
      'functions/other/logs',
    ])
      expect(code(await w.call('GET', `${A}/${path}`, { token })), path).toEqual([403, 'forbidden']);
    const functions = await w.call<{ items: { name: string }[] }>('GET', `${A}/functions`, { token });
    expect(functions.body.items.map(({ name }) => name)).toEqual(['hello']);
    expect((await w.call('GET', '/v1/status', { token })).status).toBe(200);
    expect(
      code(await w.call('PUT', `${A}/secrets/stripe`, { token, body: { value: 'x', functions: ['hello'] } })),
    ).toEqual([403, 'forbidden']);
    expect(
      (await w.call('PUT', `${A}/functions/hello/secrets/OWN`, { token, body: { value: 'x' } })).status,
    ).toBe(200);
  });
});
