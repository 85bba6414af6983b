/** One list of bindings in control: of stored versions, also those of earlier releases, and of kinds that are added. */
import { afterEach, describe, test } from 'vitest';
import { join } from 'node:path';
import { createClient } from '@libsql/client';
import type { KvNamespaceView } from '#shared/contracts/api.ts';
import type { Problem } from '#shared/errors.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { sha256 } from '../blobs/store.ts';
import { readSnapshot } from '../feed/changes.ts';
import { readMigrations, migrate } from '../db/migrate.ts';
import { versions } from '../db/schema.ts';
import { scriptedNode, world } from '../testing/world.ts';
import { canonicalJson } from './canonical.ts';
import { PUBLISHED_KINDS, storedOf, type PublishedKind } from './bindings.ts';

const K = '/v1/accounts/default/kv-namespaces';
const KV_CONFIG = { kv: [{ binding: 'KV', namespace: 'store' }] };

/** A kind that the platform does not have: a variable `THING` names a thing, of which there is one. */
const thing: PublishedKind = {
  kind: 'thing',
  names: ({ vars }) => (vars['THING'] === undefined ? [] : [{ path: 'config.vars.THING', name: 'IT' }]),
  things: {
    find: (_orm, _account, { vars }) =>
      Promise.resolve(
        vars['THING'] === undefined
          ? []
          : [
              {
                path: 'config.vars.THING',
                name: 'IT',
                what: `thing ${JSON.stringify(vars['THING'])}`,
                grant: 'isoplane things grant',
                id: vars['THING'] === 'lamp' ? 'id-of-the-lamp' : undefined,
                functions: null,
              },
            ],
      ),
    missing: 'not_found',
  },
  resolved: storedOf('thing'),
};

afterEach(() => void PUBLISHED_KINDS.splice(0, PUBLISHED_KINDS.length, ...OWN));
const OWN = [...PUBLISHED_KINDS];

describe('a kind that is added to the list', () => {
  test('is looked up by publishes, stored with the version, and told to nodes', async ({ expect }) => {
    PUBLISHED_KINDS.push(thing);
    const node = scriptedNode();
    await using w = await world({ nodes: [node] });
    const config = { vars: { THING: 'lamp' } };
    expect((await w.publish('hello', { 'main.js': '1' }, { config })).status).toBe(201);
    const told = { kind: 'thing', name: 'IT', id: 'id-of-the-lamp', terms: {} };
    expect(node.checked[0]?.bindings).toEqual([told]);
    const { items } = await w.deps.db.read((orm) => readSnapshot(orm, 'node'));
    expect(items.find(({ kind }) => kind === 'runnable')?.value).toMatchObject({ bindings: [told] });
  });

  test('refuses what the account has not, and names that are taken', async ({ expect }) => {
    PUBLISHED_KINDS.push(thing);
    await using w = await world();
    const missing = await w.publish('hello', { 'main.js': '1' }, { config: { vars: { THING: 'sofa' } } });
    expect([missing.status, missing.body]).toMatchObject([
      404,
      { code: 'not_found', problems: [{ path: 'config.vars.THING', message: 'there is no thing "sofa"' }] },
    ]);
    const twice = await w.publish(
      'hello',
      { 'main.js': '1' },
      { config: { vars: { THING: 'lamp', IT: 'me' } } },
    );
    expect(twice.body).toMatchObject({ code: 'config_invalid' });
  });
});

describe('a version that an earlier release stored', () => {
  test('keeps its namespace: nodes are told of it, it is in use, and an equal upload is the same version', async ({
    expect,
  }) => {
    await using w = await world();
    const { body } = await w.call<KvNamespaceView>('POST', K, { body: { name: 'store' } });
    await w.publish('hello', { 'main.js': '1' }, { config: KV_CONFIG });
    const [row] = await w.deps.db.read((orm) => orm.select().from(versions));
    const { main, modules, config } = row ?? {};
    const kv = [{ binding: 'KV', namespaceId: body.id }];
    const earlier = canonicalJson({ form: 'version.1', main, modules, config, kv });
    expect(row?.digest).toBe(sha256(new TextEncoder().encode(earlier)));
    const refused = await w.call<Problem>('DELETE', `${K}/store`);
    expect(refused.body.code).toBe('in_use');
    const { items } = await w.deps.db.read((orm) => readSnapshot(orm, 'node'));
    expect(items.find(({ kind }) => kind === 'runnable')?.value).toMatchObject({
      bindings: [{ kind: 'kv', name: 'KV', id: body.id, terms: {} }],
    });
  });

  test('has its column turned into the list when the database is opened', async ({ expect }) => {
    await using folder = await tempFolder();
    const client = createClient({ url: `file:${join(folder.path, 'old.db')}` });
    const all = await readMigrations();
    const before = all.filter(({ name }) => name < '0003');
    const apply = async (migrations: typeof all): Promise<void> => {
      const tx = await client.transaction('write');
      await migrate(tx, migrations);
      await tx.commit();
    };
    await apply(before);
    const insert = (number: number, kv: string): Promise<unknown> =>
      client.execute({
        sql: `INSERT INTO version (account, function, number, digest, main, modules, maps, config, created_at, created_by, kv)
          VALUES ('default', 'hello', ?, ?, 'index.js', '[]', '{}', '{}', 0, 'key', ?)`,
        args: [number, `d${number}`, kv],
      });
    await client.execute("INSERT INTO account (name, created_at) VALUES ('default', 0)");
    await client.execute(
      "INSERT INTO function (account, name, enabled, created_at) VALUES ('default', 'hello', 1, 0)",
    );
    await insert(1, '[]');
    await insert(2, '[{"binding":"A","namespaceId":"n1"},{"binding":"B","namespaceId":"n2"}]');
    await apply(all);
    const { rows } = await client.execute('SELECT bindings FROM version ORDER BY number');
    expect(rows.map((row) => JSON.parse(row['bindings'] as string) as unknown)).toEqual([
      [],
      [
        { kind: 'kv', name: 'A', id: 'n1', terms: {} },
        { kind: 'kv', name: 'B', id: 'n2', terms: {} },
      ],
    ]);
    client.close();
  });
});
