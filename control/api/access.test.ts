/**
 * Who may call what: every operation of the OpenAPI document has a row here, and each row is tried with each
 * role. A new operation without a row fails the first test.
 */
import { describe, test } from 'vitest';
import type { Whoami } from '#shared/contracts/access.ts';
import type { Problem } from '#shared/errors.ts';
import { multipart, publishParts, world, type CallOptions, type World } from '../testing/world.ts';

type Role = 'owner' | 'deployer' | 'invoker' | 'observer';
type Row = readonly [path: string, allowed: readonly Role[], body?: unknown];

const OWNER = ['owner'] as const;
const DEPLOY = ['owner', 'deployer'] as const;
const A = '/v1/accounts/default';
const F = `${A}/functions/hello`;
const L = `${A}/layers/base/versions`;

/** Operation → a concrete path, who may call it, and a body. `upload` stands for a multipart publish. */
const TABLE: Record<string, Row> = {
  listAccounts: ['/v1/accounts', DEPLOY],
  createAccount: ['/v1/accounts', OWNER, { name: 'other' }],
  getAccount: [A, DEPLOY],
  patchAccount: [A, OWNER, { issuer: null }],
  listFunctions: [`${A}/functions`, DEPLOY],
  getFunction: [F, DEPLOY],
  patchFunction: [F, OWNER, { enabled: true }],
  deleteFunction: [`${A}/functions/gone`, OWNER],
  publishVersion: [`${F}/versions`, DEPLOY, 'upload'],
  missingAssets: [`${F}/assets/missing`, DEPLOY, { files: [] }],
  uploadAssets: [`${F}/assets`, DEPLOY, 'upload'],
  listVersions: [`${F}/versions`, DEPLOY],
  getVersion: [`${F}/versions/1`, DEPLOY],
  deleteVersion: [`${F}/versions/999`, OWNER],
  listAliases: [`${F}/aliases`, DEPLOY],
  setAlias: [`${F}/aliases/live`, DEPLOY, { weights: [{ version: 1, weight: 100 }] }],
  getProvision: [`${F}/aliases/live/provision`, DEPLOY],
  setProvision: [`${F}/aliases/live/provision`, DEPLOY, { instances: 1 }],
  deleteProvision: [`${F}/aliases/live/provision`, DEPLOY],
  deleteAlias: [`${F}/aliases/none`, DEPLOY],
  rollback: [`${F}/aliases/live/rollback`, DEPLOY, { toVersion: 1 }],
  listDeployments: [`${F}/deployments`, DEPLOY],
  readLogs: [`${F}/logs`, DEPLOY],
  listLayers: [`${A}/layers`, DEPLOY],
  publishLayerVersion: [L, DEPLOY, 'upload'],
  listLayerVersions: [L, DEPLOY],
  getLayerVersion: [`${L}/1`, DEPLOY],
  deleteLayerVersion: [`${L}/999`, DEPLOY],
  getLayerModule: [`${L}/1/modules/a.js`, DEPLOY],
  listKvNamespaces: [`${A}/kv-namespaces`, DEPLOY],
  createKvNamespace: [`${A}/kv-namespaces`, DEPLOY, { name: 'made' }],
  patchKvNamespace: [`${A}/kv-namespaces/none`, DEPLOY, { functions: null }],
  deleteKvNamespace: [`${A}/kv-namespaces/none`, DEPLOY],
  listKvKeys: [`${A}/kv-namespaces/none/keys`, DEPLOY],
  getKvValue: [`${A}/kv-namespaces/none/value?key=k`, DEPLOY],
  putKvValue: [`${A}/kv-namespaces/none/value?key=k`, DEPLOY, { value: 'v' }],
  deleteKvValue: [`${A}/kv-namespaces/none/value?key=k`, DEPLOY],
  getKvValueByPath: [`${A}/kv-namespaces/none/values/k`, DEPLOY],
  putKvValueByPath: [`${A}/kv-namespaces/none/values/k`, DEPLOY, { value: 'v' }],
  deleteKvValueByPath: [`${A}/kv-namespaces/none/values/k`, DEPLOY],
  whoami: ['/v1/whoami', ['owner', 'deployer', 'invoker', 'observer']],
  scrapeMetrics: ['/metrics', ['owner', 'observer']],
  getMetrics: ['/v1/metrics', ['owner', 'observer']],
  listKeys: [`${A}/keys`, OWNER],
  createKey: [`${A}/keys`, OWNER, { name: 'k', role: 'invoker', algorithm: 'ed25519' }],
  deleteKey: [`${A}/keys/none`, OWNER],
  listUsage: [`${A}/usage`, DEPLOY],
  listSecrets: [`${A}/secrets`, DEPLOY],
  putSecret: [`${A}/secrets/key`, DEPLOY, { value: 'v' }],
  deleteSecret: [`${A}/secrets/none`, DEPLOY],
  listFunctionSecrets: [`${F}/secrets`, DEPLOY],
  putFunctionSecret: [`${F}/secrets/KEY`, DEPLOY, { value: 'v' }],
  deleteFunctionSecret: [`${F}/secrets/NONE`, DEPLOY],
  listRoutes: [`${A}/routes`, DEPLOY],
  createRoute: [`${A}/routes`, DEPLOY, { host: 'example.org', path: '/*', function: 'none' }],
  deleteRoute: [`${A}/routes/none`, DEPLOY],
  getPropagation: ['/v1/propagation?revision=1', DEPLOY],
  getStatus: ['/v1/status', DEPLOY],
};

interface Documented {
  readonly paths: Record<string, Record<string, { readonly operationId: string }>>;
}

async function operations(w: World): Promise<ReadonlyMap<string, string>> {
  const { body } = await w.call<Documented>('GET', '/openapi.json', { anonymous: true });
  return new Map(
    Object.values(body.paths).flatMap((methods) =>
      Object.entries(methods).map(
        ([method, { operationId }]) => [operationId, method.toUpperCase()] as const,
      ),
    ),
  );
}

async function callOptions(body: unknown): Promise<CallOptions> {
  if (body === undefined) return {};
  if (body !== 'upload') return { body };
  const { raw, contentType } = await multipart(publishParts({ 'main.js': 'export default {}' }));
  return { raw, headers: { 'content-type': contentType } };
}

describe('permissions', () => {
  test('every documented operation has a row, and every row an operation', async ({ expect }) => {
    await using w = await world();
    expect([...(await operations(w)).keys()].sort()).toEqual(Object.keys(TABLE).sort());
  });

  test('each role may do what its rows say, and nothing answers without credentials', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    await w.layer('base', { 'a.js': 'export {}' });
    const methods = await operations(w);
    const tokens = {
      owner: await w.token('owner'),
      deployer: await w.token('deployer'),
      invoker: await w.token('invoker'),
      observer: await w.token('observer'),
    };
    for (const [id, [path, allowed, body]] of Object.entries(TABLE)) {
      const method = methods.get(id) ?? '';
      const options = await callOptions(body);
      const anonymous = await w.call<Problem>(method, path, { ...options, anonymous: true });
      expect([id, anonymous.body.code]).toEqual([id, 'signature_missing']);
      for (const role of ['owner', 'deployer', 'invoker', 'observer'] as const) {
        const { body: answer } = await w.call<Problem>(method, path, {
          ...options,
          token: tokens[role].token,
        });
        expect([id, role, answer?.code !== 'forbidden']).toEqual([id, role, allowed.includes(role)]);
        // Who is refused learns whose key it takes.
        if (answer?.code === 'forbidden')
          expect([id, role, answer.detail]).toEqual([id, role, expect.stringMatching(/takes .*\bowner/)]);
      }
    }
  });

  test('a key of one account sees no other, whether that exists or not', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    const stranger = await w.token('owner', { account: 'other' });
    const methods = await operations(w);
    for (const [id, [path, , body]] of Object.entries(TABLE)) {
      if (!path.startsWith(A)) continue;
      for (const target of [path, path.replace('/default', '/nobody')]) {
        const answer = await w.call<Problem>(methods.get(id) ?? '', target, {
          ...(await callOptions(body)),
          token: stranger.token,
        });
        expect([id, answer.status, answer.body.code]).toEqual([id, 404, 'account_not_found']);
      }
    }
    const accounts = await w.call<{ items: { name: string }[] }>('GET', '/v1/accounts', {
      token: stranger.token,
    });
    expect(accounts.body.items.map((account) => account.name)).toEqual(['other']);
    const create = await w.call<Problem>('POST', '/v1/accounts', {
      token: stranger.token,
      body: { name: 'third' },
    });
    expect(create.body.code).toBe('forbidden');
  });

  test('the owner of `default` creates accounts and their first keys, and reads nothing of theirs', async ({
    expect,
  }) => {
    await using w = await world();
    expect((await w.call('POST', '/v1/accounts', { body: { name: 'team' } })).status).toBe(201);
    const taken = await w.call<Problem>('POST', '/v1/accounts', { body: { name: 'team' } });
    expect(taken.body.code).toBe('name_taken');
    const key = await w.call<{ secret: string }>('POST', '/v1/accounts/team/keys', {
      body: { name: 'first', role: 'owner', algorithm: 'token' },
    });
    expect(key.status).toBe(201);
    expect((await w.call('GET', '/v1/accounts/team', { token: key.body.secret })).status).toBe(200);
    const peek = await w.call<Problem>('GET', '/v1/accounts/team/functions');
    expect(peek.body.code).toBe('account_not_found');
    const nobody = await w.call<Problem>('POST', '/v1/accounts/nobody/keys', {
      body: { name: 'first', role: 'owner', algorithm: 'token' },
    });
    expect(nobody.body.code).toBe('account_not_found');
  });

  test('a key for certain functions changes only those', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    await w.publish('other');
    const { token } = await w.token('deployer', { functions: ['hello'] });
    const alias = { weights: [{ version: 1, weight: 100 }] };
    const own = await w.call('PUT', `${F}/aliases/live`, { token, body: alias });
    expect(own.status).toBe(200);
    const me = await w.call<Whoami>('GET', '/v1/whoami', { token });
    expect(me.body).toMatchObject({
      account: 'default',
      key: { role: 'deployer', functions: ['hello'] },
      gateway: { url: 'http://127.0.0.1:8787', baseDomain: 'localhost' },
    });
    expect(JSON.stringify(me.body)).not.toContain(token.slice(-43));
    const foreign = await w.call<Problem>('PUT', `${A}/functions/other/aliases/live`, { token, body: alias });
    expect(foreign.body).toMatchObject({
      code: 'forbidden',
      detail:
        'This key is limited to hello; for other it takes a key that names it, or one that is not limited.',
    });
    const route = await w.call<Problem>('POST', `${A}/routes`, {
      token,
      body: { host: 'example.org', path: '/', function: 'hello' },
    });
    expect(route.body).toMatchObject({
      code: 'forbidden',
      detail:
        'This key is limited to hello; this is about the whole account, and takes a key that is not limited.',
    });
  });
});
