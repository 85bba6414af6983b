/** What is said of lines in `_headers` and `_redirects` that cannot be used, and what becomes of the lines around them. */
import { describe, test } from 'vitest';
import { readHeaderRules, readRedirects } from './rule-files.ts';

describe('_headers', () => {
  const said = (text: string) =>
    readHeaderRules(text).problems.map(({ line, message }) => `${line}: ${message}`);

  test('a word at the beginning of a line is a path without its slash: what is below it goes to no other path', ({
    expect,
  }) => {
    const text = '/a\n  x-a: 1\nno-slash\n  x-b: 2\n  bad line\n/c\n  x-c: 3\n';
    expect(readHeaderRules(text).rules.map(({ path, set }) => [path, set])).toEqual([
      ['/a', [['x-a', '1']]],
      ['/c', [['x-c', '3']]],
    ]);
    expect(said(text)).toEqual([
      expect.stringMatching(
        /^3: A path begins with a slash or with https:\/\/, not as no-slash does .* The headers below it are skipped too\.$/,
      ),
    ]);
    expect(said('no-slash\n  x-b: 2\n')).toEqual([expect.stringMatching(/^1: A path begins with a slash/)]);
  });

  test('a header without its colon is skipped alone', ({ expect }) => {
    const text = '/a\n  nosniff\nx-frame-options DENY\n  x-a: 1\n! x-b\n';
    expect(readHeaderRules(text).rules).toEqual([{ path: '/a', set: [['x-a', '1']], unset: ['x-b'] }]);
    expect(said(text)).toEqual([
      expect.stringMatching(/^2: Expected `name: value`/),
      expect.stringMatching(/^3: Expected `name: value`/),
    ]);
  });

  test('a path that cannot be used says that its headers are skipped with it', ({ expect }) => {
    expect(said('https://a.example:81/x\n  x-a: 1\n')).toEqual([
      '1: Ports are not supported in https://a.example:81/x. The headers below it are skipped too.',
    ]);
  });
});

describe('_redirects', () => {
  const read = (text: string) => readRedirects(text, { htmlHandling: true });

  test.for([
    '/loop /loop',
    '/loop /loop?again=1 301',
    '/loop /loop#top',
    '/blog/* /blog/:splat',
    '/* /:splat',
  ])('%s leads to itself and is skipped', (text, { expect }) => {
    const { rules, problems } = read(text);
    expect(rules).toEqual([]);
    expect(problems).toMatchObject([{ line: 1, overLimit: false }]);
    expect(problems[0]?.message).toMatch(/lead from .* to itself/);
  });

  test.for(['/loop /loop 200', '/loop https://b.example/loop', '/a/:x/:y /a/:y/:x', '/blog/* /news/:splat'])(
    '%s leads elsewhere, or serves the file',
    (text, { expect }) => {
      expect(read(text)).toMatchObject({ problems: [], rules: [{}] });
    },
  );
});
