/** What stands in for a file that is not there, at a cost that callers cannot raise. */
import { createHash } from 'node:crypto';
import { describe, test } from 'vitest';
import type { AssetFile } from '../contracts/assets.ts';
import { digestSchema } from '../ids.ts';
import { findFile } from './html.ts';
import { encodeManifest, Manifest } from './manifest.ts';

const HANDLING = { htmlHandling: 'auto-trailing-slash', notFoundHandling: '404-page' } as const;

function siteOf(...paths: readonly string[]) {
  const files = paths.map((path): AssetFile => ({
    path,
    bytes: 1,
    digest: digestSchema.parse(createHash('sha256').update(path).digest('hex')),
  }));
  const manifest = Manifest.read(encodeManifest(files, { headers: [], redirects: [] }));
  const asked: string[] = [];
  const find = (path: string): AssetFile | undefined => {
    asked.push(path);
    return manifest.find(path);
  };
  const seen = (path: string): string | undefined => {
    const found = findFile({ find, foldersWith404: manifest.foldersWith('404.html') }, HANDLING, path);
    return found?.kind === 'file' ? found.file.path : found?.to;
  };
  return { asked, seen };
}

describe('the page for what is not found', () => {
  test('is that of the nearest folder', ({ expect }) => {
    const { seen } = siteOf('/404.html', '/a/404.html', '/a/b/c/404.html', '/ab/x404.html', '/ü/404.html');
    expect(
      ['/x', '/', '/a/x', '/a/b/x', '/a/b/c/d/e/x', '/ab/x', '/ü/x', `/ü${'/x'.repeat(700)}`].map(seen),
    ).toEqual([
      '/404.html',
      '/404.html',
      '/a/404.html',
      '/a/404.html',
      '/a/b/c/404.html',
      '/404.html',
      '/ü/404.html',
      '/ü/404.html',
    ]);
    expect(siteOf('/a/404.html').seen('/b/x')).toBeUndefined();
  });

  test('is looked for once, however many folders a path has', ({ expect }) => {
    const { asked, seen } = siteOf('/404.html', '/a/b.html');
    expect(seen('/a'.repeat(400))).toBe('/404.html');
    expect(asked.length).toBeLessThan(10);
  });
});
