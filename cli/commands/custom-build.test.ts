/** Projects that a framework builds: the build runs where the project is, and what it leaves is what is deployed. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { isoplane, type CommandResult } from '../testing/run-command.ts';
import { tempProject } from '../testing/temp-project.ts';

/** As Vite with Cloudflare's plugin leaves it. Undefined members are absent. */
const BUILD = `
import { mkdirSync, writeFileSync } from 'node:fs';
const environment = process.env.CLOUDFLARE_ENV;
mkdirSync('dist/server', { recursive: true });
mkdirSync('.wrangler/deploy', { recursive: true });
writeFileSync('dist/server/index.js', \`export default { fetch: () => new Response('\${environment ?? 'built'}') };\`);
writeFileSync('dist/server/wrangler.json', JSON.stringify({
  name: environment === undefined ? 'site' : 'site-' + environment, main: 'index.js', targetEnvironment: environment,
  compatibility_date: '2026-11-01', no_bundle: true,
}));
writeFileSync('.wrangler/deploy/config.json', JSON.stringify({ configPath: '../../dist/server/wrangler.json' }));
`;
const WRITTEN = {
  'build.mjs': BUILD,
  'wrangler.jsonc': JSON.stringify({
    name: 'site',
    main: '@framework/entrypoints/server',
    compatibility_date: '2026-11-01',
    env: { staging: {} },
  }),
  'isoplane.jsonc': JSON.stringify({ build: { command: 'node build.mjs', cwd: '.' } }),
};

const dryRun = (cwd: string, ...args: readonly string[]): Promise<CommandResult> =>
  isoplane(['deploy', '--dry-run', '--json', ...args], { cwd });

describe('deploy of a project with a build', { timeout: 60_000 }, () => {
  test('builds a fresh checkout in the folder of the project and takes what the build left', async ({
    expect,
  }) => {
    await using folder = await tempProject(WRITTEN);
    const first = await dryRun(folder.path);
    expect(first.stderr).toContain('dist/server/wrangler.json is used');
    expect(first.json()).toMatchObject({ function: 'site', modules: [{ name: 'index.js' }] });
    expect(first.code).toBe(0);
    const before = await readdir(join(folder.path, 'dist/server'));
    // Again, now beside what the last build left: it runs where it ran.
    await writeFile(join(folder.path, 'build.mjs'), BUILD.replace("'built'", "'built once more'"));
    expect((await dryRun(folder.path)).code).toBe(0);
    expect(await readFile(join(folder.path, 'dist/server/index.js'), 'utf8')).toContain('once more');
    expect(await readdir(join(folder.path, 'dist/server'))).toEqual(before);
  });

  test('runs the command of a wrangler file as well', async ({ expect }) => {
    const { 'isoplane.jsonc': _, ...others } = WRITTEN;
    const wrangler = {
      ...(JSON.parse(WRITTEN['wrangler.jsonc']) as object),
      build: { command: 'node build.mjs' },
    };
    await using folder = await tempProject({ ...others, 'wrangler.jsonc': JSON.stringify(wrangler) });
    for (let time = 0; time < 2; time += 1) {
      await rm(join(folder.path, 'dist'), { recursive: true, force: true });
      const result = await dryRun(folder.path);
      expect(result.code, result.stderr).toBe(0);
    }
  });

  test('judges what the build made, not what the last one had left', async ({ expect }) => {
    await using folder = await tempProject({
      ...WRITTEN,
      '.wrangler/deploy/config.json': JSON.stringify({ configPath: '../../dist/server/wrangler.json' }),
      'dist/server/wrangler.json': JSON.stringify({
        name: 'site',
        main: 'gone.js',
        images: { binding: 'IMAGES' },
      }),
    });
    const result = await dryRun(folder.path);
    expect(result.code, result.stderr).toBe(0);
  });

  test('builds for the environment that is deployed', async ({ expect }) => {
    await using folder = await tempProject(WRITTEN);
    const result = await dryRun(folder.path, '--env', 'staging');
    expect(result.code, result.stderr).toBe(0);
    expect(result.json()).toMatchObject({ function: 'site-staging' });
  });

  test('says where a build failed that cannot even start', async ({ expect }) => {
    await using folder = await tempProject({
      ...WRITTEN,
      'isoplane.jsonc': JSON.stringify({ build: { command: 'node build.mjs', cwd: 'gone' } }),
    });
    const result = await dryRun(folder.path);
    expect(result.stdout + result.stderr).toContain(`cannot be started in ${join(folder.path, 'gone')}`);
    expect(result.code).toBe(1);
  });
});

describe('types of such a project', { timeout: 60_000 }, () => {
  test('lie beside what a person wrote, and are the same before and after the build', async ({ expect }) => {
    await using folder = await tempProject(WRITTEN);
    await mkdir(join(folder.path, 'src'));
    const types = (...args: readonly string[]): Promise<CommandResult> =>
      isoplane(['types', ...args], { cwd: folder.path });
    expect((await types()).code).toBe(0);
    expect((await dryRun(folder.path)).code).toBe(0);
    expect((await types('--check')).code).toBe(0);
    expect(existsSync(join(folder.path, 'isoplane-env.d.ts'))).toBe(true);
    expect(existsSync(join(folder.path, 'dist/server/isoplane-env.d.ts'))).toBe(false);
  });
});
