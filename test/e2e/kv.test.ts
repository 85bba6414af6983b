/**
 * Goal: env.KV behaves as Workers KV, keeps what it said it kept, and holds to its bounds. Method: a function
 * on a running platform makes the calls that a test names, and answers what it saw.
 */
import process from 'node:process';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;

/** Runs the body of the request as `(KV, OTHER) => …` would be: named operations, since there is no eval. */
const SOURCE = `
const big = (size) => new Uint8Array(size).map((_, index) => index % 251);
const same = (left, right) => left.length === right.length && left.every((byte, index) => byte === right[index]);
const OPERATIONS = {
  async kinds({ KV }) {
    await KV.put('a/b c?&=ä€', 'text');
    await KV.put('json', JSON.stringify({ a: [1] }));
    await KV.put('bytes', new Uint8Array([0, 255, 1]));
    await KV.put('empty', '');
    return [
      await KV.get('a/b c?&=ä€'), await KV.get('json', 'json'), [...new Uint8Array(await KV.get('bytes', 'arrayBuffer'))],
      await KV.get('empty'), await KV.get('absent'), await new Response(await KV.get('bytes', 'stream')).text().then((t) => t.length),
    ];
  },
  async metadata({ KV }) {
    await KV.put('meta', '1', { metadata: { who: 'Ünï', n: [1, null] }, expirationTtl: 3600 });
    const { value, metadata } = await KV.getWithMetadata('meta');
    const { keys } = await KV.list({ prefix: 'meta' });
    await KV.put('meta', '2');
    return { value, metadata, listed: { ...keys[0], expiration: keys[0].expiration > Date.now() / 1000 + 3500 }, after: await KV.getWithMetadata('meta') };
  },
  async remove({ KV }) { await KV.put('gone', '1'); await KV.delete('gone'); await KV.delete('never'); return KV.get('gone'); },
  async list({ KV }) {
    for (let n = 0; n < 25; n += 1) await KV.put('list/' + String(n).padStart(2, '0'), '' + n);
    await KV.put('lisu', '1');
    const names = []; let cursor; let pages = 0;
    do {
      const page = await KV.list({ prefix: 'list/', limit: 10, ...(cursor ? { cursor } : {}) });
      names.push(...page.keys.map(({ name }) => name)); pages += 1;
      cursor = page.list_complete ? undefined : page.cursor;
    } while (cursor);
    return { names, pages, nothing: await KV.list({ prefix: 'zzz' }).then(({ keys, list_complete }) => [keys, list_complete]) };
  },
  async bulk({ KV }) {
    await KV.put('b1', '{"x":1}', { metadata: { m: 1 } }); await KV.put('b2', '2'); await KV.put('__proto__', '3');
    const text = await KV.get(['b1', 'b2', 'b3', '__proto__']);
    const json = await KV.get(['b1', 'b2'], 'json');
    const both = await KV.getWithMetadata(['b1', 'b3']);
    return [Object.fromEntries([...text].filter(([key]) => key !== '__proto__')), text.get('__proto__'), [...json], [...both]];
  },
  async often({ KV }) {
    await KV.put('often', 'x');
    const read = await Promise.all(Array.from({ length: 3_000 }, () => KV.get('often')));
    return read.filter((value) => value === 'x').length;
  },
  async large({ KV }) {
    const bytes = big(20_000_000);
    await KV.put('large', new Response(bytes).body);
    const stream = await KV.get('large', 'stream');
    const back = new Uint8Array(await new Response(stream).arrayBuffer());
    return same(bytes, back);
  },
  async refused({ KV }) {
    const reason = (work) => work().then(() => 'accepted', (error) => error.message);
    return {
      long: await reason(() => KV.put('k'.repeat(513), '1')),
      longest: await reason(() => KV.put('k'.repeat(512), '1')),
      huge: await reason(() => KV.put('huge', new Uint8Array(25 * 1048576 + 1))),
      largest: await reason(() => KV.put('huge', new Uint8Array(25 * 1048576))),
      metadata: await reason(() => KV.put('m', '1', { metadata: 'x'.repeat(1023) })),
      mostMetadata: await reason(() => KV.put('m', '1', { metadata: 'x'.repeat(1022) })),
      soon: await reason(() => KV.put('t', '1', { expirationTtl: 59 })),
      past: await reason(() => KV.put('t', '1', { expiration: Math.floor(Date.now() / 1000) - 1 })),
      cursor: await reason(() => KV.list({ cursor: '!!' })),
      many: await reason(() => KV.get(Array.from({ length: 101 }, (_, n) => 'k' + n))),
    };
  },
  async apart({ KV, OTHER }) { await KV.put('mine', 'kv'); await OTHER.put('mine', 'other'); return [await KV.get('mine'), await OTHER.get('mine')]; },
  async fill({ OTHER }, size) { return OTHER.put('filler', new Uint8Array(Number(size))).then(() => 'put', (error) => error.message); },
  async set({ KV }, value) { await KV.put('kept', value); return 'put'; },
  async read({ KV }, key) { return KV.get(key); },
  async many({ KV }) {
    await Promise.all(Array.from({ length: 200 }, (_, n) => KV.put('par/' + n, '' + n)));
    const read = await Promise.all(Array.from({ length: 200 }, (_, n) => KV.get('par/' + n)));
    return read.every((value, n) => value === '' + n);
  },
};
export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    return Response.json((await OPERATIONS[pathname.slice(1)](env, searchParams.get('value'))) ?? null);
  },
};
`;

async function run(operation: string, value?: string): Promise<unknown> {
  const answer = await platform.call('keeper', {
    path: `/${operation}${value === undefined ? '' : `?value=${encodeURIComponent(value)}`}`,
  });
  if (answer.status !== 200) throw new Error(`${operation} answered ${answer.status}: ${answer.text}`);
  return JSON.parse(answer.text);
}

async function cli(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await platform.cli(args);
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${stderr}`);
  return stdout;
}

beforeAll(async () => {
  platform = await TestPlatform.start();
  for (const name of ['store', 'other']) await cli('kv', 'create', name);
  await platform.api.deploy('keeper', {
    modules: { 'index.js': SOURCE },
    config: {
      auth: { mode: 'public' },
      kv: [
        { binding: 'KV', namespace: 'store' },
        { binding: 'OTHER', namespace: 'other' },
      ],
    },
  });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

describe('env.KV', () => {
  test('keeps text, JSON, bytes and streams under any key', async ({ expect }) => {
    expect(await run('kinds')).toEqual(['text', { a: [1] }, [0, 255, 1], '', null, 3]);
  });

  test('keeps metadata and expiry until the next put', async ({ expect }) => {
    const metadata = { who: 'Ünï', n: [1, null] };
    expect(await run('metadata')).toEqual({
      value: '1',
      metadata,
      listed: { name: 'meta', expiration: true, metadata },
      after: { value: '2', metadata: null, cacheStatus: null },
    });
  });

  test('deletes, also what is not there', async ({ expect }) => {
    expect(await run('remove')).toBeNull();
  });

  test('lists by prefix in order, page by page', async ({ expect }) => {
    expect(await run('list')).toEqual({
      names: Array.from({ length: 25 }, (_, n) => `list/${String(n).padStart(2, '0')}`),
      pages: 3,
      nothing: [[], true],
    });
  });

  test('reads several keys at once', async ({ expect }) => {
    expect(await run('bulk')).toEqual([
      { b1: '{"x":1}', b2: '2', b3: null },
      '3',
      [
        ['b1', { x: 1 }],
        ['b2', 2],
      ],
      [
        ['b1', { value: '{"x":1}', metadata: { m: 1 } }],
        ['b3', null],
      ],
    ]);
  });

  test('answers thousands of reads at once, each in its turn', async ({ expect }) => {
    expect(await run('often')).toBe(3_000);
  });

  test('streams large values both ways', async ({ expect }) => {
    expect(await run('large')).toBe(true);
  });

  test('stands many calls at once', async ({ expect }) => {
    expect(await run('many')).toBe(true);
  });

  test('refuses what is over a bound, and takes what is at it', async ({ expect }) => {
    const refused = (await run('refused')) as Record<string, string>;
    expect(refused).toMatchObject({
      longest: 'accepted',
      largest: 'accepted',
      mostMetadata: 'accepted',
    });
    expect(refused['long']).toMatch(/512/);
    expect(refused['huge']).toMatch(/413/);
    expect(refused['metadata']).toMatch(/1024/);
    expect(refused['soon']).toMatch(/60/);
    expect(refused['past']).toMatch(/400/);
    expect(refused['cursor']).toMatch(/400/);
    expect(refused['many']).toMatch(/100/);
  });

  test('keeps namespaces apart', async ({ expect }) => {
    expect(await run('apart')).toEqual(['kv', 'other']);
  });
});

describe('what was put', () => {
  test('is there after the node was killed', async ({ expect }) => {
    await run('set', 'before the kill');
    const { node } = platform.platform.pids();
    process.kill(node ?? 0, 'SIGKILL');
    await waitFor('the node to be back', async () => (await run('read', 'kept')) === 'before the kill');
    expect(await run('read', 'kept')).toBe('before the kill');
  });

  test('is there after the platform was restarted', async ({ expect }) => {
    await run('set', 'before the restart');
    await platform.restart();
    expect(await run('read', 'kept')).toBe('before the restart');
  });

  test('is served while control is gone', async ({ expect }) => {
    const { control } = platform.platform.pids();
    process.kill(control ?? 0, 'SIGSTOP');
    try {
      await run('set', 'without control');
      expect(await run('read', 'kept')).toBe('without control');
    } finally {
      process.kill(control ?? 0, 'SIGCONT');
    }
  });
});

describe('isoplane kv', () => {
  test('shows and changes values', async ({ expect }) => {
    await cli('kv', 'put', 'store', 'cli/a b', 'from outside');
    expect(await run('read', 'cli/a b')).toBe('from outside');
    expect(await cli('kv', 'get', 'store', 'cli/a b')).toBe('from outside');
    expect(await cli('kv', 'keys', 'store', '--prefix', 'cli/')).toContain('cli/a b');
    await cli('kv', 'remove', 'store', 'cli/a b');
    expect(await run('read', 'cli/a b')).toBeNull();
    expect((await platform.cli(['kv', 'get', 'store', 'cli/a b'])).code).not.toBe(0);
  });

  test('deletes no namespace that a version binds; one of the same name made later is empty', async ({
    expect,
  }) => {
    const refused = await platform.cli(['kv', 'delete', 'store']);
    expect(refused.stderr).toContain('Version 1 of keeper binds it.');
    await cli('kv', 'create', 'brief');
    await cli('kv', 'put', 'brief', 'key', 'value');
    await cli('kv', 'delete', 'brief');
    await cli('kv', 'create', 'brief');
    expect((await platform.cli(['kv', 'get', 'brief', 'key'])).code).not.toBe(0);
    expect(await cli('kv', 'list')).toContain('brief');
  });

  test('publishing names every namespace that is not there', async ({ expect }) => {
    const answer = await platform.api.upload('lost', {
      modules: { 'index.js': 'export default { fetch: () => new Response() }' },
      config: {
        kv: [
          { binding: 'A', namespace: 'nowhere' },
          { binding: 'B', namespace: 'store' },
          { binding: 'C', namespace: 'never' },
        ],
      },
    });
    expect(answer).toMatchObject({ status: 404, body: { code: 'namespace_not_found' } });
    expect((answer.body as { problems: { path: string }[] }).problems.map(({ path }) => path)).toEqual([
      'config.kv.0',
      'config.kv.2',
    ]);
  });
});

describe('the quota of an account', () => {
  afterAll(() => cli('accounts', 'ceilings', 'default', '--clear'));

  test('holds for functions and operators as soon as it is set, and no longer than that', async ({
    expect,
  }) => {
    expect(await run('fill', '100')).toBe('put');
    await cli('accounts', 'ceilings', 'default', '--kv-bytes', '50');
    await waitFor('the quota to arrive', async () => (await run('fill', '200')) !== 'put');
    expect(await run('fill', '200')).toMatch(/kv_full: The account may keep 50 bytes in KV/);
    const refused = await platform.cli(['kv', 'put', 'other', 'more', 'value']);
    expect([refused.code === 0, refused.stderr]).toEqual([false, expect.stringContaining('50 bytes in KV')]);
    await cli('accounts', 'ceilings', 'default', '--clear');
    await waitFor('the quota to be gone', async () => (await run('fill', '200')) === 'put');
  });
});
