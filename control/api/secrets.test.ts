/** Secrets over the API: sealed for nodes, named by versions, never shown, never missing where they are used. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'vitest';
import type { EgressRules } from '#shared/contracts/egress.ts';
import type { SecretItem } from '#shared/contracts/feed.ts';
import type { Problem } from '#shared/errors.ts';
import { secretNameSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { importKeyEncryptionKey, unseal } from '#shared/seal.ts';
import { readDelta, readSnapshot } from '../feed/changes.ts';
import { NODE_KEY, world, type World } from '../testing/world.ts';

const S = '/v1/accounts/default/secrets';
const VALUE = 'correct horse battery staple';

const using = (secret: string): EgressRules => ({
  allow: ['*'],
  deny: [],
  headers: [
    { host: 'api.example.com', header: 'authorization', secret: secretNameSchema.parse(secret), prefix: '' },
  ],
});

async function inFeed(w: World, name: string): Promise<SecretItem | null | undefined> {
  const { items } = await w.deps.db.read((orm) => readSnapshot(orm, 'node'));
  return items.find((item) => item.kind === 'secret' && item.key === `default/${name}`)?.value as
    | SecretItem
    | undefined;
}

const open = async (item: SecretItem | null | undefined, context: string): Promise<string> =>
  new TextDecoder().decode(await unseal(await importKeyEncryptionKey(NODE_KEY), item?.sealed ?? '', context));

test('a secret is put, listed by name, rotated and deleted; its value is in no answer and not on disk', async ({
  expect,
}) => {
  await using w = await world();
  const put = await w.call('PUT', `${S}/key`, { body: { value: VALUE } });
  expect([put.status, put.body]).toEqual([
    200,
    { name: 'key', updatedAt: expect.any(String), revision: expect.any(Number) },
  ]);
  expect((await w.call('GET', S)).body).toEqual({ items: [{ name: 'key', updatedAt: expect.any(String) }] });
  for (const file of ['control.db', 'control.db-wal'])
    expect((await readFile(join(w.folder, file))).includes(VALUE), file).toBe(false);
  expect(await open(await inFeed(w, 'key'), 'secret/default/key')).toBe(VALUE);
  await expect(open(await inFeed(w, 'key'), 'secret/default/other')).rejects.toThrow('does not open');
  await w.call('PUT', `${S}/key`, { body: { value: 'rotated' } });
  expect(await open(await inFeed(w, 'key'), 'secret/default/key')).toBe('rotated');
  const from = w.deps.db.revision;
  expect((await w.call('DELETE', `${S}/key`)).status).toBe(204);
  expect(await w.deps.db.read((orm) => readDelta(orm, 'node', from))).toMatchObject({
    items: [{ kind: 'secret', key: 'default/key', value: null }],
  });
  expect(await w.deps.db.read((orm) => readDelta(orm, 'gateway', from))).toMatchObject({ items: [] });
  expect((await w.call<Problem>('DELETE', `${S}/key`)).body.code).toBe('secret_not_found');
});

test('values that cannot stand in a header are refused, without being repeated', async ({ expect }) => {
  await using w = await world();
  for (const value of ['', ' x', 'x ', 'a\r\nb: c', 'ü', 'x'.repeat(LIMITS.secretBytesMax + 1)]) {
    const { body } = await w.call<Problem>('PUT', `${S}/key`, { body: { value } });
    expect(body.code).toBe('config_invalid');
    if (value.length > 2) expect(JSON.stringify(body)).not.toContain(value.slice(0, 50));
  }
  const longest = await w.call('PUT', `${S}/key`, { body: { value: 'x'.repeat(LIMITS.secretBytesMax) } });
  expect(longest.status).toBe(200);
});

test('a version may only name secrets that exist, at its place in the configuration', async ({ expect }) => {
  await using w = await world();
  const files = { 'main.js': 'export default {}' };
  const refused = await w.publish('hello', files, { config: { egress: using('key') } });
  expect(refused.body).toMatchObject({
    code: 'secret_not_found',
    problems: [
      {
        path: 'config.egress.headers.0.secret',
        message: 'there is no secret key in the account; `isoplane secrets put key` makes it',
      },
    ],
  });
  await w.call('PUT', `${S}/key`, { body: { value: VALUE } });
  expect((await w.publish('hello', files, { config: { egress: using('key') } })).status).toBe(201);
});

test('a secret that a served version uses stays; one that an old version names can go, and the old one is not served again', async ({
  expect,
}) => {
  await using w = await world();
  await w.call('PUT', `${S}/key`, { body: { value: VALUE } });
  await w.publish('hello', { 'main.js': 'export default 1' }, { config: { egress: using('key') } });
  expect((await w.call<Problem>('DELETE', `${S}/key`)).body).toMatchObject({
    code: 'in_use',
    detail: 'Version 1 of hello uses it.',
  });
  await w.publish('hello', { 'main.js': 'export default 2' });
  expect((await w.call('DELETE', `${S}/key`)).status).toBe(204);
  const back = await w.call<Problem>('POST', '/v1/accounts/default/functions/hello/aliases/live/rollback', {
    body: {},
  });
  expect(back.body.code).toBe('secret_not_found');
});

test('an account has room for a bounded number of secrets', async ({ expect }) => {
  await using w = await world();
  await w.deps.db.write(async (tx) => {
    await tx.orm
      .run(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${LIMITS.secretsPerAccountMax})
      INSERT INTO secret (account, name, sealed, updated_at, updated_by) SELECT 'default', 's' || i, 'v1.', 0, 'test' FROM n`);
  });
  expect((await w.call<Problem>('PUT', `${S}/more`, { body: { value: 'x' } })).body.code).toBe(
    'quota_exceeded',
  );
  expect((await w.call('PUT', `${S}/s1`, { body: { value: 'x' } })).status).toBe(200);
});
