/** `isoplane dev` of projects that are built: by a command of theirs, or by a framework that runs elsewhere. */
import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';
import { tempProject } from '#cli/testing/temp-project.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { DevProcess } from '../support/dev.ts';

const run = promisify(execFile);
const file = (value: object): string => JSON.stringify(value);

/** As a framework's: it writes its configuration last, and also a file beside its sources. */
const BUILD = `
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
appendFileSync('runs.txt', 'x');
rmSync('dist', { recursive: true, force: true });
const text = readFileSync('src/text.txt', 'utf8');
if (text === 'broken') process.exit(3);
mkdirSync('dist/server/chunks', { recursive: true });
mkdirSync('.wrangler/deploy', { recursive: true });
writeFileSync('src/generated.txt', text);
writeFileSync('dist/server/index.js',
  "import text from './chunks/text.js'; export default { fetch: (_, env) => new Response(text + ' ' + env.KEY) };");
writeFileSync('dist/server/wrangler.json', JSON.stringify({ name: 'site', main: 'index.js', no_bundle: true,
  compatibility_date: '2026-11-01', rules: [{ type: 'ESModule', globs: ['**/*.js'] }] }));
writeFileSync('dist/server/chunks/text.js', 'export default ' + JSON.stringify(text));
writeFileSync('.wrangler/deploy/config.json', JSON.stringify({ configPath: '../../dist/server/wrangler.json' }));
`;
const PROJECT = {
  'package.json': '{ "type": "module" }',
  'build.js': BUILD,
  'src/text.txt': 'one',
  '.dev.vars': 'KEY=mine\n',
  'wrangler.jsonc': file({ name: 'site', main: '@framework/server', compatibility_date: '2026-11-01' }),
  'isoplane.jsonc': file({ auth: { mode: 'public' }, build: { command: 'node build.js' } }),
};

describe('isoplane dev of what is built', { timeout: 180_000 }, () => {
  test('builds first, again when its sources change, and reads the values of the project', async ({
    expect,
  }) => {
    await using folder = await tempProject(PROJECT);
    await using dev = await DevProcess.start(folder.path);
    const text = async (): Promise<string> => (await dev.fetch('/')).text();
    const runs = async (): Promise<number> => (await readFile(join(folder.path, 'runs.txt'), 'utf8')).length;
    const save = (path: string, content: string): Promise<void> =>
      writeFile(join(folder.path, path), content);
    expect(await text()).toBe('one mine');
    await save('src/text.txt', 'two');
    await waitFor('the change', async () => (await text()) === 'two mine');
    await save('src/text.txt', 'broken');
    expect(await dev.event('error')).toMatchObject({ error: { code: 'build_failed' } });
    expect(await text()).toBe('two mine');
    const failedAfter = await runs();
    await save('beside.txt', 'nothing that it reads');
    await save('src/text.txt', 'three');
    await waitFor('the mended one', async () => (await text()) === 'three mine');
    // What it writes where it reads may be seen once more; after that other changes start nothing.
    await save('.dev.vars', 'KEY=other\n');
    await waitFor('the other value', async () => (await text()) === 'three other');
    const before = await runs();
    await save('.dev.vars', 'KEY=third\n');
    await waitFor('the third value', async () => (await text()) === 'three third');
    expect(await runs()).toBe(before);
    // Of three texts and a broken one.
    expect(failedAfter).toBeLessThanOrEqual(5);
    expect(before).toBeLessThanOrEqual(9);
    expect(dev.events.filter((event) => 'error' in event)).toHaveLength(1);
  });

  test('waits for a build that somebody else runs instead of telling what is missing meanwhile', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      ...PROJECT,
      'isoplane.jsonc': file({ auth: { mode: 'public' } }),
      '.wrangler/deploy/config.json': file({ configPath: '../../dist/server/wrangler.json' }),
      'dist/server/wrangler.json': file({
        name: 'site',
        main: 'index.js',
        no_bundle: true,
        compatibility_date: '2026-11-01',
      }),
      'dist/server/index.js': "export default { fetch: () => new Response('before') };",
    });
    await using dev = await DevProcess.start(folder.path);
    const text = async (): Promise<string> => (await dev.fetch('/')).text();
    expect(await text()).toBe('before');
    await rm(join(folder.path, 'dist'), { recursive: true });
    // Seen: what follows is the build's second half.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await text()).toBe('before');
    await run(process.execPath, ['build.js'], { cwd: folder.path });
    await waitFor('what was built', async () => (await text()) === 'one mine');
    expect(dev.events.filter((event) => 'error' in event)).toEqual([]);
    expect(dev.errors).not.toContain('there is no file');
  });

  test('serves a project that is built for the first time while it runs', async ({ expect }) => {
    await using folder = await tempProject({
      ...PROJECT,
      'isoplane.jsonc': file({ auth: { mode: 'public' } }),
    });
    await using dev = await DevProcess.start(folder.path);
    expect(await dev.event('error')).toMatchObject({ error: { code: 'config_invalid' } });
    await run(process.execPath, ['build.js'], { cwd: folder.path });
    await dev.event('served');
    expect((await dev.call('site')).text).toBe('one mine');
  });
});
