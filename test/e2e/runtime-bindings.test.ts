/**
 * Goal: bindings that need nothing made before behave as in Workers. Method: functions on a running platform that
 * answer what they saw.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;

async function deploy(name: string, source: string, config: Record<string, unknown>): Promise<void> {
  await platform.api.deploy(name, {
    modules: { 'index.js': source },
    config: { auth: { mode: 'public' }, ...config },
  });
}

async function json(name: string, path = '/'): Promise<unknown> {
  const answer = await platform.call(name, { path });
  if (answer.status !== 200) throw new Error(`${name}${path} answered ${answer.status}: ${answer.text}`);
  return JSON.parse(answer.text);
}

beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

describe('version metadata', () => {
  const source = (text: string): string =>
    `import { env as global } from 'cloudflare:workers';
     const atStart = global.VERSION.timestamp;
     export default { fetch: (request, { VERSION }) => Response.json({ ...VERSION, atStart, text: ${JSON.stringify(text)} }) };`;
  const config = { versionMetadata: { binding: 'VERSION' } };

  test('names the version that runs, with the time at which it was published', async ({ expect }) => {
    const beforeMs = Date.now();
    await deploy('told', source('one'), config);
    const first = (await json('told')) as Record<string, string>;
    expect(first).toMatchObject({ id: 'default/told@1', tag: '', text: 'one', atStart: first['timestamp'] });
    expect(first['timestamp']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const { createdAt } = (await platform.api.call('GET', 'functions/told/versions/1')).body as {
      createdAt: string;
    };
    expect(first['timestamp']).toBe(createdAt);
    expect(Date.parse(createdAt)).toBeGreaterThanOrEqual(beforeMs);
    await deploy('told', source('two'), config);
    expect(await json('told')).toMatchObject({ id: 'default/told@2', text: 'two' });
  });

  test('shares the names of env: a variable of its name is refused', async ({ expect }) => {
    await expect(deploy('twice', source('x'), { ...config, vars: { VERSION: '1' } })).rejects.toThrow(
      /VERSION is already used in env/,
    );
  });
});
