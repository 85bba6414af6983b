/** Configuration files as people write them, right and wrong; each fault is found where it stands. */
import { describe, test } from 'vitest';
import { CliError } from '../failure.ts';
import { tempProject } from '../testing/temp-project.ts';
import { readProject } from './read-project.ts';

const MAIN = { 'src/index.ts': 'export default {}' };

async function read(files: Readonly<Record<string, string>>): Promise<unknown> {
  await using folder = await tempProject({ ...MAIN, ...files });
  try {
    const { name, config, rules, warnings } = await readProject(folder.path);
    return { name, config, rules, warnings };
  } catch (thrown) {
    if (!(thrown instanceof CliError)) throw thrown;
    return {
      code: thrown.code,
      problems: thrown.problems.map(({ at, message, hint }) => ({
        at: at?.replace(/^.*\//, ''),
        message,
        ...(hint === undefined ? {} : { hint }),
      })),
    };
  }
}

describe('readProject()', () => {
  test('refuses origins that no page has where they stand, and takes those of all subdomains', async ({
    expect,
  }) => {
    const withOrigins = (...origins: readonly string[]) =>
      read({
        'isoplane.jsonc': `{ "main": "src/index.ts", "name": "a", "compatibilityDate": "2026-11-01", "cors": { "origins": [
          ${origins.map((origin) => JSON.stringify(origin)).join(',\n          ')} ] } }`,
      });
    expect(await withOrigins('https://*.example.com')).toMatchObject({
      config: { cors: { origins: ['https://*.example.com'] } },
    });
    expect(await withOrigins('https://*.example.com', 'http://a.*.test')).toEqual({
      code: 'config_invalid',
      problems: [
        {
          at: 'isoplane.jsonc:3:11',
          message: expect.stringContaining('cors.origins.1: a * stands for') as string,
        },
      ],
    });
    expect(await withOrigins('http://localhost:5173/')).toMatchObject({
      problems: [
        { at: 'isoplane.jsonc:2:11', message: expect.stringContaining('no slash at its end') as string },
      ],
    });
  });

  test('reads isoplane.jsonc with comments and trailing commas, and fills in the defaults', async ({
    expect,
  }) => {
    const found = await read({
      'isoplane.jsonc': `{
        // comment
        "$schema": "x", "name": "a", "main": "src/index.ts", "compatibilityDate": "2026-11-01",
        "vars": { "N": 1 }, "limits": { "cpuMs": 50 }, "rules": [{ "type": "Text", "globs": ["**/*.md"] }],
      }`,
    });
    expect(found).toMatchObject({
      name: 'a',
      config: {
        style: 'module',
        vars: { N: 1 },
        auth: { mode: 'signed' },
        limits: { cpuMs: 50, memoryMb: 128 },
        layers: [],
      },
      rules: [{ type: 'Text', globs: ['**/*.md'] }],
      warnings: [],
    });
    expect(found).not.toHaveProperty('config.name');
    expect(found).not.toHaveProperty('config.$schema');
  });

  test('reports every problem at once with its position and the spelling that was meant', async ({
    expect,
  }) => {
    const found = await read({
      'isoplane.jsonc': `{
  "name": "Not A Name",
  "main": "src/index.ts",
  "compatibilityDate": "yesterday",
  "compatability_flags": [],
  "limits": { "cpuMs": 1, "memoryMB": 64 },
  "auth": { "mode": "jwt" },
  "zzz": 1
}`,
    });
    expect(found).toMatchObject({ code: 'config_invalid' });
    const { problems } = found as { problems: { at: string; message: string; hint?: string }[] };
    expect(problems.map(({ at, hint }) => `${at} ${hint ?? ''}`.trim()).sort()).toEqual([
      'isoplane.jsonc:2:3',
      'isoplane.jsonc:4:3',
      'isoplane.jsonc:5:3 did you mean "compatibilityFlags"?',
      'isoplane.jsonc:6:15',
      'isoplane.jsonc:6:27 did you mean "memoryMb"?',
      'isoplane.jsonc:7:3',
      'isoplane.jsonc:8:3',
    ]);
  });

  test('says of keys of wrangler files what they are called here, and of values what may stand there', async ({
    expect,
  }) => {
    const found = await read({
      'isoplane.jsonc': JSON.stringify({
        name: 'a',
        main: 'src/index.ts',
        compatibility_date: '2026-11-01',
        kv_namespaces: [],
        d1_databases: [],
        workers_dev: false,
        routes: [],
        observability: {},
        env: {},
        kv: [{ binding: 'KV', id: 'abc' }],
        services: [{ binding: 'B', service: 'b' }],
        rateLimits: [{ binding: 'L', limit: 5, periodSeconds: 30 }],
      }),
    });
    const { problems } = found as { problems: { message: string; hint?: string }[] };
    const told = problems.map(({ message, hint }) => (hint === undefined ? message : `${message}: ${hint}`));
    for (const line of [
      'unknown key "compatibility_date": here it is "compatibilityDate"',
      'unknown key "kv_namespaces": here it is "kv"',
      'unknown key "d1_databases": there are no D1 databases yet',
      'unknown key "workers_dev": here it is "defaultHost"',
      'unknown key "observability": it has no meaning here: remove it',
      'kv.0: unknown key "id": here it is "namespace"',
      'services.0: unknown key "service": here it is "function"',
      'rateLimits.0.periodSeconds: must be 10 or 60',
      'compatibilityDate: is missing: give a string',
    ])
      expect(told).toContain(line);
    expect(told.find((line) => line.includes('"routes"'))).toContain('isoplane routes add');
    expect(told.find((line) => line.includes('"env"'))).toContain('--name NAME');
    expect(told.join()).not.toContain('Invalid input');
  });

  test('says which egress rule is wrong, and where', async ({ expect }) => {
    const found = await read({
      'isoplane.jsonc': `{
  "name": "a", "main": "src/index.ts", "compatibilityDate": "2026-11-01",
  "egress": {
    "allow": ["api.example.com", "HTTP://x"],
    "denied": [],
    "headers": [{ "host": "a.b", "header": "Host", "secret": "k" }]
  }
}`,
    });
    const { problems } = found as { problems: { at: string; message: string }[] };
    expect(problems.map(({ at, message }) => `${at} ${message.split(':')[0]}`).sort()).toEqual([
      'isoplane.jsonc:4:34 egress.allow.1',
      'isoplane.jsonc:5:5 egress',
      'isoplane.jsonc:6:34 egress.headers.0.header',
    ]);
  });

  test('says of a Pages project that it is one', async ({ expect }) => {
    const text = '{"name":"a","compatibility_date":"2026-11-01",\n"pages_build_output_dir":"./public"}';
    expect(await read({ 'wrangler.json': text, 'public/index.html': '' })).toMatchObject({
      code: 'config_invalid',
      problems: [
        {
          at: 'wrangler.json:2:1',
          message: 'pages_build_output_dir: this is a Pages project, and those are not run',
        },
      ],
    });
  });

  test('points at the build where the entry file is one that a build makes', async ({ expect }) => {
    const text = '{"name":"a","main":"dist/a.js","compatibility_date":"2026-11-01"}';
    const missing = { at: 'wrangler.json:1:13', message: 'main: there is no file dist/a.js' };
    const without = (await read({ 'wrangler.json': text, 'package.json': '{}' })) as { problems: unknown };
    expect(without.problems).toEqual([missing]);
    const manifest = '{"scripts":{"build":"astro build"}}';
    const found = (await read({ 'wrangler.json': text, 'package.json': manifest })) as { problems: unknown };
    expect(found.problems).toEqual([
      { ...missing, hint: 'the project has a build that may make it: npm run build' },
    ]);
  });

  test('says which names variables may have', async ({ expect }) => {
    const text = '{"name":"a","main":"a.js","compatibilityDate":"2026-11-01",\n"vars":{"not-a-name":1}}';
    expect(await read({ 'isoplane.jsonc': text, 'a.js': '' })).toMatchObject({
      problems: [
        {
          at: 'isoplane.jsonc:2:9',
          message: 'vars.not-a-name: a variable name is a JavaScript identifier of at most 128 characters',
        },
      ],
    });
  });

  test('says where JSONC and TOML do not parse', async ({ expect }) => {
    expect(await read({ 'isoplane.jsonc': '{\n  "name": "a",\n  "main" "b"\n}' })).toMatchObject({
      problems: [{ at: 'isoplane.jsonc:3:10', message: 'not valid JSONC: ColonExpected' }],
    });
    expect(await read({ 'wrangler.toml': 'name = "a"\nmain = = 1' })).toMatchObject({
      code: 'config_invalid',
      problems: [{ at: expect.stringMatching(/^wrangler\.toml:2:\d+$/) as unknown }],
    });
    expect(await read({ 'isoplane.jsonc': '' })).toMatchObject({ code: 'config_invalid' });
  });

  test('reads wrangler files and names what it ignores', async ({ expect }) => {
    const toml = await read({
      'wrangler.toml': `
name = "w"
main = "src/index.ts"
compatibility_date = "2026-11-01"
compatibility_flags = ["nodejs_compat"]
account_id = "x"
d1_databases = []
something_else = 1
[[services]]
binding = "API"
service = "api"
entrypoint = "Admin"
[[kv_namespaces]]
binding = "STORE"
id = "store"
[[kv_namespaces]]
binding = "FOREIGN"
id = "0f2ac74b498b48028cb68387c421e279"
[vars]
A = "1"
B = { c = true }
[[rules]]
type = "Text"
globs = ["**/*.md"]
fallthrough = true
[[rules]]
type = "ESModule"
globs = ["**/*.mjs"]
`,
    });
    const expected = {
      name: 'w',
      config: {
        compatibilityFlags: [],
        vars: { A: '1', B: { c: true } },
        services: [{ binding: 'API', function: 'api', alias: 'live', entrypoint: 'Admin' }],
        kv: [
          { binding: 'STORE', namespace: 'store' },
          { binding: 'FOREIGN', namespace: 'kv-0f2ac74b498b48028cb68387c421e279' },
        ],
      },
      rules: [
        { type: 'Text', globs: ['**/*.md'] },
        { type: 'ESModule', globs: ['**/*.mjs'] },
      ],
    };
    expect(toml).toMatchObject(expected);
    expect(toml).toHaveProperty('warnings', [
      expect.stringContaining('ignored something_else:'),
      expect.stringContaining('nodejs_compat is on by default'),
    ]);
    expect(
      await read({
        'wrangler.jsonc': '{"name":"w","main":"src/index.ts","compatibility_date":"2026-11-01"}',
      }),
    ).toMatchObject({ name: 'w', warnings: [] });
  });

  test('isoplane.jsonc wins over wrangler.toml; a missing entry file and a missing project are named', async ({
    expect,
  }) => {
    const good = '{"name":"a","main":"src/index.ts","compatibilityDate":"2026-11-01"}';
    expect(await read({ 'isoplane.jsonc': good, 'wrangler.toml': 'name = "b"' })).toMatchObject({
      name: 'a',
    });
    expect(await read({ 'isoplane.jsonc': good.replace('index', 'gone') })).toEqual({
      code: 'config_invalid',
      problems: [{ at: 'isoplane.jsonc:1:13', message: 'main: there is no file src/gone.ts' }],
    });
    expect(await read({})).toMatchObject({ code: 'project_not_found' });
  });
});
