/**
 * Goal: code reads secrets as members of `env`, a changed one reaches it without a deploy, and values are nowhere
 * else. Method: a running platform, its API, its files and its processes.
 */
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { TestPlatform } from '../support/platform.ts';

const CODE = `
import { env as imported } from 'cloudflare:workers';
const atStart = imported.API_KEY;
export default { async fetch(request, env) {
  return Response.json({ atStart, key: env.API_KEY ?? null, shared: env.SHARED ?? null, pid: crypto.randomUUID() });
} };`;
const VALUE = 'first-8c1f4e27';
let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

async function seen(): Promise<{ atStart?: string; key: string | null; shared: string | null }> {
  const { text } = await platform.call('hello');
  return JSON.parse(text) as { atStart?: string; key: string | null; shared: string | null };
}

describe('secrets in env', () => {
  test('are there at the first start, follow a change and a removal without a deploy', async ({ expect }) => {
    await platform.api.call('PUT', 'functions/hello/secrets/API_KEY', { value: VALUE });
    await platform.api.call('PUT', 'secrets/shared', { value: 'of-the-account' });
    await platform.api.deploy('hello', {
      modules: { 'index.js': CODE },
      config: {
        auth: { mode: 'public' },
        compatibilityDate: '2026-11-01',
        secrets: ['API_KEY', { binding: 'SHARED', secret: 'shared' }] as never,
      },
    });
    expect(await seen()).toMatchObject({ atStart: VALUE, key: VALUE, shared: 'of-the-account' });
    await platform.api.call('PUT', 'functions/hello/secrets/API_KEY', { value: 'second' });
    await waitFor('the second value', async () => (await seen()).key === 'second');
    // The whole instance is another one: what was read at its start follows too.
    expect((await seen()).atStart).toBe('second');
    await platform.api.call('PUT', 'secrets/shared', { value: 'changed' });
    await waitFor('the changed value of the account', async () => (await seen()).shared === 'changed');
  });

  test('stand in no file of the platform and in no argument or environment of a process', async ({
    expect,
  }) => {
    await platform.api.call('PUT', 'functions/hello/secrets/API_KEY', { value: VALUE });
    await waitFor('the value', async () => (await seen()).key === VALUE);
    const search = (command: string, args: readonly string[]): string => {
      try {
        return execFileSync(command, args, { encoding: 'utf8' });
      } catch {
        return '';
      }
    };
    // The name is there to be found, so the search looks where it should.
    expect(search('grep', ['-rlaF', 'API_KEY', platform.dataDir])).not.toBe('');
    expect(search('grep', ['-rlaF', VALUE, platform.dataDir])).toBe('');
    const processes = search('sh', [
      '-c',
      'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n"',
    ]);
    expect(processes).toContain('workerd');
    expect(processes).not.toContain(VALUE);
  });
});

test('no file of the platform can be read by other users, KV included', async ({ expect }) => {
  await platform.api.call('POST', 'kv-namespaces', { name: 'store' });
  await platform.api.call('PUT', 'kv-namespaces/store/value?key=k', { value: 'v' });
  const find = (...test: string[]): string =>
    execFileSync('find', [platform.dataDir, ...test], { encoding: 'utf8' });
  expect(find('-name', 'kv.db-wal')).not.toBe('');
  expect(find('-perm', '/077')).toBe('');
});
