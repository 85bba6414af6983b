/** Goal: static files change with their deployment, and are for whom the configuration lets in. Real platform, real command. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { tempProject } from '#cli/testing/temp-project.ts';
import { TestPlatform } from '../support/platform.ts';
import { deploySite, getFile, siteConfig, type FileAsked, type Got } from '../support/sites.ts';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await TestPlatform.start();
}, 120_000);
afterAll(() => platform?.[Symbol.asyncDispose]());

const get = (...asked: FileAsked): Promise<Got> => getFile(platform, ...asked);

describe('who may read', () => {
  const READER = {
    'public/index.html': 'home',
    'public/members/list.txt': 'names',
    'public/open/a.txt': 'a',
  };

  test('is decided by path for files as for code', async ({ expect }) => {
    await using folder = await tempProject({
      ...READER,
      'isoplane.jsonc': siteConfig('club', {
        assets: { directory: 'public' },
        authByPath: [{ path: '/members/*', auth: { mode: 'signed' } }],
      }),
    });
    await deploySite(platform, folder);
    expect((await get('club', '/')).status).toBe(200);
    for (const path of ['/members/list.txt', '/members/nothing', '/%6dembers/list.txt']) {
      const answer = await get('club', path);
      expect([path, answer.status, answer.text.includes('names')]).toEqual([path, 401, false]);
    }
    const member = await platform.call('club', { path: '/members/list.txt', sign: true });
    expect(member).toMatchObject({ status: 200, text: 'names' });
    expect(member.headers['cache-control']).not.toContain('public');
  });

  test('is nobody without a key, but at the paths that are open', async ({ expect }) => {
    await using folder = await tempProject({
      ...READER,
      'isoplane.jsonc': siteConfig('vault', {
        auth: { mode: 'signed' },
        assets: { directory: 'public' },
        authByPath: [{ path: '/open/*', auth: { mode: 'public' } }],
      }),
    });
    await deploySite(platform, folder);
    expect((await get('vault', '/')).status).toBe(401);
    // Nor does a refusal tell which files there are.
    expect((await get('vault', '/nowhere')).status).toBe(401);
    expect(await get('vault', '/open/a.txt')).toMatchObject({ status: 200, text: 'a' });
    const owner = await platform.call('vault', { path: '/', sign: true });
    expect(owner).toMatchObject({ status: 200, text: 'home' });
    expect(owner.headers['cache-control']).toBe('private, max-age=0, must-revalidate');
  });
});

describe('a deployment', { timeout: 120_000 }, () => {
  test('uploads what changed, replaces the files at once, and is taken back by a rollback', async ({
    expect,
  }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': siteConfig('changing', { assets: { directory: 'public' } }),
      'public/index.html': 'the first',
      'public/kept.txt': 'the same in both',
      'public/copy.txt': 'the same in both',
      'public/gone.txt': 'of the first alone',
    });
    expect((await deploySite(platform, folder)).assets).toMatchObject({ files: 4, uploaded: { files: 3 } });
    expect((await deploySite(platform, folder)).assets).toMatchObject({
      files: 4,
      uploaded: { files: 0, bytes: 0 },
    });
    await writeFile(join(folder.path, 'public/index.html'), 'the second');
    await rm(join(folder.path, 'public/gone.txt'));
    const second = await deploySite(platform, folder);
    expect(second).toMatchObject({ version: 2, assets: { files: 3, uploaded: { files: 1, bytes: 10 } } });
    const seen = () =>
      Promise.all(
        ['/', '/kept.txt', '/gone.txt'].map(async (path) => {
          const { status, text } = await get('changing', path);
          return status === 200 ? text : status;
        }),
      );
    expect(await seen()).toEqual(['the second', 'the same in both', 404]);
    const rolled = await platform.cli(['rollback', 'changing']);
    expect(rolled.code, rolled.stderr).toBe(0);
    expect(await seen()).toEqual(['the first', 'the same in both', 'of the first alone']);
  });
});
