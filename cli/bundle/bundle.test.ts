/** Bundles of real files by the real esbuild. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { CliError } from '../failure.ts';
import { readProject } from '../project/read-project.ts';
import { tempProject } from '../testing/temp-project.ts';
import { bundleProject, type Bundle } from './bundle.ts';
import { readLayerFolder } from './layer-folder.ts';
import { mapStack } from './stack.ts';

const WASM = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
const config = (extra = ''): string =>
  `{"name":"a","main":"src/index.ts","compatibilityDate":"2026-11-01"${extra}}`;

async function bundle(files: Readonly<Record<string, string | Uint8Array>>, extra?: string): Promise<Bundle> {
  await using folder = await tempProject({ 'isoplane.jsonc': config(extra), ...files });
  return await bundleProject(await readProject(folder.path));
}

const textOf = (made: Bundle, name = made.main): string =>
  new TextDecoder().decode(made.modules.find((module) => module.name === name)?.content);

describe('bundleProject()', () => {
  test('bundles TypeScript and npm packages, preferring what a package offers for workerd', async ({
    expect,
  }) => {
    const made = await bundle({
      'src/index.ts':
        "import { kind } from 'pkg'; const n: number = 1; export default { fetch: () => new Response(kind + n) };",
      'node_modules/pkg/package.json':
        '{"name":"pkg","exports":{"node":"./node.js","workerd":"./workerd.js","default":"./other.js"}}',
      'node_modules/pkg/node.js': "export const kind = 'node';",
      'node_modules/pkg/workerd.js': "export const kind = 'workerd';",
      'node_modules/pkg/other.js': "export const kind = 'other';",
    });
    expect(made.modules.map(({ name, type }) => [name, type])).toEqual([['index.js', 'esm']]);
    expect(textOf(made)).toContain('"workerd"');
    expect(textOf(made)).not.toContain('sourceMappingURL');
    expect(made.bytes).toBe(made.modules[0]?.content.byteLength);
  });

  test('leaves import.meta.main to the runtime: no file of it may take itself for the program', async ({
    expect,
  }) => {
    const made = await bundle({
      'src/index.ts':
        "import { add } from './library.ts'; export default { fetch: () => new Response(String(add(1, 2))) };",
      'src/library.ts':
        'export const add = (a: number, b: number) => a + b; if (import.meta.main) console.log(add(1, 1));',
    });
    expect(textOf(made)).toContain('if (import.meta.main)');
  });

  test('uploads wasm, text and data files beside the code, each once, under its content hash', async ({
    expect,
  }) => {
    const made = await bundle(
      {
        'src/index.ts': `import a from './m.wasm'; import b from '../lib/m.wasm?module'; import t from './t.txt';
        import d from './d.bin'; import md from './r.md'; import j from './j.json';
        export default { fetch: () => new Response([a, b, t, d, md, j.x].join()) };`,
        'src/m.wasm': WASM,
        'lib/m.wasm': WASM,
        'src/t.txt': 'text',
        'src/d.bin': new Uint8Array([1, 2]),
        'src/r.md': '# r',
        'src/j.json': '{"x":"inlined"}',
      },
      ',"rules":[{"type":"Text","globs":["**/*.md"]}]',
    );
    expect(
      made.modules.map(({ name, type }) => `${name.replace(/^[0-9a-f]{16}-/, '')} ${type}`).sort(),
    ).toEqual(['d.bin data', 'index.js esm', 'm.wasm wasm', 'r.md text', 't.txt text']);
    for (const module of made.modules.slice(1)) expect(textOf(made)).toContain(`"./${module.name}"`);
    expect(textOf(made)).toContain('inlined');
  });

  test('the same sources in another folder give the same bytes', async ({ expect }) => {
    const files = {
      'src/index.ts':
        "import { a } from './a.ts'; import w from './m.wasm'; export default { fetch: () => new Response(a + w) };",
      'src/a.ts': "export const a = 'a';",
      'src/m.wasm': WASM,
    };
    const [first, second] = [await bundle(files), await bundle(files)];
    expect(second.modules).toEqual(first.modules);
    expect(second.sourceMap).toEqual(first.sourceMap);
  });

  test('leaves layer modules and runtime modules as imports', async ({ expect }) => {
    const made = await bundle({
      'src/index.ts':
        "import { g } from '/opt/greet.js'; import { env } from 'cloudflare:workers'; export default { g, env };",
    });
    expect(textOf(made)).toContain('from "./opt/greet.js"');
    expect(textOf(made)).toContain('from "cloudflare:workers"');
  });

  test('a fault in the code is reported where it stands, a missing package with the way to get it', async ({
    expect,
  }) => {
    const failure = await bundle({ 'src/index.ts': "import 'nope/x';\nconst = 1;" }).catch(
      (thrown: unknown) => thrown,
    );
    expect(failure).toBeInstanceOf(CliError);
    expect((failure as CliError).problems).toEqual([
      { at: 'src/index.ts:2:7', message: 'Expected identifier but found "="' },
    ]);
    await expect(bundle({ 'src/index.ts': "import 'nope/x';" })).rejects.toMatchObject({
      problems: [{ hint: 'is the package installed? npm install nope' }],
    });
  });

  test('is refused before the upload when it is one byte over the bound, with the largest inputs', async ({
    expect,
  }) => {
    const limit = 32 * 1024 * 1024;
    const files = {
      'src/index.ts': "import d from './d.bin'; export default d;",
      'src/d.bin': new Uint8Array(0),
    };
    const code = (await bundle(files)).bytes;
    const fits = await bundle({ ...files, 'src/d.bin': new Uint8Array(limit - code) });
    expect(fits.bytes).toBe(limit);
    await expect(bundle({ ...files, 'src/d.bin': new Uint8Array(limit - code + 1) })).rejects.toMatchObject({
      code: 'bundle_too_large',
      problems: [
        { at: expect.stringContaining('d.bin') as unknown, message: `${limit - code + 1} bytes` },
        expect.anything(),
      ],
    });
  });
});

describe('mapStack()', () => {
  test('turns positions in the bundle into positions in the sources and keeps the rest', async ({
    expect,
  }) => {
    const made = await bundle({
      'src/index.ts':
        'interface A {}\n\nexport function boom(a: A): never {\n  throw new Error(String(a));\n}\n',
    });
    const lines = textOf(made).split('\n');
    const line = lines.findIndex((text) => text.includes('throw new Error')) + 1;
    const column = (lines[line - 1]?.indexOf('new Error') ?? 0) + 1;
    const stack = `Error: x\n    at boom (file:///index.js:${line}:${column})\n    at node:internal/x:1:2`;
    expect(mapStack(stack, 'index.js', made.sourceMap ?? new Uint8Array())).toBe(
      'Error: x\n    at boom (src/index.ts:4:9)\n    at node:internal/x:1:2',
    );
    expect(mapStack(stack, 'index.js', new TextEncoder().encode('no map'))).toBe(stack);
  });
});

describe('readLayerFolder()', () => {
  test('names modules by path, compiles TypeScript, leaves out what is no module of a layer', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'a.ts': "import b from './deep/b.js'; import { c } from './c.ts'; export const a: number = b + c;",
      'c.ts': 'export const c = 1;',
      'deep/b.js': 'export default 2;',
      'types.d.ts': 'export {};',
      'm.wasm': WASM,
      '.hidden': 'x',
      'package.json': '{}',
      'node_modules/x/index.js': '',
    });
    const modules = await readLayerFolder(folder.path);
    expect(modules.map(({ name, type }) => [name, type])).toEqual([
      ['a.js', 'esm'],
      ['c.js', 'esm'],
      ['deep/b.js', 'esm'],
      ['m.wasm', 'wasm'],
    ]);
    const code = new TextDecoder().decode(modules[0]?.content);
    expect(code).toContain('from "./deep/b.js"');
    expect(code).toContain('from "./c.js"');
    expect(code).not.toContain('number');
  });

  test('refuses files that cannot be modules, and an empty folder', async ({ expect }) => {
    await using folder = await tempProject({ 'a.js': '' });
    await writeFile(join(folder.path, 'photo.png'), '');
    await expect(readLayerFolder(folder.path)).rejects.toMatchObject({
      code: 'layer_invalid',
      problems: [{ at: 'photo.png' }],
    });
    await using empty = await tempProject({ README: '' });
    await expect(readLayerFolder(empty.path)).rejects.toMatchObject({ code: 'layer_invalid' });
  });
});
