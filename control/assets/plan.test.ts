/** What a version may have of static assets: each bound, at it and one beyond. */
import { createHash } from 'node:crypto';
import { describe, test } from 'vitest';
import { Manifest } from '#shared/assets/manifest.ts';
import { assetsConfigSchema, type AssetFile, type AssetsUpload } from '#shared/contracts/assets.ts';
import { PlatformError } from '#shared/errors.ts';
import { digestSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { planAssets, type PlannedAssets } from './plan.ts';

const CONFIG = assetsConfigSchema.parse({});
const file = (path: string, bytes = 1): AssetFile => ({
  path,
  bytes,
  digest: digestSchema.parse(createHash('sha256').update(path).digest('hex')),
});
const lines = (count: number, line: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => line(index)).join('\n');

function planned(upload: Partial<AssetsUpload>): PlannedAssets | string {
  try {
    return planAssets({ files: [], ...upload }, CONFIG);
  } catch (thrown) {
    if (!(thrown instanceof PlatformError)) throw thrown;
    return `${thrown.code} ${thrown.publicDetail}`;
  }
}

describe('the assets of a version', () => {
  test('are at most so many files', ({ expect }) => {
    const files = Array.from({ length: LIMITS.assetsPerVersionMax }, (_, index) => file(`/f/${index}`));
    const most = planned({ files });
    if (typeof most === 'string') throw new Error(most);
    expect(most.files).toBe(20_000);
    const manifest = Manifest.read(most.manifest);
    for (const path of ['/f/0', '/f/9999', '/f/19999'])
      expect(manifest.find(path)).toMatchObject({ path, bytes: 1 });
    expect(manifest.find('/f/20000')).toBeUndefined();
    expect(planned({ files: [...files, file('/more')] })).toMatch(
      /^assets_too_large .*20001 files, at most 20000/,
    );
  });

  test('have a manifest that is bounded', ({ expect }) => {
    // Paths as long as they may be: the number of files alone would allow far more.
    const files = (count: number): AssetFile[] =>
      Array.from({ length: count }, (_, index) => file(`/${index}/`.padEnd(LIMITS.assetPathBytesMax, 'p')));
    const manifestBytes = (count: number): number => {
      const plan = planned({ files: files(count) });
      return typeof plan === 'string' ? Number.POSITIVE_INFINITY : plan.manifest.length;
    };
    const each = manifestBytes(2) - manifestBytes(1);
    const count = Math.floor((LIMITS.assetManifestBytesMax - manifestBytes(0)) / each);
    expect(manifestBytes(count)).toBeLessThanOrEqual(LIMITS.assetManifestBytesMax);
    expect(planned({ files: files(count + 1) })).toMatch(/^assets_too_large /);
  });

  test('are files of at most 25 MiB, and so much together', ({ expect }) => {
    const large = LIMITS.assetBytesMax;
    expect(large).toBe(25 * 1024 * 1024);
    expect(planned({ files: [file('/a', large)] })).toMatchObject({ bytes: large });
    expect(planned({ files: [file('/a', large + 1)] })).toMatch(/^assets_too_large \/a: 26214401 bytes/);
    const count = Math.floor(LIMITS.assetsBytesMax / large);
    const files = Array.from({ length: count }, (_, index) => file(`/${index}`, large));
    const rest = LIMITS.assetsBytesMax - count * large;
    expect(planned({ files: [...files, file('/rest', rest)] })).toMatchObject({
      bytes: LIMITS.assetsBytesMax,
    });
    expect(planned({ files: [...files, file('/rest', rest + 1)] })).toMatch(/^assets_too_large .*together/);
  });

  test('have paths that a URL can have, each once, and no longer than a URL is read', ({ expect }) => {
    const longest = `/${'a'.repeat(LIMITS.assetPathBytesMax - 1)}`;
    expect(planned({ files: [file(longest)] })).toMatchObject({ files: 1 });
    for (const path of [`${longest}a`, 'relative', '/a/../b', '/a//b', '/a\tb', '/a\nb', '/a\0b'])
      expect([path.slice(0, 20), planned({ files: [file(path)] })]).toEqual([
        path.slice(0, 20),
        expect.stringMatching(/^config_invalid /),
      ]);
    expect(planned({ files: [file('/a'), file('/a')] })).toMatch(/^config_invalid .*twice/);
  });

  test('have so many headers in all their rules', ({ expect }) => {
    const headers = (count: number): string => `/*\n${lines(count, (index) => `x-${index}: y`)}`;
    const most = planned({ headers: headers(LIMITS.assetHeadersMax) });
    if (typeof most === 'string') throw new Error(most);
    expect(Manifest.read(most.manifest).rules.headers[0]?.set.length).toBe(2_000);
    expect(planned({ headers: headers(LIMITS.assetHeadersMax + 1) })).toMatch(
      /^assets_too_large _headers:2002: At most 2000 headers/,
    );
  });

  test('have lines of spaces read in one pass', ({ expect }) => {
    const line = `/a${' '.repeat(LIMITS.assetRuleLineBytesMax - 4)}/b`;
    const all = Math.floor(LIMITS.assetRuleFileBytesMax / (line.length + 1));
    // A search for a comment that goes back for each space takes 13 ms for one: minutes for these.
    for (let count = 0; count < 20; count += 1) {
      const plan = planned({ redirects: lines(all, () => line) });
      if (typeof plan === 'string') throw new Error(plan);
      expect(Manifest.read(plan.manifest).rules.redirects).toEqual([{ from: '/a', to: '/b', status: 302 }]);
    }
  });

  test.for([
    ['/a /b # /c', '/b'],
    ['/a /b#c', '/b#c'],
    ['/a /b#c\t#d #e', '/b#c'],
    ['/a /b#', '/b'],
  ] as const)('have in %j a redirect to %s', ([redirects, to], { expect }) => {
    const plan = planned({ redirects });
    if (typeof plan === 'string') throw new Error(plan);
    expect(Manifest.read(plan.manifest).rules.redirects).toEqual([{ from: '/a', to, status: 302 }]);
  });

  test('have 2,000 redirects, 100 with a wildcard, 100 header rules', ({ expect }) => {
    const fixed = (count: number): string => lines(count, (index) => `/from/${index} /to/${index} 301`);
    const dynamic = (count: number): string => lines(count, (index) => `/d/${index}/* /to/:splat`);
    const headers = (count: number): string => lines(count, (index) => `/h/${index}\n  x-a: ${index}`);
    const { assetStaticRedirectsMax, assetDynamicRedirectsMax, assetHeaderRulesMax } = LIMITS;
    expect([assetStaticRedirectsMax, assetDynamicRedirectsMax, assetHeaderRulesMax]).toEqual([
      2_000, 100, 100,
    ]);
    const most = planned({
      redirects: `${fixed(LIMITS.assetStaticRedirectsMax)}\n${dynamic(LIMITS.assetDynamicRedirectsMax)}`,
      headers: headers(LIMITS.assetHeaderRulesMax),
    });
    if (typeof most === 'string') throw new Error(most);
    const { rules } = Manifest.read(most.manifest);
    expect([rules.redirects.length, rules.headers.length]).toEqual([2_100, 100]);
    expect(planned({ redirects: fixed(2_001) })).toMatch(/^assets_too_large _redirects:2001/);
    expect(planned({ redirects: dynamic(101) })).toMatch(/^assets_too_large _redirects:101/);
    expect(planned({ headers: headers(101) })).toMatch(/^assets_too_large _headers:201/);
    const long = (length: number): string => `/a /${'b'.repeat(length - '/a /'.length)}`;
    expect(planned({ redirects: long(LIMITS.assetRuleLineBytesMax) })).toMatchObject({ files: 0 });
    expect(planned({ redirects: long(LIMITS.assetRuleLineBytesMax + 1) })).toMatch(
      /^assets_too_large _redirects:1/,
    );
    const comments = (bytes: number): string => `#${'c'.repeat(99)}\n`.repeat(bytes / 101);
    expect(planned({ headers: comments(LIMITS.assetRuleFileBytesMax - 101) })).toMatchObject({ files: 0 });
    expect(planned({ headers: comments(LIMITS.assetRuleFileBytesMax + 101) })).toMatch(
      /^assets_too_large _headers/,
    );
  });

  test('are told with a slip of the pen in their rules: the rule is left out, the rest is served', ({
    expect,
  }) => {
    const made = planned({
      redirects: '/only-one-word\n/a /b\n/c /d 999',
      headers: 'x-first: 1\n/a\n  x-b: 2',
    });
    if (typeof made === 'string') throw new Error(made);
    const { rules } = Manifest.read(made.manifest);
    expect(rules.redirects).toEqual([{ from: '/a', to: '/b', status: 302 }]);
    expect(rules.headers).toEqual([{ path: '/a', set: [['x-b', '2']], unset: [] }]);
  });
});
