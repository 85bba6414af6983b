/**
 * The command in a process of its own against a scripted control plane: what it sends, prints and how it
 * ends. The same path against the real planes is in test/e2e.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { ceilingsSchema } from '#shared/contracts/ceilings.ts';
import { createProgram } from '../program.ts';
import { fakeControl, type Answer, type SeenCall } from '../testing/fake-control.ts';
import { isoplane } from '../testing/run-command.ts';
import { tempProject } from '../testing/temp-project.ts';

const NOW = '2026-11-23T00:00:00.000Z';
const DIGEST = 'a'.repeat(64);
const CONFIG = { compatibilityDate: '2026-11-01' };
const version = (number: number, config: object = CONFIG): object => ({
  function: 'hello',
  number,
  digest: DIGEST,
  main: 'index.js',
  modules: [],
  config,
  createdAt: NOW,
  createdBy: 'key-1',
});
const deployment = (number: number): object => ({
  id: 'd1',
  function: 'hello',
  alias: 'live',
  weights: [{ version: number, weight: 100 }],
  reason: 'publish',
  createdAt: NOW,
  createdBy: 'key-1',
  revision: 9,
});
const propagation = (complete: boolean): object => ({
  revision: 9,
  complete,
  gateways: { total: 2, applied: complete ? 2 : 1 },
  nodes: { total: 1, applied: 1 },
  ...(complete ? { elapsedMs: 12 } : {}),
});

const project = () =>
  tempProject({
    'isoplane.jsonc': '{"name":"hello","main":"src/index.ts","compatibilityDate":"2026-11-01"}',
    'src/index.ts': 'export default { fetch: () => new Response("hi") };',
  });

describe('isoplane deploy', () => {
  test('publishes modules and the source map, waits until it is served, prints one JSON value', async ({
    expect,
  }) => {
    let polls = 0;
    await using control = await fakeControl((call): Answer => {
      if (call.url.startsWith('/v1/propagation')) {
        polls += 1;
        return { body: propagation(polls > 1) };
      }
      return {
        status: 201,
        body: { version: version(1), created: true, deployment: deployment(1), startMs: 12 },
      };
    });
    await using folder = await project();
    const result = await isoplane(['deploy', '--json', '--message', 'first', '--data', control.dataDir], {
      cwd: folder.path,
    });
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.json()).toMatchObject({
      function: 'hello',
      version: 1,
      created: true,
      alias: 'live',
      revision: 9,
      url: `http://hello.localhost:${new URL(control.origin).port}/`,
      propagation: { complete: true, elapsedMs: 12 },
    });
    const publish = control.calls[0];
    expect(publish).toMatchObject({ method: 'POST', url: '/v1/accounts/default/functions/hello/versions' });
    expect(publish?.headers['content-digest']).toMatch(/^sha-256=:/);
    expect(publish?.body).toContain('"alias":"live"');
    expect(publish?.body).toContain('"message":"first"');
    for (const part of ['metadata', 'module:index.js', 'map:index.js'])
      expect(publish?.body).toContain(`name="${part}"`);
    expect(polls).toBe(2);
  });

  test('without an alias says no address, but how the version gets one', async ({ expect }) => {
    await using control = await fakeControl(() => ({
      status: 201,
      body: { version: version(3), created: true },
    }));
    await using folder = await project();
    const result = await isoplane(['deploy', '--no-alias-move', '--data', control.dataDir], {
      cwd: folder.path,
    });
    expect(result.stdout).not.toContain('http://');
    expect(result.stdout).toContain('isoplane aliases set hello preview 3');
  });

  test('a refused start shows the stack in the sources and ends with 1', async ({ expect }) => {
    await using control = await fakeControl(() => ({
      status: 422,
      body: {
        code: 'publish_startup_failed',
        title: 't',
        status: 422,
        stack: 'Error: boom\n    at file:///index.js:5:21',
        logs: ['said'],
      },
    }));
    await using folder = await project();
    const result = await isoplane(['deploy', '--data', control.dataDir], { cwd: folder.path });
    expect(result).toMatchObject({ code: 1, stdout: '' });
    expect(result.stderr).toContain('[publish_startup_failed]');
    expect(result.stderr).toMatch(/at src\/index\.ts:1:\d+/);
    expect(result.stderr).toContain('said');
  });

  test('without a platform it ends with 3 and says how to start one', async ({ expect }) => {
    await using folder = await project();
    const result = await isoplane(['deploy', '--json'], { cwd: folder.path });
    expect(result.code).toBe(3);
    expect(result.json()).toMatchObject({
      error: { code: 'platform_not_found', advice: expect.stringContaining('npm start') as unknown },
    });
  });

  test('a damaged key is told with its file, not as a failure of the platform', async ({ expect }) => {
    await using control = await fakeControl(() => ({}));
    const path = join(control.dataDir, 'credentials.json');
    const credentials = JSON.parse(await readFile(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...credentials, algorithm: 'ed25519', secret: 'AAAA' }));
    const result = await isoplane(['functions', 'list', '--json', '--data', control.dataDir]);
    expect(result.code).toBe(1);
    expect(result.json()).toMatchObject({
      error: { code: 'file_invalid', message: expect.stringContaining(path) as unknown },
    });
  });

  test('a platform that went away is unreachable, not a crash', async ({ expect }) => {
    const control = await fakeControl(() => ({}));
    await using folder = await project();
    const dataDir = join(folder.path, 'data');
    await mkdir(dataDir);
    for (const file of ['platform.json', 'credentials.json'])
      await writeFile(join(dataDir, file), await readFile(join(control.dataDir, file)));
    await control[Symbol.asyncDispose]();
    const result = await isoplane(['functions', 'list', '--json', '--data', dataDir]);
    expect(result.code).toBe(3);
    expect(result.json()).toMatchObject({ error: { code: 'platform_unreachable' } });
  });

  test('a faulty configuration ends with 1 and lists each problem', async ({ expect }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': '{"name":"a","main":"x","compatibilityDate":"2026-11-01","var":{}}',
    });
    const result = await isoplane(['deploy'], { cwd: folder.path });
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('isoplane.jsonc:1:57 unknown key "var"');
    expect(result.stderr).toContain('did you mean "vars"?');
  });
});

describe('isoplane invoke', () => {
  const echo = (call: SeenCall): Answer =>
    call.url.startsWith('/v1/')
      ? { body: functionAnswer(call) }
      : { body: { method: call.method, url: call.url, host: call.headers.host, body: call.body } };
  const functionAnswer = (call: SeenCall): object =>
    call.url.endsWith('/versions/1')
      ? version(1, call.url.includes('/event/') ? { ...CONFIG, style: 'event' } : CONFIG)
      : {
          name: 'hello',
          enabled: true,
          aliases: [{ name: 'live', weights: [{ version: 1, weight: 100 }], updatedAt: NOW }],
          createdAt: NOW,
        };

  test('sends body, headers, path and alias, signed for the host of the function', async ({ expect }) => {
    await using control = await fakeControl(echo);
    const { port } = new URL(control.origin);
    const args = [
      'invoke',
      'hello',
      '-d',
      '-',
      '-H',
      'X-A: b',
      '--path',
      '/p?q=1',
      '--alias',
      'beta',
      '--data',
      control.dataDir,
    ];
    const result = await isoplane(args, { stdin: '{"a":1}' });
    expect(result.code).toBe(0);
    expect(result.json()).toEqual({
      method: 'POST',
      url: '/p?q=1',
      host: `beta--hello.localhost:${port}`,
      body: '{"a":1}',
    });
    expect(control.calls.at(-1)?.headers).toMatchObject({ 'x-a': 'b', 'content-type': 'application/json' });
  });

  test('an event function gets a POST with JSON when nothing is given', async ({ expect }) => {
    await using control = await fakeControl(echo);
    const plain = await isoplane(['invoke', 'hello', '--data', control.dataDir]);
    expect(plain.json()).toMatchObject({ method: 'GET', body: '' });
    const event = await isoplane(['invoke', 'event', '--data', control.dataDir]);
    expect(event.json()).toMatchObject({ method: 'POST', body: '{}' });
  });

  test('an answer of 400 or above ends with 4', async ({ expect }) => {
    await using control = await fakeControl(() => ({ status: 500, body: { code: 'function_error' } }));
    const result = await isoplane(['invoke', 'hello', '-X', 'GET', '--json', '--data', control.dataDir]);
    expect(result.code).toBe(4);
    expect(result.json()).toMatchObject({ status: 500, body: { code: 'function_error' } });
  });
});

describe('isoplane rollback and lists', () => {
  test('rollback says how long it took until every gateway served it', async ({ expect }) => {
    await using control = await fakeControl((call) => ({
      body: call.url.startsWith('/v1/propagation')
        ? propagation(true)
        : { ...deployment(1), reason: 'rollback' },
    }));
    const result = await isoplane(['rollback', 'hello', '--to', '1', '--data', control.dataDir]);
    expect(result.code).toBe(0);
    expect(result.stdout).toContain('every gateway served it after 12 ms');
    expect(JSON.parse(control.calls[0]?.body ?? '')).toEqual({ toVersion: 1 });
  });

  test('lists follow the cursor to the end', async ({ expect }) => {
    const key = (id: string): object => ({
      id,
      name: id,
      role: 'invoker',
      algorithm: 'ed25519',
      createdAt: NOW,
    });
    await using control = await fakeControl((call) => ({
      body: call.url.includes('cursor=') ? { items: [key('k2')] } : { items: [key('k1')], nextCursor: 'a b' },
    }));
    const result = await isoplane(['keys', 'list', '--json', '--data', control.dataDir]);
    expect((result.json() as { id: string }[]).map(({ id }) => id)).toEqual(['k1', 'k2']);
  });

  test('what contradicts itself is refused before anything is sent; an unknown account is no fault of the line', async ({
    expect,
  }) => {
    await using control = await fakeControl(() => ({ body: { items: [] } }));
    const run = (...args: string[]) => isoplane([...args, '--data', control.dataDir]);
    const off = await run('aliases', 'provision', 'hello', 'live', '--off', '--instances', '2');
    expect(off).toMatchObject({ code: 2, stderr: expect.stringContaining('not both') });
    expect(control.calls).toEqual([]);
    const missing = await run('accounts', 'ceilings', 'nobody');
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('account_not_found') });
  });

  test('a secret goes from stdin into the body, and is repeated nowhere, not even when it is refused', async ({
    expect,
  }) => {
    await using control = await fakeControl(() => ({ body: { name: 'key', updatedAt: NOW, revision: 3 } }));
    const put = (stdin: string) => isoplane(['secrets', 'put', 'key', '--data', control.dataDir], { stdin });
    const done = await put('open sesame\n');
    expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('key is set') });
    expect(control.calls).toMatchObject([
      { method: 'PUT', url: '/v1/accounts/default/secrets/key', body: '{"value":"open sesame"}' },
    ]);
    const refused = await put('open\nsesame');
    expect(refused.code).not.toBe(0);
    for (const { stdout, stderr } of [done, refused]) expect(stdout + stderr).not.toContain('sesame');
    expect((await put('')).code).not.toBe(0);
    expect(control.calls).toHaveLength(1);
  });

  test('logs come as one JSON value a line, and cannot drive the terminal', async ({ expect }) => {
    const entry = (message: string): string =>
      JSON.stringify({
        atMs: 0,
        versionId: 'default/hello@1',
        instanceId: 'i',
        kind: 'console',
        level: 'log',
        message,
      });
    await using control = await fakeControl(() => ({ text: `${entry('one')}\n${entry('\u001b[2Jtwo')}\n` }));
    const json = await isoplane(['logs', 'hello', '--json', '--data', control.dataDir]);
    expect(
      json.stdout
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { message: string }).message),
    ).toEqual(['one', '\u001b[2Jtwo']);
    const text = await isoplane(['logs', 'hello', '--data', control.dataDir]);
    expect(text.stdout).not.toContain('\u001b[2J');
  });

  test('deleting asks, and refuses where nobody can be asked', async ({ expect }) => {
    await using control = await fakeControl(() => ({ status: 200 }));
    const refused = await isoplane(['functions', 'delete', 'hello', '--data', control.dataDir]);
    expect(refused.code).toBe(2);
    expect(control.calls).toEqual([]);
    const done = await isoplane(['functions', 'delete', 'hello', '--yes', '--data', control.dataDir]);
    expect(done.code).toBe(0);
    expect(control.calls[0]?.method).toBe('DELETE');
  });
});

describe('the command line', () => {
  test('is JSON when asked, also about itself', async ({ expect }) => {
    for (const args of [['kv', 'gte'], ['deploy', '--minfy'], ['keys'], ['invoke'], ['help', 'deplyo']]) {
      const result = await isoplane(['--json', ...args]);
      expect(result, args.join(' ')).toMatchObject({ code: 2, stderr: '' });
      expect(result.json(), args.join(' ')).toMatchObject({ error: { code: 'usage' } });
    }
    expect((await isoplane(['deploy', '--minfy', '--json'])).stdout).toContain('--minify');
  });

  test('help of a word it does not know is short and guesses; exit codes have a page', async ({ expect }) => {
    const typo = await isoplane(['help', 'deplyo']);
    expect(typo).toMatchObject({ code: 2, stdout: '' });
    expect(typo.stderr).toContain('Did you mean "deploy"?');
    expect(typo.stderr.split('\n').length).toBeLessThan(5);
    expect((await isoplane(['help', 'kv', 'put'])).stdout).toContain('Usage: isoplane kv put');
    expect((await isoplane(['help', 'exit-codes'])).stdout).toMatch(/^Exit codes:\n {2}0 /);
  });

  test('wrong options end with 2, help and version with 0', async ({ expect }) => {
    for (const args of [
      ['deploy', '--nope'],
      ['nope'],
      ['rollback', 'x', '--to', 'y'],
      ['invoke', 'Not-A-Name'],
      ['up', '--port', '99999'],
    ])
      expect((await isoplane(args)).code, args.join(' ')).toBe(2);
    expect((await isoplane(['--help'])).stdout).toContain('Exit codes:');
    expect((await isoplane(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('isoplane accounts ceilings', () => {
  test('has an option for each ceiling that the API knows', ({ expect }) => {
    const ceilings = createProgram()
      .commands.find((command) => command.name() === 'accounts')
      ?.commands.find((command) => command.name() === 'ceilings');
    const options = ceilings?.options.map((option) => option.attributeName()) ?? [];
    expect(Object.keys(ceilingsSchema.shape).filter((name) => !options.includes(name))).toEqual([]);
  });

  test('shows what the account keeps of what it may keep, and accounts list what each keeps', async ({
    expect,
  }) => {
    const stored = { codeBytes: 3 * 1_048_576, assetBytes: 2_048 };
    const items = [
      { name: 'acme', createdAt: NOW, ceilings: { codeBytes: 10 * 1_048_576 }, stored },
      { name: 'older', createdAt: NOW },
    ];
    await using control = await fakeControl(() => ({ body: { items } }));
    const run = (...args: string[]) => isoplane([...args, '--data', control.dataDir]);
    expect((await run('accounts', 'ceilings', 'acme')).stdout).toBe(
      'acme: ceilings codeBytes 10485760\nkeeps 3.0 MiB of 10.0 MiB of code, 2.0 KiB of 4.0 GiB of static assets\n',
    );
    // A control plane from before tells nothing.
    expect((await run('accounts', 'ceilings', 'older')).stdout).toBe('older: ceilings none\n');
    expect((await run('accounts', 'list')).stdout).toMatch(/acme +3\.0 MiB +2\.0 KiB/);
  });
});
