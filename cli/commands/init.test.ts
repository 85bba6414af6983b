/** `isoplane init` by the real command: into nothing, into something, and never over something. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { isoplane } from '../testing/run-command.ts';
import { tempProject } from '../testing/temp-project.ts';

describe('isoplane init', () => {
  test('init makes a project that deploys as it stands, and never overwrites', async ({ expect }) => {
    await using folder = await tempFolder();
    for (const args of [
      ['a'],
      ['b', '--style', 'event'],
      ['c', '--template', 'streaming'],
      ['d', '--wrangler'],
    ]) {
      const made = await isoplane(['init', ...args, '--json'], { cwd: folder.path });
      expect(made.code, made.stderr + made.stdout).toBe(0);
      const bundled = await isoplane(['deploy', args[0] ?? '', '--dry-run', '--json'], { cwd: folder.path });
      expect(bundled, args.join(' ')).toMatchObject({ code: 0, stderr: '' });
      expect(bundled.json()).toMatchObject({
        function: args[0],
        modules: [{ name: 'index.js', type: 'esm' }],
      });
    }
    const again = await isoplane(['init', 'a', '--json'], { cwd: folder.path });
    expect(again.code).toBe(1);
    expect(again.json()).toMatchObject({ error: { code: 'would_overwrite' } });
    expect((await isoplane(['init', 'Bad_Name'], { cwd: folder.path })).code).toBe(2);
  });

  test('goes into a folder with a package.json: adds what is missing, and touches nothing else', async ({
    expect,
  }) => {
    const manifest = `{\n\t"name": "@team/shop-front",\n\t"version": "3.2.1",\n\t"scripts": { "deploy": "make deploy" },\n\t"dependencies": { "hono": "4.0.0", "typescript": "5.0.0" }\n}\n`;
    await using folder = await tempProject({
      'Shop Front/package.json': manifest,
      'Shop Front/.gitignore': '/node_modules',
      'Shop Front/tsconfig.json': '{ "include": ["lib"] }',
      'Shop Front/src/index.ts': 'export default { fetch: () => new Response("mine") };',
    });
    const cwd = join(folder.path, 'Shop Front');
    const made = await isoplane(['init', '--json'], { cwd });
    expect(made.code, made.stdout + made.stderr).toBe(0);
    expect(made.json()).toMatchObject({
      name: 'shop-front',
      files: ['isoplane.jsonc'],
      kept: ['src/index.ts', 'tsconfig.json'],
    });
    const text = await readFile(join(cwd, 'package.json'), 'utf8');
    const after = JSON.parse(text) as Record<string, Record<string, string>>;
    expect(after).toMatchObject({
      name: '@team/shop-front',
      version: '3.2.1',
      dependencies: { hono: '4.0.0', typescript: '5.0.0' },
    });
    expect(after['scripts']).toMatchObject({ deploy: 'make deploy', dev: 'isoplane dev' });
    expect(after['devDependencies']).not.toHaveProperty('typescript');
    expect(text).toContain('\n\t"version"');
    expect(await readFile(join(cwd, '.gitignore'), 'utf8')).toBe(
      '/node_modules\nnode_modules/\n.isoplane/\n.dev.vars*\n.env*\n',
    );
    expect(await readFile(join(cwd, 'src/index.ts'), 'utf8')).toContain('mine');
    expect((await isoplane(['deploy', '--dry-run'], { cwd })).code).toBe(0);
  });

  test('writes a $schema that is a file, seen from the project', async ({ expect }) => {
    await using folder = await tempFolder();
    await isoplane(['init', 'deep/er/still/one'], { cwd: folder.path });
    const root = join(folder.path, 'deep/er/still/one');
    const text = await readFile(join(root, 'isoplane.jsonc'), 'utf8');
    const path = /"\$schema": "([^"]+)"/.exec(text)?.[1] ?? 'none';
    const schema = JSON.parse(await readFile(resolve(root, path), 'utf8')) as object;
    expect(schema).toMatchObject({ title: 'isoplane.jsonc', properties: { compatibilityDate: {} } });
  });

  test('refuses a project that exists, and says that it deploys', async ({ expect }) => {
    await using folder = await tempFolder();
    await mkdir(join(folder.path, 'a'));
    await writeFile(join(folder.path, 'a', 'wrangler.toml'), 'name = "a"');
    const result = await isoplane(['init', 'a'], { cwd: folder.path });
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('isoplane deploy') as unknown });
  });
});
