/** Which files of a folder are uploaded. */
import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { assetsConfigSchema } from '#shared/contracts/assets.ts';
import { LIMITS } from '#shared/limits.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { CliError } from '../failure.ts';
import { tempProject } from '../testing/temp-project.ts';
import { collectAssets } from './collect.ts';

const CONFIG = assetsConfigSchema.parse({});
const pathsOf = async (folder: string): Promise<readonly string[]> =>
  (await collectAssets(folder, CONFIG)).files.map(({ path }) => path);
const codeOf = (folder: string): Promise<string> =>
  collectAssets(folder, CONFIG).then(
    () => 'collected',
    (thrown: unknown) => (thrown instanceof CliError ? thrown.code : String(thrown)),
  );

describe('the files of an assets folder', () => {
  test('are all but what is secret, of tools, or ignored', async ({ expect }) => {
    await using folder = await tempProject({
      'index.html': '',
      '.well-known/security.txt': '',
      '.assetsignore': '# sources\n*.map\n/drafts\n!drafts-public\nimages/*\n!images/kept.png\n',
      _headers: '/*\n  x-a: 1\n',
      _redirects: '/a /b\n',
      'sub/_headers': 'a file as any other',
      'app.js.map': '',
      'drafts/a.txt': '',
      'sub/drafts/a.txt': '',
      'images/left.png': '',
      'images/kept.png': '',
      '.dev.vars': 'A=1',
      '.dev.vars.staging': 'A=1',
      '.env': 'A=1',
      'sub/.env.local': 'A=1',
      '.git/HEAD': '',
      'sub/.git/HEAD': '',
      'node_modules/a/index.js': '',
      '.DS_Store': '',
      '.isoplane/dev/key': '',
      '.wrangler/state': '',
      'wrangler.jsonc': '',
      'isoplane.jsonc': '',
      '_worker.js': '',
    });
    const collected = await collectAssets(folder.path, CONFIG);
    expect(collected.files.map(({ path }) => path)).toEqual([
      '/.well-known/security.txt',
      '/images/kept.png',
      '/index.html',
      '/sub/_headers',
      '/sub/drafts/a.txt',
    ]);
    expect(collected).toMatchObject({ headers: '/*\n  x-a: 1\n', redirects: '/a /b\n', warnings: [] });
  });

  test('are served after all when .assetsignore asks for them, but for the rules', async ({ expect }) => {
    await using folder = await tempProject({
      '.assetsignore': '!_worker.js\n!_headers\n!.assetsignore\n',
      '_worker.js': '',
      _headers: '',
    });
    expect(await pathsOf(folder.path)).toEqual(['/_worker.js']);
  });

  test('are not those that a link leads to outside', async ({ expect }) => {
    await using outside = await tempProject({ 'secret.txt': 'secret', 'folder/a.txt': 'secret' });
    await using folder = await tempProject({ 'a.txt': 'a' });
    await symlink(join(outside.path, 'secret.txt'), join(folder.path, 'file'));
    await symlink(join(outside.path, 'folder'), join(folder.path, 'folder'));
    await symlink(join(folder.path, 'nothing'), join(folder.path, 'dangling'));
    await symlink('a.txt', join(folder.path, 'inside.txt'));
    const { files, warnings } = await collectAssets(folder.path, CONFIG);
    expect(files.map(({ path }) => path)).toEqual(['/a.txt', '/inside.txt']);
    expect(warnings).toHaveLength(3);
  });

  test('are refused before anything is sent when there is no folder, or one is too large', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    expect(await codeOf(join(folder.path, 'absent'))).toBe('assets_not_found');
    const large = join(folder.path, 'large.bin');
    await writeFile(large, '');
    // A hole: nothing of it is on the disk.
    await truncate(large, LIMITS.assetBytesMax);
    expect(await codeOf(folder.path)).toBe('collected');
    await truncate(large, LIMITS.assetBytesMax + 1);
    expect(await codeOf(folder.path)).toBe('assets_too_large');
  });

  test('are refused when there are too many', { timeout: 60_000 }, async ({ expect }) => {
    await using folder = await tempFolder();
    for (let group = 0; group < 200; group += 1) {
      const sub = join(folder.path, String(group));
      await mkdir(sub);
      await Promise.all(Array.from({ length: 100 }, (_, index) => writeFile(join(sub, String(index)), '')));
    }
    expect(await pathsOf(folder.path)).toHaveLength(LIMITS.assetsPerVersionMax);
    await writeFile(join(folder.path, 'more'), '');
    expect(await codeOf(folder.path)).toBe('assets_too_large');
  });
});
