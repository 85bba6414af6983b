/**
 * Goal: a faulty upload is refused with its own code and changes nothing. Method: each is sent to the
 * control API of a running platform, beside a function that serves version 1 all the time.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, test } from 'vitest';
import type { FunctionConfigInput } from '#shared/contracts/config.ts';
import { layerNameSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Upload } from '../support/api.ts';
import { TestPlatform } from '../support/platform.ts';

const GOOD = `export default { fetch() { return new Response('one'); } };`;
const PUBLIC = { auth: { mode: 'public' } } as const;
let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start();
  await platform.api.deploy('victim', { modules: { 'index.js': GOOD }, config: PUBLIC });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

/** The code of the refusal, after a check that nothing has moved. */
async function refusal(upload: Upload): Promise<Record<string, unknown>> {
  const before = await platform.api.call('GET', 'functions/victim');
  const answer = await platform.api.upload('victim', upload);
  const after = await platform.api.call('GET', 'functions/victim');
  if (JSON.stringify(before.body) !== JSON.stringify(after.body))
    throw new Error(`a refused upload changed the function: ${JSON.stringify(after.body)}`);
  if ((await platform.call('victim')).text !== 'one')
    throw new Error('live does not serve version 1 any more');
  return { status: answer.status, ...(answer.body as Record<string, unknown>) };
}

const withConfig = (config: Partial<FunctionConfigInput>): Upload => ({
  modules: { 'index.js': GOOD },
  config,
});

describe('an upload is refused when', () => {
  test('a module does not parse', async ({ expect }) => {
    const problem = await refusal({ modules: { 'index.js': 'export default {{{' }, config: PUBLIC });
    expect(problem).toMatchObject({ status: 422, code: 'publish_startup_failed' });
    expect(JSON.stringify(problem)).toContain('SyntaxError');
  });

  test('the module throws at start, with the stack and without moving live', async ({ expect }) => {
    const source = `function boom() { throw new TypeError('no good start'); }\nboom();\n${GOOD}`;
    const problem = await refusal({ modules: { 'index.js': source }, config: PUBLIC });
    expect(problem).toMatchObject({ status: 422, code: 'publish_startup_failed' });
    expect(JSON.stringify(problem)).toContain('no good start');
    expect(problem['stack']).toContain('boom');
    expect(problem['stack']).toContain('index.js:1:25');
  });

  test('an endless loop keeps the module from starting', async ({ expect }) => {
    const problem = await refusal({ modules: { 'index.js': `while (true) {}\n${GOOD}` }, config: PUBLIC });
    expect(problem).toMatchObject({ status: 422, code: 'publish_startup_failed' });
  });

  test('it imports what it does not bring', async ({ expect }) => {
    const problem = await refusal({
      modules: { 'index.js': `import './absent.js';\n${GOOD}` },
      config: PUBLIC,
    });
    expect(problem).toMatchObject({ status: 422, code: 'publish_startup_failed' });
    expect(JSON.stringify(problem)).toContain('absent.js');
  });

  test('a layer does not exist', async ({ expect }) => {
    const problem = await refusal(
      withConfig({ layers: [{ name: layerNameSchema.parse('nowhere'), version: 1 }] }),
    );
    expect(problem).toMatchObject({ status: 404, code: 'layer_not_found' });
  });

  test('a compatibility flag is unknown', async ({ expect }) => {
    const problem = await refusal(withConfig({ compatibilityFlags: ['no_such_flag'] }));
    expect(problem).toMatchObject({ status: 422, code: 'compatibility_invalid' });
    expect(JSON.stringify(problem)).toContain('no_such_flag');
  });

  test('a compatibility flag is experimental', async ({ expect }) => {
    const problem = await refusal(withConfig({ compatibilityFlags: ['experimental'] }));
    expect(problem).toMatchObject({ status: 422, code: 'compatibility_invalid' });
  });

  test('python_workers is asked for', async ({ expect }) => {
    const problem = await refusal(withConfig({ compatibilityFlags: ['python_workers'] }));
    expect(problem).toMatchObject({ status: 422, code: 'compatibility_invalid' });
  });

  test('the compatibility date is in the future or no date', async ({ expect }) => {
    for (const compatibilityDate of ['2999-01-01', '2026-13-45'])
      expect(await refusal(withConfig({ compatibilityDate }))).toMatchObject({ status: 422 });
    expect(await refusal(withConfig({ compatibilityDate: '2999-01-01' }))).toMatchObject({
      code: 'compatibility_invalid',
    });
  });

  test('the variables are too large', async ({ expect }) => {
    const problem = await refusal(withConfig({ vars: { BIG: 'x'.repeat(LIMITS.varsBytesMax + 1) } }));
    expect(problem).toMatchObject({ status: 422, code: 'env_too_large' });
  });

  test('the bundle is too large', async ({ expect }) => {
    const half = new Uint8Array(randomBytes(LIMITS.bundleBytesMax / 2 + 1));
    const problem = await refusal({
      modules: { 'index.js': GOOD, 'a.bin': half, 'b.bin': half.toReversed() },
      config: PUBLIC,
    });
    expect(problem).toMatchObject({ status: 413, code: 'bundle_too_large' });
  });

  test('a module name walks out of its folder', async ({ expect }) => {
    for (const name of [
      '../evil.js',
      '/etc/passwd',
      'a/../../b.js',
      'a\\b.js',
      './x.js',
      'opt/x.js',
      'isoplane/x.js',
      'a\0.js',
    ]) {
      const problem = await refusal({ modules: { 'index.js': GOOD, [name]: 'export {}' }, config: PUBLIC });
      expect([name, problem['code']]).toEqual([name, 'module_name_invalid']);
    }
  });

  test('the main module is not among the modules', async ({ expect }) => {
    expect(await refusal({ modules: { 'index.js': GOOD }, main: 'other.js' })).toMatchObject({
      status: 422,
      code: 'module_missing',
    });
  });

  test('the configuration has problems, each of which is listed', async ({ expect }) => {
    const config = { limits: { cpuMs: -1 }, nonsense: true } as unknown as Partial<FunctionConfigInput>;
    const problem = await refusal(withConfig(config));
    expect(problem).toMatchObject({ status: 422, code: 'config_invalid' });
    expect(JSON.stringify(problem)).toContain('cpuMs');
    expect(JSON.stringify(problem)).toContain('nonsense');
  });
});

describe('names', () => {
  test('are accepted once: a duplicate name is refused', async ({ expect }) => {
    const create = () => platform.api.call('POST', '/v1/accounts', { name: 'twice' });
    expect((await create()).status).toBe(201);
    const second = await create();
    expect(second.status).toBe(409);
    expect(second.body).toMatchObject({ code: 'name_taken' });
  });

  test('that are no names are refused', async ({ expect }) => {
    for (const name of ['Upper', 'a--b', '-a', 'a'.repeat(64), '..%2f..']) {
      const answer = await platform.api.upload(encodeURIComponent(name), { modules: { 'index.js': GOOD } });
      expect([name, answer.status >= 400 && answer.status < 500]).toEqual([name, true]);
    }
  });
});

test('identical content is published once', async ({ expect }) => {
  const upload: Upload = { modules: { 'index.js': GOOD }, config: PUBLIC };
  const again = await platform.api.publish('victim', upload);
  expect(again).toMatchObject({ created: false, version: { number: 1 } });
});
