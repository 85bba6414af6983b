/** What could harm readers later is refused with a 4xx before it is stored, and one bad row stops nobody. */
import { describe, test } from 'vitest';
import { readLineSchema } from '#shared/feed/read.ts';
import { JSON_DEPTH_MAX } from './json.ts';
import { world, type World } from './testing/world.ts';

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level += 1) value = [value];
  return value;
}

async function snapshotOf(w: World, role: 'gateway' | 'node' | 'scheduler') {
  const response = await w.internal.request(`/internal/feed?consumer=${role}-1&role=${role}&from=0`);
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const { value } = await reader.read();
  await reader.cancel();
  const line = readLineSchema.parse(JSON.parse(new TextDecoder().decode(value)));
  if (line.type !== 'snapshot') throw new Error(`the feed began with a ${line.type}`);
  return line;
}

describe('control refuses with a 4xx', () => {
  test('variables that are nested deeper than every reader can walk', async ({ expect }) => {
    await using w = await world();
    // metadata > config > vars > NAME
    const deepest = JSON_DEPTH_MAX - 3;
    const good = await w.publish('deep', undefined, { config: { vars: { GOOD: nested(deepest) as never } } });
    expect(good.status).toBe(201);
    for (const depth of [deepest + 1, 1_700, 3_000]) {
      const bad = await w.publish('deep', undefined, {
        metadata: { config: JSON.parse(`{"vars":{"V":${'['.repeat(depth)}${']'.repeat(depth)}}}`) as never },
      });
      expect([bad.status, bad.body.code]).toEqual([422, 'config_invalid']);
      expect(bad.body.detail).toContain('nested deeper than 64 levels');
    }
  });
  test('a JSON body that is nested too deep', async ({ expect }) => {
    await using w = await world();
    const raw = new TextEncoder().encode('['.repeat(3_000) + ']'.repeat(3_000));
    const reply = await w.call('POST', '/v1/accounts/default/keys', { raw });
    expect([reply.status, reply.body['code']]).toEqual([422, 'config_invalid']);
  });
  test.for([
    ['a part without a name', 'content-disposition: form-data\r\n\r\nx'],
    ['a part without a disposition', 'content-type: text/plain\r\n\r\nx'],
    ['a part without headers', '\r\nx'],
    ['a part with a file name alone', 'content-disposition: form-data; filename="a.js"\r\n\r\nx'],
  ])('%s', async ([, part], { expect }) => {
    await using w = await world();
    const raw = new TextEncoder().encode(`--b\r\n${part}\r\n--b--\r\n`);
    const reply = await w.call('POST', '/v1/accounts/default/functions/hello/versions', {
      raw,
      headers: { 'content-type': 'multipart/form-data; boundary=b' },
    });
    expect([reply.status, reply.body['code']]).toEqual([400, 'bad_request']);
  });
  test.for(['constructor', 'hasownproperty', 'tostring'])(
    'an alias %s that nobody made',
    async (alias, { expect }) => {
      await using w = await world();
      await w.publish('hello');
      const route = await w.call('POST', '/v1/accounts/default/routes', {
        body: { host: 'example.org', path: '/*', function: 'hello', alias },
      });
      expect([route.status, route.body['code']]).toEqual([404, 'alias_not_found']);
    },
  );
  test('a variable or binding that no object can hold', async ({ expect }) => {
    await using w = await world();
    await w.call('POST', '/v1/accounts/default/kv', { body: { name: 'store' } });
    const reply = await w.publish('hello', undefined, {
      config: { kv: [{ binding: '__proto__', namespace: 'store' }] },
    });
    expect([reply.status, reply.body.code]).toEqual([422, 'config_invalid']);
  });
});

describe('a stored row that cannot be read', () => {
  test('is left out of the feed of all others, reported, and shown in the status', async ({ expect }) => {
    await using w = await world();
    await w.publish('good');
    await w.publish('bad');
    await w.deps.db.write((tx) =>
      tx.orm.run(`UPDATE version SET config = '{"limits":7}' WHERE function = 'bad'`).then(() => undefined),
    );
    for (const role of ['gateway', 'node', 'scheduler'] as const) {
      const line = await snapshotOf(w, role);
      expect(line.items.some(({ key }) => key.startsWith('default/good'))).toBe(true);
      expect(line.skipped?.map(({ key }) => key.replace(/@1$/, ''))).toEqual(['default/bad']);
      expect(line.skipped?.[0]?.reason).toContain('cannot be read');
      await w.internal.request('/internal/feed/ack', {
        method: 'POST',
        body: JSON.stringify({ consumer: `${role}-1`, role, revision: line.revision, skipped: line.skipped }),
      });
    }
    const status = await w.call<{ consumers: { skipped: { key: string }[] }[] }>('GET', '/v1/status');
    expect(status.body.consumers.map(({ skipped }) => skipped.length)).toEqual([1, 1, 1]);
  });

  test('is named to keys that may see it, and to no other account', async ({ expect }) => {
    await using w = await world();
    await w.publish('bad');
    const skipped = [{ kind: 'version', key: 'default/bad@1', reason: 'cannot be read' }];
    await w.internal.request('/internal/feed/ack', {
      method: 'POST',
      body: JSON.stringify({ consumer: 'g', role: 'gateway', revision: 1, skipped }),
    });
    const seenBy = async ({ token }: { readonly token: string }) => {
      const { body } = await w.call<{ consumers: { skipped: { key: string }[] }[] }>('GET', '/v1/status', {
        token,
      });
      return body.consumers.map((consumer) => consumer.skipped.map(({ key }) => key));
    };
    expect(await seenBy(await w.token('owner', { account: 'other' }))).toEqual([[]]);
    expect(await seenBy(await w.token('deployer', { functions: ['good'] }))).toEqual([[]]);
    expect(await seenBy(await w.token('deployer', { functions: ['bad'] }))).toEqual([['default/bad@1']]);
    expect(await seenBy(await w.token('owner'))).toEqual([['default/bad@1']]);
  });
});
