/** The rest of the conversation: aliases, layers, routes, keys, lists, bounds, documents. */
import { describe, test } from 'vitest';
import { createRouteSchema, type DeploymentView, type RouteView } from '#shared/contracts/api.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Problem } from '#shared/errors.ts';
import { accountNameSchema } from '#shared/ids.ts';
import { rollbackTarget } from '../db/aliases.ts';
import { world } from '../testing/world.ts';
import { checkRoute } from './routes.ts';

const A = '/v1/accounts/default';
const F = `${A}/functions/hello`;
interface List<T> {
  readonly items: readonly T[];
  readonly nextCursor?: string;
}

describe('aliases', () => {
  test('weights split, must add up, and must name versions that exist', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello', { 'main.js': '1' });
    await w.publish('hello', { 'main.js': '2' });
    const set = (weights: unknown) => w.call<Problem>('PUT', `${F}/aliases/beta`, { body: { weights } });
    expect(
      (
        await set([
          { version: 1, weight: 90 },
          { version: 2, weight: 10 },
        ])
      ).status,
    ).toBe(200);
    expect((await set([{ version: 1, weight: 90 }])).body.code).toBe('config_invalid');
    expect((await set([{ version: 9, weight: 100 }])).body.code).toBe('version_not_found');
    const used = await w.call<Problem>('DELETE', `${F}/versions/1`);
    expect([used.status, used.body.code]).toEqual([409, 'in_use']);
    expect((await w.call('DELETE', `${F}/aliases/beta`)).status).toBe(204);
    expect((await w.call('DELETE', `${F}/versions/1`)).status).toBe(204);
    const gone = await w.call<Problem>('POST', `${F}/aliases/live/rollback`);
    expect(gone.body.code).toBe('no_previous_version');
  });

  test('rollback to a given version, to an unknown one, and of an unknown alias', async ({ expect }) => {
    await using w = await world();
    for (const code of ['1', '2', '3']) await w.publish('hello', { 'main.js': code });
    const path = `${F}/aliases/live/rollback`;
    const to = await w.call<DeploymentView>('POST', path, { body: { toVersion: 1, message: 'why' } });
    expect(to.body).toMatchObject({ reason: 'rollback', message: 'why', weights: [{ version: 1 }] });
    expect((await w.call<Problem>('POST', path, { body: { toVersion: 9 } })).body.code).toBe(
      'version_not_found',
    );
    const none = await w.call<Problem>('POST', `${F}/aliases/none/rollback`);
    expect(none.body.code).toBe('alias_not_found');
  });

  test('rolling back twice goes further back instead of swapping two versions', ({ expect }) => {
    const at = (version: number, rollback = false) => ({ weights: [{ version, weight: 100 }], rollback });
    const target = (history: ReturnType<typeof at>[]) =>
      rollbackTarget(history, history[0]?.weights ?? [])?.[0]?.version;
    expect(target([at(3), at(2), at(1)])).toBe(2);
    expect(target([at(2, true), at(3), at(2), at(1)])).toBe(1);
    expect(target([at(1, true), at(2, true), at(3), at(2), at(1)])).toBeUndefined();
    expect(target([at(4), at(1, true), at(2), at(1)])).toBe(1);
    expect(target([at(2), at(2), at(1)])).toBe(1);
    expect(target([at(1)])).toBeUndefined();
  });
});

describe('layers', () => {
  test('publish, equal content, module bytes, delete; numbers are not used again', async ({ expect }) => {
    await using w = await world();
    expect((await w.layer('base', { 'a.js': 'A', 'lib/b.js': 'B' })).body).toMatchObject({ number: 1 });
    const same = await w.layer('base', { 'a.js': 'A', 'lib/b.js': 'B' });
    expect([same.status, same.body['created']]).toEqual([200, false]);
    const L = `${A}/layers/base/versions`;
    expect((await w.call('GET', `${L}/1/modules/lib/b.js`)).body).toBe('B');
    expect((await w.call<Problem>('GET', `${L}/1/modules/none.js`)).body.code).toBe('not_found');
    expect((await w.call('DELETE', `${L}/1`)).status).toBe(204);
    expect((await w.call<Problem>('GET', `${L}/1`)).body.code).toBe('layer_not_found');
    expect((await w.layer('base', { 'a.js': 'A', 'lib/b.js': 'B' })).body).toMatchObject({ number: 2 });
    expect((await w.layer('base', { '../a.js': 'A' })).body).toMatchObject({ code: 'module_name_invalid' });
  });
});

describe('routes', () => {
  const route = { host: 'example.org', path: '/api/*', function: 'hello' };

  test('one host and path belongs to one route on the platform', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    const made = await w.call<RouteView>('POST', `${A}/routes`, { body: route });
    expect(made.status).toBe(201);
    expect(made.body.revision).toBe(w.deps.db.revision);
    const again = await w.call<Problem>('POST', `${A}/routes`, { body: { ...route, host: 'EXAMPLE.org' } });
    expect(again.body.code).toBe('name_taken');
    const used = await w.call<Problem>('DELETE', `${F}/aliases/live`);
    expect(used.body.code).toBe('in_use');
    expect((await w.call('DELETE', `${A}/routes/${made.body.id}`)).status).toBe(204);
    expect((await w.call<Problem>('DELETE', `${A}/routes/${made.body.id}`)).body.code).toBe(
      'route_not_found',
    );
    const none = await w.call<Problem>('POST', `${A}/routes`, { body: { ...route, function: 'none' } });
    expect(none.body.code).toBe('function_not_found');
  });

  test('nobody takes a host in front of functions of another account', ({ expect }) => {
    const team = accountNameSchema.parse('team');
    const check = (host: string, path = '/*') => {
      try {
        return checkRoute(team, createRouteSchema.parse({ ...route, host, path }), 'localhost').host;
      } catch (thrown) {
        return (thrown as { code: string }).code;
      }
    };
    expect(check('hello.localhost')).toBe('forbidden');
    expect(check('localhost')).toBe('forbidden');
    expect(check('hello.other.localhost')).toBe('forbidden');
    expect(check('hello.team.localhost')).toBe('hello.team.localhost');
    expect(check('Example.org')).toBe('example.org');
    for (const host of ['a b', 'x:80', 'x:', '-a.org', 'a..b', '*.org', 'x.org/a'])
      expect(check(host)).toBe('config_invalid');
    expect(check('é.ORG.')).toBe('xn--9ca.org');
    for (const path of ['/a*', '/*/b', '/a?b', '/a//b', '/a%2fb', '/#'])
      expect(check('x.org', path)).toBe('config_invalid');
  });
});

describe('keys', () => {
  test('the secret is shown once, a public key of the caller is kept, the last owner stays', async ({
    expect,
  }) => {
    await using w = await world();
    const made = await w.call('POST', `${A}/keys`, {
      body: { name: 'ci', role: 'deployer', algorithm: 'hmac-sha256', functions: ['hello'] },
    });
    expect(made.body['secret']).toMatch(/^[\w-]{43}$/);
    const list = await w.call<List<Record<string, unknown>>>('GET', `${A}/keys`);
    expect(list.body.items.length).toBe(2);
    expect(JSON.stringify(list.body)).not.toContain('secret');
    const bad = await w.call<Problem>('POST', `${A}/keys`, {
      body: { name: 'x', role: 'owner', algorithm: 'ed25519', publicKey: 'AAAA' },
    });
    expect(bad.body.code).toBe('config_invalid');
    const last = await w.call<Problem>('DELETE', `${A}/keys/${w.owner.keyId}`);
    expect(last.body.code).toBe('in_use');
    const absent = await w.call<Problem>('DELETE', `${A}/keys/absent`);
    expect([absent.status, absent.body.code]).toEqual([404, 'key_not_found']);
  });
});

describe('lists', () => {
  test('pages follow each other without gaps, and their size is bounded', async ({ expect }) => {
    await using w = await world();
    for (const name of ['a', 'b', 'c', 'd', 'e']) await w.publish(name);
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const query = cursor === undefined ? '' : `&cursor=${cursor}`;
      const page = await w.call<List<{ name: string }>>('GET', `${A}/functions?limit=2${query}`);
      seen.push(...page.body.items.map((item) => item.name));
      cursor = page.body.nextCursor;
    } while (cursor !== undefined);
    expect(seen).toEqual(['a', 'b', 'c', 'd', 'e']);
    const code = async (query: string) => (await w.call<Problem>('GET', `${A}/functions?${query}`)).body.code;
    expect(await code('limit=201')).toBe('bad_request');
    expect(await code('limit=0')).toBe('bad_request');
    expect(await code('cursor=%25%25')).toBe('bad_request');
    expect((await w.call('GET', `${A}/functions?limit=200`)).status).toBe(200);
  });
});

describe('bounds and forms', () => {
  test('unknown paths, methods, long URLs, large and broken bodies have their codes', async ({ expect }) => {
    await using w = await world();
    const get = (path: string) => w.call<Problem>('GET', path);
    expect((await get('/v1/nothing')).body.code).toBe('not_found');
    const method = await w.call<Problem>('PUT', `${A}/functions`);
    expect([method.body.code, method.headers.get('allow')]).toEqual(['method_not_allowed', 'GET']);
    expect((await get(`/v1/accounts?cursor=${'x'.repeat(LIMITS.urlBytesMax)}`)).body.code).toBe(
      'url_too_long',
    );
    const post = (raw: string) =>
      w.call<Problem>('POST', '/v1/accounts', { raw: new TextEncoder().encode(raw) });
    expect((await post('x'.repeat(1024 * 1024 + 1))).body.code).toBe('body_too_large');
    expect((await post('{')).body.code).toBe('bad_request');
    const invalid = await post('{"name":"Not A Name","more":1}');
    expect(invalid.body.code).toBe('config_invalid');
    expect((invalid.body['problems'] as { path: string }[])[0]?.path).toBe('name');
    expect((await get('/v1/accounts/UPPER')).body.code).toBe('bad_request');
  });

  test('every answer names its request, and a name given by the client is not believed', async ({
    expect,
  }) => {
    await using w = await world();
    const { headers } = await w.call('GET', A, { headers: { 'isoplane-request-id': 'forged' } });
    expect(headers.get('isoplane-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    const refused = await w.call<Problem>('GET', '/v1/nothing');
    expect(refused.body.requestId).toBe(refused.headers.get('isoplane-request-id'));
    expect(refused.headers.get('content-type')).toBe('application/problem+json');
  });

  test('health, the document and its page need no key', async ({ expect }) => {
    await using w = await world();
    const get = (path: string) => w.call('GET', path, { anonymous: true });
    expect((await get('/healthz')).body).toEqual({ ok: true });
    expect((await get('/readyz')).status).toBe(200);
    const document = (await get('/openapi.json')).body;
    expect(document['openapi']).toBe('3.1.0');
    // Every local reference leads somewhere.
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1]);
    expect(new Set(references)).toEqual(new Set(['#/components/schemas/Problem']));
    const page = (await get('/')).body as unknown as string;
    expect(page).toContain('<code>');
    expect(page).not.toMatch(/https?:\/\/|<script/);
  });
});
