/** One reading of a request target: what is normalised, what stays, what is refused, and the form of routes. */
import { describe, test } from 'vitest';
import { readTarget, storedHost, storedPath } from './target.ts';

function pathOf(target: string): string {
  const read = readTarget(target);
  return 'problem' in read ? `refused: ${read.problem}` : read.path;
}

describe('readTarget()', () => {
  test.for([
    ['/', '/'],
    ['/a/b.c/~d;e=1/f%20g', '/a/b.c/~d;e=1/f%20g'],
    ['/a/', '/a/'],
    // RFC 3986 section 6.2.2.2: unreserved characters are the same encoded or not.
    ['/%61dmin/%7Ex%2dy', '/admin/~x-y'],
    ['/%c3%bc%2f', '/%C3%BC%2F'],
    // Decoded once: what results is data.
    ['/%2561dmin', '/%2561dmin'],
    // Section 5.2.4, also for dots that were encoded.
    ['/a/./b/../c', '/a/c'],
    ['/../../etc', '/etc'],
    ['/%2e%2E/%2e/etc/..', '/'],
    ['/a/b/.', '/a/b/'],
    ['/.well-known/x', '/.well-known/x'],
    ['/a...b/..c', '/a...b/..c'],
    // WHATWG URL, which functions read it with.
    ['/\\x/admin', '//x/admin'],
    ['/a\\..\\b', '/b'],
    ['/a"<>`{}^|[]', '/a%22%3C%3E%60%7B%7D%5E|[]'],
    ['/\u00c3\u00bc', '/%C3%BC'],
    // Segments keep what they hold.
    ['//x/admin', '//x/admin'],
    ['/a%2Fb%5cc%00', '/a%2Fb%5Cc%00'],
    ['/100%', '/100%'],
    ['http://x.test/a/../b', '/b'],
    ['http://x.test', '/'],
  ] as const)('reads %j as %j', ([target, path], { expect }) => {
    expect(pathOf(target)).toBe(path);
    // What was normalised once stays as it is.
    expect(pathOf(path)).toBe(path);
  });

  test.for(['/admin#x', '/a?b#c', '*', '', 'a', 'ftp://x/y', '/a\tb', '/a\u007fb', '?a'])(
    'refuses %j',
    (target, { expect }) => {
      expect(pathOf(target)).toMatch(/^refused: /);
    },
  );

  test('leaves the query and says when there is a lone question mark', ({ expect }) => {
    expect(readTarget('/a?b=%61%2f&c="<../>\\')).toMatchObject({ query: '?b=%61%2f&c="<../>\\' });
    expect([readTarget('/a?'), readTarget('/a')]).toMatchObject([{ query: '?' }, { query: '' }]);
    expect(readTarget('/a?\u00fc')).toMatchObject({ query: '?%FC', raw: '/a?\u00fc' });
  });

  test('tells the path that a liberal reader would see', ({ expect }) => {
    const laxOf = (target: string): unknown => (readTarget(target) as { lax?: string }).lax;
    expect(['/a/b', '/a%2Fb', '/a%5cb', '//a///b', '/x/..%2fadmin', '/a?x=//'].map(laxOf)).toEqual([
      undefined,
      '/a/b',
      '/a/b',
      '/a/b',
      '/admin',
      undefined,
    ]);
  });

  test('reads plain and odd targets alike', ({ expect }) => {
    // The short way out for plain targets must not read anything otherwise than the long way.
    const characters = ['/', 'a', '.', '%61', '%2F', '~', '?', '&', '-'];
    for (let code = 0; code < 9 ** 4; code += 1) {
      const parts = [0, 1, 2, 3].map((digit) => characters[Math.floor(code / 9 ** digit) % 9]);
      const target = `/${parts.join('')}`;
      const read = readTarget(target);
      if ('problem' in read) throw new Error(`${target}: ${read.problem}`);
      const url = new URL(`http://x${read.path}${read.query}`);
      expect([target, url.pathname, url.href.slice(8)]).toEqual([target, read.path, read.path + read.query]);
    }
  });
});

describe('the path of a route', () => {
  test.for([
    ['/über/*', '/%C3%BCber/*'],
    ['/a b', '/a%20b'],
    ['/a/../b', '/b'],
    ['/%61', '/a'],
    ['/*', '/*'],
    ['/日本', '/%E6%97%A5%E6%9C%AC'],
  ] as const)('%j is stored as %j', ([given, path], { expect }) => {
    expect(storedPath(given)).toEqual({ path });
  });

  test.for(['a', '/a?b', '/a#b', '/a//b', '/a%2Fb', '/a*', '/*/b', '/a/*/*', '/a\n', '/\ud800'])(
    '%j is refused',
    (given, { expect }) => {
      expect(storedPath(given)).toHaveProperty('problem');
    },
  );
});

describe('the host of a route', () => {
  test.for([
    ['WWW.Example.COM.', 'www.example.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['localhost', 'localhost'],
  ] as const)('%j is stored as %j', ([given, host], { expect }) => {
    expect(storedHost(given)).toEqual({ host });
  });

  test.for([
    ['*.example.com', /wildcard/],
    ['example.com:', /without its port: example\.com/],
    ['example.com:8080', /without its port/],
    ['http://example.com', /a name alone/],
    ['example.com/a', /a name alone/],
    ['user@example.com', /a name alone/],
    ['', /not a host name/],
    ['a..b', /not a host name/],
    ['-a.b', /not a host name/],
    [`${'a'.repeat(64)}.b`, /not a host name/],
  ] as const)('%j is refused with the form that works', ([given, reason], { expect }) => {
    expect(storedHost(given)).toHaveProperty('problem', expect.stringMatching(reason));
  });
});
