/** Publishing: what is refused and how, and that a failure at any step leaves nothing visible. */
import { describe, test } from 'vitest';
import { writeFile } from 'node:fs/promises';
import { PlatformError, type Problem } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import { realDisk, type Disk } from '../blobs/files.ts';
import { sha256 } from '../blobs/store.ts';
import {
  multipart,
  publishParts,
  scriptedNode,
  world,
  type PublishOptions,
  type World,
} from '../testing/world.ts';

const F = '/v1/accounts/default/functions/hello';

/** Everything a client can see of the function. */
async function visible(w: World): Promise<unknown> {
  const fn = await w.call('GET', F);
  const versions = await w.call('GET', `${F}/versions`);
  return { fn: fn.body['code'] ?? fn.body, versions: versions.body, revision: w.deps.db.revision };
}

async function raw(w: World, parts: Parameters<typeof multipart>[0]) {
  const { raw: bytes, contentType } = await multipart(parts);
  return w.call<Problem>('POST', `${F}/versions`, { raw: bytes, headers: { 'content-type': contentType } });
}

describe('what is refused', () => {
  const main = { 'main.js': 'export default {}' };
  const cases: readonly (readonly [string, Record<string, string>, PublishOptions, string])[] = [
    ['a name that leaves the folder', { '../x.js': '' }, {}, 'module_name_invalid'],
    ['an absolute name', { '/etc/x.js': '' }, {}, 'module_name_invalid'],
    ['a backslash', { 'a\\b.js': '' }, {}, 'module_name_invalid'],
    ['a dot segment', { 'a/../b.js': '' }, {}, 'module_name_invalid'],
    ['a name of the platform', { 'isoplane/x.js': '' }, {}, 'module_name_invalid'],
    ['a name of a layer', { 'opt/x.js': '' }, {}, 'module_name_invalid'],
    ['a main that is not there', main, { metadata: { main: 'other.js' } }, 'module_missing'],
    [
      'a listed module that was not uploaded',
      main,
      {
        metadata: {
          modules: [
            { name: 'main.js', type: 'esm' },
            { name: 'b.js', type: 'esm' },
          ],
        },
      },
      'module_missing',
    ],
    [
      'a module listed twice',
      main,
      {
        metadata: {
          modules: [
            { name: 'main.js', type: 'esm' },
            { name: 'main.js', type: 'text' },
          ],
        },
      },
      'config_invalid',
    ],
    [
      'an unlisted module',
      { ...main, 'b.js': '' },
      { metadata: { modules: [{ name: 'main.js', type: 'esm' }] } },
      'config_invalid',
    ],
    [
      'a main that is no code',
      main,
      { metadata: { modules: [{ name: 'main.js', type: 'text' }] } },
      'config_invalid',
    ],
    ['a source map of nothing', main, { maps: { 'b.js': '{}' } }, 'module_missing'],
    [
      'variables over the limit',
      main,
      { config: { vars: { BIG: 'x'.repeat(LIMITS.varsBytesMax) } } },
      'env_too_large',
    ],
    [
      'an origin that no page has',
      main,
      { config: { cors: { origins: ['https://a.*.com'] } } },
      'config_invalid',
    ],
    ['a variable name that is none', main, { config: { vars: { '1x': 1 } } }, 'config_invalid'],
    [
      'a date after the runtime',
      main,
      { config: { compatibilityDate: '2026-11-18' } },
      'compatibility_invalid',
    ],
    [
      'a date that does not exist',
      main,
      { config: { compatibilityDate: '2026-02-30' } },
      'compatibility_invalid',
    ],
    ['an unknown flag', main, { config: { compatibilityFlags: ['nope'] } }, 'compatibility_invalid'],
    [
      'an experimental flag',
      main,
      { config: { compatibilityFlags: ['experimental'] } },
      'compatibility_invalid',
    ],
    ['python', main, { config: { compatibilityFlags: ['python_workers'] } }, 'compatibility_invalid'],
    ['a missing layer', main, { config: { layers: [{ name: 'none', version: 1 }] } }, 'layer_not_found'],
    ['an unknown member', main, { metadata: { nonsense: 1 } }, 'config_invalid'],
    ['an alias that is no name', main, { metadata: { alias: 'Not A Name' } }, 'config_invalid'],
  ];
  for (const [what, files, options, code] of cases)
    test(`${what} → ${code}, and nothing is published`, async ({ expect }) => {
      const node = scriptedNode();
      await using w = await world({ nodes: [node] });
      const reply = await w.publish('hello', files, options);
      expect(reply.body.code).toBe(code);
      expect(node.checked).toEqual([]);
      expect((await w.call<Problem>('GET', F)).body.code).toBe('function_not_found');
    });

  test('limits are inclusive: variables exactly at the bound are accepted', async ({ expect }) => {
    await using w = await world();
    const vars = { B: 'x'.repeat(LIMITS.varsBytesMax - '{"B":""}'.length) };
    expect((await w.publish('hello', undefined, { config: { vars } })).status).toBe(201);
  });

  test('a part uploaded twice, a strange part, no metadata, bad JSON, no multipart', async ({ expect }) => {
    await using w = await world();
    const parts = Object.entries(publishParts({ 'main.js': '' }));
    expect((await raw(w, [...parts, ['module:main.js', '2']])).body.code).toBe('config_invalid');
    expect((await raw(w, [...parts, ['other', '2']])).body.code).toBe('bad_request');
    expect((await raw(w, [...parts, ['metadata', '{}']])).body.code).toBe('bad_request');
    expect((await raw(w, { 'module:main.js': '' })).body.code).toBe('bad_request');
    expect((await raw(w, { metadata: '{' })).body.code).toBe('bad_request');
    const json = await w.call<Problem>('POST', `${F}/versions`, { body: {} });
    expect(json.body.code).toBe('bad_request');
    const torn = await w.call<Problem>('POST', `${F}/versions`, {
      raw: new TextEncoder().encode('--b\r\ncontent-disposition: form-data; name="metadata"\r\n\r\n{'),
      headers: { 'content-type': 'multipart/form-data; boundary=b' },
    });
    expect(torn.body.code).toBe('bad_request');
  });

  test('a bundle over the limit is refused while it arrives, long before its end', async ({ expect }) => {
    await using w = await world();
    const { token } = await w.token('owner');
    const chunk = new Uint8Array(1024 * 1024);
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (sent === 0)
          controller.enqueue(
            new TextEncoder().encode(
              '--b\r\ncontent-disposition: form-data; name="module:a.js"; filename="a"\r\n\r\n',
            ),
          );
        sent += 1;
        controller.enqueue(chunk);
      },
    });
    const response = await w.app.request(`http://control.test${F}/versions`, {
      method: 'POST',
      headers: {
        host: 'control.test',
        authorization: `Bearer ${token}`,
        'content-type': 'multipart/form-data; boundary=b',
      },
      body: endless,
      duplex: 'half',
    });
    expect(response.status).toBe(413);
    expect(((await response.json()) as Problem).code).toBe('bundle_too_large');
    expect(sent).toBeLessThan(40);
  });

  test('code and layers together may not exceed the limit', async ({ expect }) => {
    await using w = await world();
    const half = ' '.repeat(LIMITS.bundleBytesMax / 2 + 1);
    expect((await w.layer('big', { 'a.js': half })).status).toBe(201);
    const reply = await w.publish(
      'hello',
      { 'main.js': half },
      { config: { layers: [{ name: 'big', version: 1 }] } },
    );
    expect(reply.body.code).toBe('bundle_too_large');
  });
});

describe('the trial start', () => {
  test('code that does not start is refused with message, mapped stack and logs', async ({ expect }) => {
    const node = scriptedNode();
    await using w = await world({ nodes: [node] });
    await w.publish('hello');
    const before = await visible(w);
    node.onCheck = () =>
      Promise.resolve({
        ok: false,
        message: 'Error: boom',
        stack: 'Error: boom\n    at start (main.js:1:7)',
        logs: ['hi'],
      });
    const map = { version: 3, sources: ['src/main.ts'], names: [], mappings: 'AAIA' };
    const reply = await w.publish(
      'hello',
      { 'main.js': 'throw 1' },
      { maps: { 'main.js': JSON.stringify(map) } },
    );
    expect(reply.status).toBe(422);
    expect(reply.body).toMatchObject({
      code: 'publish_startup_failed',
      detail: 'Error: boom',
      stack: 'Error: boom\n    at start (src/main.ts:5:1)',
      logs: ['hi'],
    });
    expect(await visible(w)).toEqual(before);
  });

  test('the node finds what it needs before it is asked: layers merged, first listed wins, blobs readable', async ({
    expect,
  }) => {
    const node = scriptedNode();
    await using w = await world({ nodes: [node] });
    await w.layer('one', { 'a.js': '1a', 'b.js': '1b' });
    await w.layer('two', { 'a.js': '2a', 'c.js': '2c' });
    const seen: Record<string, string> = {};
    node.onCheck = async (runnable) => {
      for (const module of runnable.modules) {
        const blob = await w.internal.request(`/internal/blobs/${module.digest}`);
        seen[module.name] = await blob.text();
      }
      return { ok: true, startMs: 1 };
    };
    const layers = [
      { name: 'one', version: 1 },
      { name: 'two', version: 1 },
    ] as never;
    expect((await w.publish('hello', { 'main.js': 'm' }, { config: { layers } })).status).toBe(201);
    expect(seen).toEqual({ 'main.js': 'm', 'opt/a.js': '1a', 'opt/b.js': '1b', 'opt/c.js': '2c' });
    const used = await w.call<Problem>('DELETE', '/v1/accounts/default/layers/one/versions/1');
    expect(used.body.code).toBe('in_use');
  });

  test('a trial that was lost for an outside cause is repeated once; lost again, it is 503 and no word about the code', async ({
    expect,
  }) => {
    const node = scriptedNode();
    await using w = await world({ nodes: [node] });
    const lost = () => Promise.reject(new PlatformError('instance_lost', 'killed'));
    const answers: (typeof lost)[] = [lost];
    let asked = 0;
    node.onCheck = () => {
      asked += 1;
      return answers.shift()?.() ?? Promise.resolve({ ok: true, startMs: 1 });
    };
    expect((await w.publish('hello')).status).toBe(201);
    expect(asked).toBe(2);
    answers.push(lost, lost);
    const before = await visible(w);
    const reply = await w.publish('hello', { 'main.js': '2' });
    expect(asked).toBe(4);
    expect(reply.status).toBe(503);
    expect(reply.body.code).toBe('node_unavailable');
    expect(reply.headers.get('retry-after')).toBe('2');
    expect(await visible(w)).toEqual(before);
    expect((await w.publish('hello', { 'main.js': '2' })).status).toBe(201);
  });

  test('no node → node_unavailable; the second node is asked when the first is gone', async ({ expect }) => {
    const [first, second] = [scriptedNode('node-1'), scriptedNode('node-2')];
    first.onCheck = () => Promise.reject(new Error('connection refused'));
    await using w = await world({ nodes: [first, second] });
    expect((await w.publish('hello')).status).toBe(201);
    second.onCheck = first.onCheck;
    const before = await visible(w);
    const reply = await w.publish('hello', { 'main.js': '2' });
    expect(reply.body.code).toBe('node_unavailable');
    expect(reply.headers.get('retry-after')).toBe('2');
    expect(await visible(w)).toEqual(before);
  });
});

describe('what a node says', () => {
  test('a damaged layer blob is told as such, not as a missing node', async ({ expect }) => {
    const node = scriptedNode();
    node.onCheck = () => Promise.reject(new PlatformError('blob_corrupt', 'digest differs'));
    await using w = await world({ nodes: [node, scriptedNode('node-2')] });
    const reply = await w.publish('hello');
    expect([reply.status, reply.body.code]).toEqual([500, 'blob_corrupt']);
  });
});

/** The Nth call of `write` or `rename` or `syncFolder` fails as a full disk does. */
function fullAt(nth: number): Disk & { calls: number } {
  const disk = {
    ...realDisk,
    calls: 0,
    write: (path: string, bytes: Uint8Array) => step().then(() => realDisk.write(path, bytes)),
    rename: (from: string, to: string) => step().then(() => realDisk.rename(from, to)),
    syncFolder: (path: string) => step().then(() => realDisk.syncFolder(path)),
  };
  const step = (): Promise<void> => {
    disk.calls += 1;
    return disk.calls === nth
      ? Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }))
      : Promise.resolve();
  };
  return disk;
}

describe('failures in the middle', () => {
  test('a full disk at any write answers storage_full, changes nothing, and the same publish works later', async ({
    expect,
  }) => {
    for (let nth = 1; nth <= 8; nth += 1) {
      const disk = fullAt(nth);
      await using w = await world({ disk });
      const reply = await w.publish('hello', { 'main.js': '1', 'b.js': '2' });
      expect([nth, reply.status, reply.body.code]).toEqual([nth, 507, 'storage_full']);
      expect((await w.call<Problem>('GET', F)).body.code).toBe('function_not_found');
      expect((await w.publish('hello', { 'main.js': '1', 'b.js': '2' })).status).toBe(201);
    }
  });

  test('a full database answers storage_full, changes nothing, and works again with space', async ({
    expect,
  }) => {
    await using w = await world();
    await w.publish('hello', { 'main.js': '0' });
    const { sql } = await import('drizzle-orm');
    // The writer has one connection, and the bound is a property of the connection.
    const bound = (pages: number) =>
      w.deps.db.write((tx) => tx.orm.run(sql.raw(`PRAGMA max_page_count = ${pages}`)));
    await bound(1);
    const message = 'x'.repeat(1_000);
    let reply = await w.publish('hello', { 'main.js': '1' }, { metadata: { message } });
    let before = await visible(w);
    for (let code = 2; reply.status < 400 && code < 100; code += 1) {
      before = await visible(w);
      reply = await w.publish('hello', { 'main.js': String(code) }, { metadata: { message } });
    }
    expect([reply.status, reply.body.code]).toEqual([507, 'storage_full']);
    expect(await visible(w)).toEqual(before);
    await bound(1_000_000);
    expect((await w.publish('hello', { 'main.js': 'more' }, { metadata: { message } })).status).toBe(201);
  });

  test('a transaction that fails leaves no version, no number and no change', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello');
    const before = await visible(w);
    const { sql } = await import('drizzle-orm');
    await w.deps.db.write((tx) =>
      tx.orm.run(sql`CREATE TRIGGER stop BEFORE INSERT ON deployment BEGIN SELECT RAISE(ABORT, 'stop'); END`),
    );
    const reply = await w.publish('hello', { 'main.js': '2' });
    expect(reply.body.code).toBe('internal');
    expect(await visible(w)).toEqual(before);
    await w.deps.db.write((tx) => tx.orm.run(sql`DROP TRIGGER stop`));
    expect((await w.publish('hello', { 'main.js': '2' })).body.version.number).toBe(2);
  });

  test('a damaged blob is never served, and publishing the same code again heals it', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello', { 'main.js': 'original' });
    const digest = sha256(new TextEncoder().encode('original'));
    await writeFile(`${w.folder}/blobs/${digest.slice(0, 2)}/${digest.slice(2)}`, 'tampered');
    const damaged = await w.internal.request(`/internal/blobs/${digest}`);
    expect(((await damaged.json()) as Problem).code).toBe('blob_corrupt');
    expect((await w.publish('hello', { 'main.js': 'original' })).body.created).toBe(false);
    expect(await (await w.internal.request(`/internal/blobs/${digest}`)).text()).toBe('original');
    const none = await w.internal.request(`/internal/blobs/${'0'.repeat(64)}`);
    expect(((await none.json()) as Problem).code).toBe('blob_not_found');
  });
});

describe('at the same time', () => {
  test('different publishes get different numbers and one of them is live', async ({ expect }) => {
    await using w = await world();
    const replies = await Promise.all(
      Array.from({ length: 12 }, (_, index) => w.publish('hello', { 'main.js': `export default ${index}` })),
    );
    expect(replies.map((reply) => reply.status)).toEqual(replies.map(() => 201));
    const numbers = replies.map((reply) => reply.body.version.number).sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 12 }, (_, index) => index + 1));
  });

  test('equal publishes make one version', async ({ expect }) => {
    await using w = await world();
    const replies = await Promise.all([w.publish('hello'), w.publish('hello'), w.publish('hello')]);
    expect(replies.map((reply) => reply.body.version.number)).toEqual([1, 1, 1]);
    expect(replies.filter((reply) => reply.body.created).length).toBe(1);
  });
});
