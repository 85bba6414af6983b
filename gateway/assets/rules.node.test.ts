/** Rules by path hold for a file wherever it is shown: under its own name, without `.html`, and by a rewrite. */
import { describe, test } from 'vitest';
import { startHarness } from '../testing/harness.node.ts';
import { siteItems } from '../testing/site.ts';

const FILES = {
  '/index.html': 'home',
  '/open.html': 'open',
  '/admin.html': 'SECRET',
  '/private/a.txt': 'SECRET',
  '/private/index.html': 'SECRET',
  '/@team/list.html': 'SECRET',
  '/ünder/a.txt': 'SECRET',
  '/docs/404.html': 'SECRET',
  '/404.html': 'nothing here',
  '/_redirects': '/rw/* /private/:splat 200\n/short /admin 200\n/ok /open 200\n',
};
const signed = { mode: 'signed' } as const;
const GUARDED = ['/admin.html', '/private/*', '/@team/*', '/%C3%BCnder/*', '/docs/404.html'];

describe('a file that a rule by path guards', () => {
  test.for([
    ['a function that is public', { auth: { mode: 'public' } as const }, {}],
    ['assets that are public', { auth: signed }, { auth: 'public' as const }],
  ] as const)('is shown to nobody without a key, by any path: %s', async ([, parts, config], { expect }) => {
    const site = siteItems('site', {
      files: FILES,
      alone: true,
      config: { notFoundHandling: '404-page', ...config },
      ...parts,
      authByPath: GUARDED.map((path) => ({ path, auth: signed })),
    });
    await using gateway = await startHarness(site.items, { assets: site.blobs });
    const statusOf = async (path: string): Promise<number> => {
      const answer = await gateway.request('site.localhost', { path });
      expect([path, (await answer.text()).includes('SECRET')]).toEqual([path, false]);
      return answer.status;
    };
    for (const path of [
      '/admin',
      '/admin.html',
      '/private/',
      '/private/a.txt',
      '/rw/a.txt',
      '/rw/',
      '/short',
      '/%40team/list',
      '/%C3%BCnder/a.txt',
      '/docs/nothing',
    ])
      expect([path, await statusOf(path)]).toEqual([path, 401]);
    // What no rule names stays as open as its path.
    for (const [path, status] of [
      ['/', 200],
      ['/open', 200],
      ['/ok', 200],
      ['/nothing', 404],
    ] as const)
      expect([path, await statusOf(path)]).toEqual([path, status]);
  });

  test('says so as a call does, and is kept by no cache', async ({ expect }) => {
    const site = siteItems('site', {
      files: FILES,
      alone: true,
      auth: { mode: 'public' },
      authByPath: [
        { path: '/admin.html', auth: { mode: 'jwt', audience: 'x', jwks: { keys: [] } } },
        { path: '/private/*', auth: signed },
      ],
    });
    await using gateway = await startHarness(site.items, { assets: site.blobs });
    const admin = await gateway.request('site.localhost', { path: '/admin' });
    expect([admin.status, admin.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="isoplane"']);
    expect(await admin.text()).toContain('"code":"token_missing"');
    const hidden = await gateway.request('site.localhost', { path: '/rw/a.txt' });
    expect(hidden.headers.get('www-authenticate')).toBe('Signature realm="isoplane"');
    expect(hidden.headers.get('cache-control')).not.toContain('public');
  });
});
