/** How a project is built: said by what a person wrote, whatever the last build left. */
import { describe, test } from 'vitest';
import { tempProject } from '../testing/temp-project.ts';
import type { BuildStep } from './project.ts';
import { readBuild } from './read-build.ts';
import type { ProjectOptions } from './read-project.ts';

const BASE = { name: 'w', main: 'virtual:entry', compatibility_date: '2026-11-17' };
const LEFT = {
  '.wrangler/deploy/config.json': { configPath: '../../dist/server/wrangler.json' },
  'dist/server/wrangler.json': { ...BASE, build: { command: 'of the last build' } },
};

async function read(
  files: Readonly<Record<string, object | string>>,
  options: ProjectOptions = {},
): Promise<BuildStep | undefined> {
  const texts = Object.entries(files).map(([path, content]) => [
    path,
    typeof content === 'string' ? content : JSON.stringify(content),
  ]);
  await using folder = await tempProject(Object.fromEntries(texts));
  const build = await readBuild(folder.path, options);
  return build && (JSON.parse(JSON.stringify(build).replaceAll(folder.path, '/p')) as BuildStep);
}

describe('the build of a project', () => {
  test('runs in the folder of the project, also beside the configuration that the last build left', async ({
    expect,
  }) => {
    const own = { 'isoplane.jsonc': { build: { command: 'make' } } };
    const expected = { command: 'make', cwd: '/p', watch: ['/p/src'] };
    expect(await read({ ...own, ...LEFT })).toEqual(expected);
    expect(await read({ ...own, ...LEFT, 'wrangler.jsonc': BASE })).toEqual(expected);
    expect(await read({ 'wrangler.jsonc': { ...BASE, build: { command: 'make' } }, ...LEFT })).toEqual(
      expected,
    );
    const dot = { 'isoplane.jsonc': { build: { command: 'make', cwd: '.' } } };
    expect(await read({ ...dot, ...LEFT })).toEqual(expected);
  });

  test('is ours over that of the wrangler file, which is read with its environments', async ({ expect }) => {
    const wrangler = {
      'wrangler.jsonc': {
        ...BASE,
        build: { command: 'all', cwd: 'web', watch_dir: 'pages' },
        env: { staging: { build: { command: 'staging', watch_dir: ['a', 'b'] } } },
      },
    };
    expect(await read(wrangler)).toEqual({ command: 'all', cwd: '/p/web', watch: ['/p/pages'] });
    expect(await read(wrangler, { environment: 'staging' })).toMatchObject({
      command: 'staging',
      watch: ['/p/a', '/p/b'],
    });
    expect(
      await read({ ...wrangler, 'isoplane.jsonc': { build: { command: 'own', watch: ['app'] } } }),
    ).toEqual({ command: 'own', cwd: '/p/web', watch: ['/p/app'] });
  });

  test('is not there where nobody wrote one, nor when the last build left what cannot be read', async ({
    expect,
  }) => {
    expect(await read(LEFT)).toBeUndefined();
    expect(await read({ 'wrangler.jsonc': BASE, ...LEFT })).toBeUndefined();
    expect(
      await read({ 'isoplane.jsonc': { build: { command: 'make' } }, '.wrangler/deploy/config.json': '{' }),
    ).toMatchObject({ command: 'make' });
  });

  test('does not begin while what a person wrote has problems', async ({ expect }) => {
    await expect(read({ 'isoplane.jsonc': { build: { command: 'make' }, auht: {} } })).rejects.toMatchObject({
      code: 'config_invalid',
      problems: [{ hint: 'did you mean "auth"?' }],
    });
    await expect(read({})).rejects.toMatchObject({ code: 'project_not_found' });
  });
});
