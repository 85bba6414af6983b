/** Wrangler configurations of public programs: read whole, joined with ours, or refused by name. */
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { tempProject } from '../testing/temp-project.ts';
import type { Project } from './project.ts';
import { readProject, type ProjectOptions } from './read-project.ts';

const MAIN = { 'src/index.ts': 'export default {}' };
const BASE = { name: 'w', main: 'src/index.ts', compatibility_date: '2026-11-17' };

/** What a framework's build leaves. */
const GENERATED = {
  '.wrangler/deploy/config.json': { configPath: '../../dist/server/wrangler.json' },
  'dist/server/wrangler.json': { ...BASE, main: 'index.js', no_bundle: true },
  'dist/server/index.js': 'export default {}',
};

async function read(
  files: Readonly<Record<string, string | object>>,
  { target = '.', ...options }: ProjectOptions & { target?: string } = {},
): Promise<Project> {
  const texts = Object.entries(files).map(([path, content]) => [
    path,
    typeof content === 'string' ? content : JSON.stringify(content),
  ]);
  await using folder = await tempProject({ ...MAIN, ...Object.fromEntries(texts) });
  const project = await readProject(join(folder.path, target), options);
  return JSON.parse(JSON.stringify(project).replaceAll(folder.path, '/p')) as Project;
}

describe('a wrangler configuration', () => {
  test('asks for what is not here: each is refused by key and binding, with the reason', async ({
    expect,
  }) => {
    const { unsupported, warnings } = await read({
      'wrangler.json': {
        ...BASE,
        d1_databases: [{ binding: 'DB', database_name: 'd', database_id: 'x' }],
        r2_buckets: [{ binding: 'FILES', bucket_name: 'b' }],
        queues: { producers: [{ binding: 'QUEUE', queue: 'q' }], consumers: [] },
        durable_objects: { bindings: [{ name: 'ROOM', class_name: 'Room' }] },
        migrations: [{ tag: 'v1', new_sqlite_classes: ['Room'] }],
        triggers: { crons: ['* * * * *'] },
        ai: { binding: 'AI' },
        browser: { binding: 'BROWSER' },
        workflows: [{ binding: 'FLOW', name: 'flow', class_name: 'Flow' }],
      },
    });
    expect(unsupported.map(({ message }) => message.split(':')[0])).toEqual([
      'd1_databases (DB)',
      'r2_buckets (FILES)',
      'queues (QUEUE)',
      'durable_objects (ROOM)',
      'triggers',
      'ai (AI)',
      'browser (BROWSER)',
      'workflows (FLOW)',
    ]);
    expect(warnings).toEqual([]);
  });

  test('with generated keys that hold nothing says nothing about them', async ({ expect }) => {
    const project = await read({
      'wrangler.json': {
        ...BASE,
        topLevelName: 'w',
        definedEnvironments: [],
        d1_databases: [],
        durable_objects: { bindings: [] },
        queues: { producers: [], consumers: [] },
        triggers: {},
        cloudchamber: {},
        python_modules: { exclude: ['**/*.pyc'] },
        some_future_list: [],
        dev: { ip: 'localhost' },
      },
    });
    expect(project).toMatchObject({ unsupported: [], warnings: [] });
  });

  test('names the binding that tells the version', async ({ expect }) => {
    const file = { ...BASE, version_metadata: { binding: 'V' }, env: { staging: {} } };
    expect(await read({ 'wrangler.json': file })).toMatchObject({
      config: { versionMetadata: { binding: 'V' } },
      unsupported: [],
      warnings: [],
    });
    const staging = await read({ 'wrangler.json': file }, { environment: 'staging' });
    expect(staging.config).not.toHaveProperty('versionMetadata');
  });

  test('names rate limits, also in the older form', async ({ expect }) => {
    const limit = (name: string, namespace_id: string | number, period = 60) => ({
      name,
      namespace_id,
      simple: { limit: 5, period },
    });
    const project = await read({
      'wrangler.json': {
        ...BASE,
        ratelimits: [limit('A', '1001')],
        unsafe: {
          bindings: [
            { type: 'ratelimit', ...limit('B', 1001, 10) },
            { type: 'other', name: 'C' },
          ],
        },
      },
    });
    expect(project.config.rateLimits).toEqual([
      { binding: 'A', limit: 5, periodSeconds: 60, namespace: '1001' },
      { binding: 'B', limit: 5, periodSeconds: 10, namespace: '1001' },
    ]);
    expect(project.unsupported.map(({ message }) => message)).toEqual([
      'unsafe (C): unsafe bindings are not supported',
    ]);
    await expect(
      read({ 'wrangler.json': { ...BASE, ratelimits: [limit('A', '1', 30)] } }),
    ).rejects.toMatchObject({ code: 'config_invalid' });
  });

  test('gives an environment its own name and bindings, and the rest from the top', async ({ expect }) => {
    const file = {
      ...BASE,
      vars: { A: 'top' },
      kv_namespaces: [{ binding: 'KV', id: 'top' }],
      rules: [{ type: 'Text', globs: ['**/*.md'] }],
      env: { staging: { vars: { B: 'staging' } }, prod: { name: 'real' } },
    };
    expect(await read({ 'wrangler.json': file }, { environment: 'staging' })).toMatchObject({
      name: 'w-staging',
      config: { vars: { B: 'staging' }, kv: [] },
      rules: [{ type: 'Text' }],
      warnings: [],
    });
    expect(await read({ 'wrangler.json': file }, { environment: 'prod' })).toMatchObject({ name: 'real' });
    expect((await read({ 'wrangler.json': file })).warnings).toEqual([
      expect.stringContaining('--env takes one of staging, prod'),
    ]);
    await expect(read({ 'wrangler.json': file }, { environment: 'other' })).rejects.toMatchObject({
      code: 'config_invalid',
      problems: [{ message: expect.stringContaining('it has staging, prod') as unknown }],
    });
  });

  test('says how the code is bundled', async ({ expect }) => {
    const project = await read({
      'wrangler.toml': `
name = "My_Worker"
main = "src/index.ts"
compatibility_date = 2026-11-17
no_bundle = true
find_additional_modules = true
base_dir = "src"
minify = true
limits = { cpu_ms = 50 }
alias = { a = "./b.ts" }
define = { X = "1" }
`,
    });
    expect(project).toMatchObject({
      name: 'my-worker',
      noBundle: true,
      findAdditionalModules: true,
      baseDir: '/p/src',
      minify: true,
      alias: { a: '/p/b.ts' },
      define: { X: '1' },
      config: { compatibilityDate: '2026-11-17', limits: { cpuMs: 50 } },
      warnings: [expect.stringContaining('the function is my-worker')],
    });
  });

  test('that the build of a framework left is used, with its own paths, in the folder of the project', async ({
    expect,
  }) => {
    const project = await read({
      'wrangler.jsonc': { ...BASE, main: 'virtual:entry' },
      ...GENERATED,
      'dist/server/wrangler.json': {
        ...BASE,
        main: 'index.js',
        no_bundle: true,
        alias: { a: './a.js' },
        assets: { directory: '../client' },
      },
    });
    expect(project).toMatchObject({
      main: '/p/dist/server/index.js',
      root: '/p',
      assetsFolder: '/p/dist/client',
      alias: { a: '/p/dist/server/a.js' },
      noBundle: true,
      isGenerated: true,
      warnings: [expect.stringContaining('in place of wrangler.jsonc')],
    });
    await expect(
      read({ 'wrangler.json': BASE, '.wrangler/deploy/config.json': { configPath: 'gone.json' } }),
    ).rejects.toMatchObject({
      // Until its next build: dev waits for that instead of telling.
      code: 'not_built',
      problems: [{ message: expect.stringContaining('build the project again') as unknown }],
    });
  });

  test('an isoplane.jsonc beside it adds to it and says what it overrides', async ({ expect }) => {
    const project = await read({
      'wrangler.toml': `name = "w"
main = "src/index.ts"
compatibility_date = "2026-11-17"
vars = { A = "1", B = "2" }
kv_namespaces = [{ binding = "KV", id = "one" }]`,
      'isoplane.jsonc': {
        name: 'mine',
        auth: { mode: 'public' },
        vars: { B: '3' },
        kv: [{ binding: 'MORE', namespace: 'two' }],
      },
    });
    expect(project).toMatchObject({
      name: 'mine',
      config: {
        auth: { mode: 'public' },
        vars: { A: '1', B: '3' },
        kv: [
          { binding: 'KV', namespace: 'one' },
          { binding: 'MORE', namespace: 'two' },
        ],
      },
      warnings: ['isoplane.jsonc overrides name, vars.B of wrangler.toml'],
    });
  });

  test('that another one hides is named', async ({ expect }) => {
    const { name, warnings } = await read({ 'wrangler.jsonc': BASE, 'wrangler.toml': 'name = "other"' });
    expect([name, warnings]).toEqual(['w', ['wrangler.toml is not read: wrangler.jsonc hides it']]);
  });
});

describe('types', () => {
  test('are of what a person wrote, before a build and after it; of what a build left where that is all', async ({
    expect,
  }) => {
    const written = { 'wrangler.jsonc': { ...BASE, main: '@framework/entry', vars: { A: '1' } } };
    const before = await read(written, { origin: 'written' });
    const after = await read({ ...written, ...GENERATED }, { origin: 'written' });
    expect(after).toEqual(before);
    expect(before).toMatchObject({ name: 'w', config: { vars: { A: '1' } }, warnings: [] });
    expect(before.main).toBeUndefined();
    const alone = await read(GENERATED, { origin: 'written' });
    expect(alone).toMatchObject({ root: '/p', main: '/p/dist/server/index.js' });
  });
});

describe('an environment', () => {
  test('that a build was made for is taken, another one is refused with what to do', async ({ expect }) => {
    const files = {
      ...GENERATED,
      'dist/server/wrangler.json': {
        ...BASE,
        name: 'w-staging',
        main: 'index.js',
        targetEnvironment: 'staging',
      },
    };
    expect(await read(files, { environment: 'staging' })).toMatchObject({
      name: 'w-staging',
      warnings: [expect.any(String)],
    });
    await expect(read(files, { environment: 'prod' })).rejects.toMatchObject({
      problems: [
        {
          message: expect.stringContaining('for the environment staging, not for prod') as unknown,
          hint: expect.stringContaining('CLOUDFLARE_ENV=prod') as unknown,
        },
      ],
    });
  });
});

describe('the command line', () => {
  test('names the entry file, with or without a configuration', async ({ expect }) => {
    const alone = await read(
      { 'package.json': { name: '@me/My_App' } },
      { target: 'src/index.ts', auth: 'public' },
    );
    expect(alone).toMatchObject({
      name: 'my-app',
      main: '/p/src/index.ts',
      config: { auth: { mode: 'public' } },
      warnings: [expect.stringContaining('no configuration file')],
    });
    const toml = 'name = "w"\ncompatibility_date = "2026-11-17"';
    expect(await read({ 'wrangler.toml': toml }, { target: 'src/index.ts' })).toMatchObject({
      name: 'w',
      main: '/p/src/index.ts',
      warnings: [],
    });
  });

  test('names the function', async ({ expect }) => {
    expect(await read({ 'wrangler.json': BASE }, { name: 'x' })).toMatchObject({ name: 'x' });
    await expect(read({ 'wrangler.json': BASE }, { name: 'X!' })).rejects.toMatchObject({
      code: 'config_invalid',
    });
  });
});

describe('a header rule of egress', () => {
  const warned = async (egress: object): Promise<readonly string[]> =>
    (
      await read({
        'isoplane.jsonc': { name: 'a', main: 'src/index.ts', compatibilityDate: '2026-11-17', egress },
      })
    ).warnings;
  const header = { header: 'authorization', secret: 'k' };

  test('that can never apply is told', async ({ expect }) => {
    expect(
      await warned({ allow: ['api.example.com:8443'], headers: [{ host: 'api.example.com', ...header }] }),
    ).toEqual([expect.stringContaining('write "api.example.com:8443"')]);
    expect(
      await warned({ allow: ['other.example.com'], headers: [{ host: 'api.example.com', ...header }] }),
    ).toEqual([expect.stringContaining('no entry of egress.allow matches')]);
  });

  test('that applies is not', async ({ expect }) => {
    for (const allow of ['*', 'api.example.com', '*.example.com', 'api.example.com:443', 'api.example.com:*'])
      expect(await warned({ allow: [allow], headers: [{ host: 'api.example.com', ...header }] })).toEqual([]);
    expect(
      await warned({
        allow: ['api.example.com:8443'],
        headers: [{ host: 'api.example.com:8443', ...header }],
      }),
    ).toEqual([]);
  });
});
