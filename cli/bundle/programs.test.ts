/** What public programs bring along: modules of Node.js at any date, native packages, files, settings of wrangler. */
import { describe, test } from 'vitest';
import { readProject } from '../project/read-project.ts';
import { tempProject } from '../testing/temp-project.ts';
import { bundleProject, type Bundle } from './bundle.ts';
import { isNative } from './native-packages.ts';

const WASM = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
const LATEST = '2026-11-17';

interface Given {
  readonly date?: string;
  readonly flags?: readonly string[];
  readonly config?: object;
}

async function bundle(
  files: Readonly<Record<string, string | Uint8Array>>,
  { date = LATEST, flags = [], config = {} }: Given = {},
): Promise<Bundle> {
  const file = {
    name: 'a',
    main: 'src/index.ts',
    compatibilityDate: date,
    compatibilityFlags: flags,
    ...config,
  };
  await using folder = await tempProject({ 'isoplane.jsonc': JSON.stringify(file), ...files });
  return await bundleProject(await readProject(folder.path));
}

const textOf = (made: Bundle, name = made.main): string =>
  new TextDecoder().decode(made.modules.find((module) => module.name === name)?.content);

/** The problems of a bundle that is refused, as lines. */
async function refusal(...given: Parameters<typeof bundle>): Promise<string[]> {
  const thrown: unknown = await bundle(...given).then(
    () => new Error('it was bundled'),
    (error: unknown) => error,
  );
  if (!(thrown instanceof Error) || !('problems' in thrown)) throw thrown;
  return (thrown.problems as { at?: string; message: string; hint?: string }[]).map(({ at, message, hint }) =>
    [at, message, hint].filter((part) => part !== undefined).join(' | '),
  );
}

describe('modules of Node.js', () => {
  const files = {
    'src/index.ts': "import path from 'path'; import c from 'c'; export default { path, c };",
    'node_modules/c/package.json': '{"name":"c","main":"c.cjs"}',
    'node_modules/c/c.cjs': "const u = require('util'); module.exports = u.format;",
  };

  test.for([
    { date: LATEST, flags: [] },
    { date: '2026-08-04', flags: [] },
    { date: '2026-08-04', flags: ['nodejs_compat'] },
    { date: '2026-08-03', flags: ['nodejs_compat'] },
    { date: '2024-01-01', flags: ['nodejs_compat'] },
  ])('bare names and require() become node: imports at $date with $flags', async (given, { expect }) => {
    const made = await bundle(files, given);
    expect(textOf(made)).toContain('from "node:path"');
    expect(textOf(made)).toContain('from "node:util"');
    expect(textOf(made)).not.toContain('__require("util")');
    expect(made.warnings).toEqual([]);
  });

  test('without nodejs_compat the flag is advised once, whatever the number of imports', async ({
    expect,
  }) => {
    const many = ['fs', 'node:http', 'crypto', 'stream', 'path']
      .map((name) => `import '${name}';`)
      .join('\n');
    expect(
      await refusal({ ...files, 'src/index.ts': `${many}\nimport 'c';` }, { date: '2026-08-03' }),
    ).toEqual([
      expect.stringMatching(
        /^\S+:\d+:\d+ \| .*fs.*: modules of Node\.js.* \| add "nodejs_compat".*2026-08-04/,
      ),
    ]);
  });

  test('a require() that a package tries does not need the flag', async ({ expect }) => {
    const made = await bundle(
      {
        'src/index.ts': "import c from 'c'; export default c;",
        'node_modules/c/package.json': '{"name":"c","main":"c.cjs"}',
        'node_modules/c/c.cjs': "try { module.exports = require('os'); } catch { module.exports = 1; }",
      },
      { date: '2024-01-01' },
    );
    expect(made.warnings).toEqual([]);
  });

  test('a module that came after the date is switched on by its flag, and this is said', async ({
    expect,
  }) => {
    const made = await bundle(
      { 'src/index.ts': "import fs from 'fs'; import os from 'node:os'; export default { fs, os };" },
      { date: '2024-10-01', flags: ['nodejs_compat'] },
    );
    expect(made.addedFlags).toEqual(['enable_nodejs_fs_module', 'enable_nodejs_os_module']);
    expect(made.warnings).toEqual([
      expect.stringMatching(/node:fs .*enable_nodejs_fs_module.*2025-09-15/),
      expect.stringMatching(/node:os .*enable_nodejs_os_module.*2025-09-15/),
    ]);
  });

  test('an installed package of the name wins over a module that the date does not have', async ({
    expect,
  }) => {
    const made = await bundle(
      {
        'src/index.ts': "import { x } from 'punycode'; export default x;",
        'node_modules/punycode/package.json': '{"name":"punycode","main":"p.js"}',
        'node_modules/punycode/p.js': "export const x = 'installed';",
      },
      { date: '2024-01-01', flags: ['nodejs_compat'] },
    );
    expect(textOf(made)).toContain('installed');
    expect(made.addedFlags).toEqual([]);
  });

  test('one that the runtime does not have is named', async ({ expect }) => {
    expect(await refusal({ 'src/index.ts': "import 'node:sea';" })).toEqual([
      expect.stringContaining('node:sea: the runtime has no such module'),
    ]);
  });
});

describe('programs that cannot run', () => {
  test('a native package is refused by name, with what is used instead', async ({ expect }) => {
    const native = {
      'src/index.ts': "import bcrypt from 'bcrypt'; export default bcrypt;",
      'node_modules/bcrypt/package.json':
        '{"name":"bcrypt","main":"b.js","dependencies":{"node-gyp-build":"4"}}',
      'node_modules/bcrypt/b.js': "module.exports = require('node-gyp-build')(__dirname);",
    };
    expect(await refusal(native)).toEqual([
      expect.stringContaining('bcrypt is native code and cannot run in an isolate; use bcryptjs instead'),
    ]);
    expect(await refusal({ 'src/index.ts': "import './x.node';", 'src/x.node': 'ELF' })).toEqual([
      expect.stringContaining('./x.node is native code'),
    ]);
  });

  test('modules that only the own build of the project makes point at that build', async ({ expect }) => {
    const source = "import * as made from 'virtual:framework/server-build'; export default made;";
    expect(await refusal({ 'src/index.ts': source })).toEqual([
      expect.stringMatching(
        /virtual:framework\/server-build: modules that the project's own build makes \| run its build first/,
      ),
    ]);
  });

  test('a native package that another one tries is told and fails where it is required', async ({
    expect,
  }) => {
    const made = await bundle({
      'src/index.ts': "import c from 'c'; export default c;",
      'node_modules/c/package.json': '{"name":"c","main":"c.cjs"}',
      'node_modules/c/c.cjs': "try { module.exports = require('fast'); } catch { module.exports = 'slow'; }",
      'node_modules/fast/package.json': '{"name":"fast","gypfile":true,"main":"f.js"}',
      'node_modules/fast/f.js': 'module.exports = 1;',
    });
    expect(made.warnings).toEqual([expect.stringMatching(/^fast is native code.*; c asks for it/)]);
  });

  test('native is what is built or loaded natively and has no form for workers', ({ expect }) => {
    expect(isNative({ name: 'x', dependencies: { bindings: '1' } }, false)).toBe(true);
    expect(isNative({ name: 'x' }, true)).toBe(true);
    expect(isNative({ name: 'sharp' }, false)).toBe(true);
    expect(isNative({ name: 'x', gypfile: true, exports: { workerd: './w.js' } }, false)).toBe(false);
    expect(isNative({ name: 'bcryptjs' }, false)).toBe(false);
  });

  test.for([
    ["import 'jsr:@std/http';", 'jsr:@std/http'],
    ["import 'npm:hono';", 'npm:hono'],
    ["import 'https://deno.land/std/http/server.ts';", 'https://deno.land/std/http/server.ts'],
    ["Deno.serve(() => new Response('x'));", 'Deno.serve'],
  ] as const)('%s is called a program for Deno', async ([code, name], { expect }) => {
    const [line, ...more] = await refusal({ 'src/index.ts': code });
    expect(line).toContain(`${name}: this is a program for Deno`);
    expect(line).not.toContain('npm install');
    expect(more).toEqual([]);
  });

  test('code that only asks whether it runs in Deno is no program for Deno', async ({ expect }) => {
    const code = "export default typeof Deno === 'undefined' ? {} : Deno.serve(() => new Response('x'));";
    expect((await bundle({ 'src/index.ts': code })).warnings).toEqual([]);
    await bundle({ 'src/index.ts': '// Deno.serve(app)\nexport default {};' });
  });
});

describe('code', () => {
  test('two classes of one name keep it', async ({ expect }) => {
    const source = (file: string): string =>
      `export class E extends Error { where = '${file}'; constructor() { super(); this.name = this.constructor.name; } }`;
    const made = await bundle({
      'src/index.ts':
        "import { E as A } from './a.ts'; import { E as B } from './b.ts'; export default { A, B };",
      'src/a.ts': source('a'),
      'src/b.ts': source('b'),
    });
    expect(textOf(made)).toContain('__name(this, "E")');
  });

  test('JSX stands in .js files, alias and define are applied', async ({ expect }) => {
    const made = await bundle(
      {
        'src/index.ts':
          "import view from './view.js'; import x from 'other'; export default { view, x, b: BUILD };",
        'src/view.js': 'const h = (tag) => tag; export default <main />;',
        'src/other.ts': "export default 'aliased';",
      },
      { config: { alias: { other: './src/other.ts' }, define: { BUILD: '"made"' }, jsxFactory: 'h' } },
    );
    expect(textOf(made)).toContain('h("main"');
    expect(textOf(made)).toContain('aliased');
    expect(textOf(made)).toContain('b: "made"');
  });

  test('a wasm file counts that a package ships without listing it in its exports', async ({ expect }) => {
    const made = await bundle({
      'src/index.ts': "import w from 'pkg/dist/add.wasm'; export default w;",
      'node_modules/pkg/package.json': '{"name":"pkg","exports":{".":"./index.js"}}',
      'node_modules/pkg/dist/add.wasm': WASM,
    });
    expect(made.modules.map(({ type }) => type)).toEqual(['esm', 'wasm']);
  });

  test("a bundler's own suffix is refused, ?module is not", async ({ expect }) => {
    const files = { 'src/m.wasm': WASM };
    expect(
      await refusal({ 'src/index.ts': "import w from './m.wasm?url'; export default w;", ...files }),
    ).toEqual([expect.stringContaining('?url is a bundler')]);
    await bundle({ 'src/index.ts': "import w from './m.wasm?module'; export default w;", ...files });
  });

  test('noBundle uploads the files that rules name under their own names', async ({ expect }) => {
    const code = 'export default { lang: (x) => import(`./lang/${x}`) };';
    const made = await bundle(
      { 'dist/index.js': code, 'dist/lang/en.json': '{}', 'dist/chunk/[id].js': '', 'dist/readme.txt': 'x' },
      {
        config: {
          main: 'dist/index.js',
          noBundle: true,
          rules: [
            { type: 'Text', globs: ['**/*.json'] },
            { type: 'ESModule', globs: ['**/*.js'] },
          ],
        },
      },
    );
    expect(made.modules.map(({ name, type }) => [name, type])).toEqual([
      ['index.js', 'esm'],
      ['chunk/[id].js', 'esm'],
      ['lang/en.json', 'text'],
      ['readme.txt', 'text'],
    ]);
    expect(textOf(made)).toBe(code);
  });

  test('findAdditionalModules uploads them beside the bundle', async ({ expect }) => {
    const made = await bundle(
      {
        'src/index.ts': "import one from './lang/en.mjs'; const x: number = 1; export default { one, x };",
        'src/lang/en.mjs': "export default 'en';",
        'src/lang/de.mjs': "export default 'de';",
      },
      { config: { findAdditionalModules: true, rules: [{ type: 'ESModule', globs: ['lang/*.mjs'] }] } },
    );
    expect(made.modules.map(({ name }) => name)).toEqual(['index.js', 'lang/de.mjs', 'lang/en.mjs']);
    expect(textOf(made)).toContain('from "./lang/en.mjs"');
  });
});

describe('what wrangler puts polyfills in for', () => {
  const uses = (code: string) => ({
    'src/index.ts': `${code}\nexport default { fetch: () => new Response() };`,
  });
  const date = '2024-11-01';
  const flags = ['nodejs_compat'];

  test.for([
    ['performance.now(); new PerformanceObserver(() => {});', ['enable_global_performance_classes']],
    ['if (process.version) process.cwd();', ['enable_nodejs_process_v2']],
    ['console.log(process.env.A, performance.now(), process.nextTick);', []],
  ] as const)('%s switches on what it names', async ([code, added], { expect }) => {
    expect((await bundle(uses(code), { date, flags })).addedFlags).toEqual(added);
    expect((await bundle(uses(code), { date: LATEST })).addedFlags).toEqual([]);
    // Without the second generation of nodejs_compat wrangler puts nothing in either.
    expect((await bundle(uses(code), { date: '2024-01-01', flags })).addedFlags).toEqual([]);
    expect((await bundle(uses(code), { date })).addedFlags).toEqual([]);
  });

  test('what was refused by its opposite stays off', async ({ expect }) => {
    const opposite = ['nodejs_compat', 'disable_global_performance_classes'];
    const made = await bundle(uses('new PerformanceObserver(() => {});'), { date, flags: opposite });
    expect(made.addedFlags).toEqual([]);
  });

  test("packages that bring fetch to Node.js are the runtime's own, however they are imported", async ({
    expect,
  }) => {
    const code = `import fetch, { Headers } from 'node-fetch'; import cross from 'cross-fetch'; import 'isomorphic-fetch';
      const required = require('node-fetch'); const inherits = require('inherits');
      console.log(fetch, Headers, cross, required, inherits);`;
    expect((await bundle(uses(code))).warnings).toEqual([]);
    expect(await refusal(uses(code), { date: '2024-01-01', flags })).toContainEqual(
      expect.stringContaining('"node-fetch"'),
    );
  });
});

test('globs of rules are read as wrangler reads them: a star also stands for the way up', async ({
  expect,
}) => {
  const made = await bundle(
    {
      'src/index.ts': `import terms from '../frontend/terms.md'; export default { fetch: () => new Response(terms) };`,
      'frontend/terms.md': 'terms',
    },
    { config: { rules: [{ type: 'Text', globs: ['*/frontend/**'] }] } },
  );
  expect(made.modules.map(({ type }) => type)).toEqual(['esm', 'text']);
});
