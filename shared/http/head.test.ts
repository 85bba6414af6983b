/** Which heads are refused, and how the lines of a field become one value. */
import { describe, test } from 'vitest';
import { PlatformError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { fieldOf, readHead } from './head.ts';

function codeOf(lines: Readonly<Record<string, string>> | readonly string[], httpVersion = '1.1'): string {
  const rawHeaders = Array.isArray(lines) ? (lines as readonly string[]) : Object.entries(lines).flat();
  try {
    readHead({ httpVersion, target: '/', rawHeaders });
    return 'read';
  } catch (thrown) {
    return thrown instanceof PlatformError ? thrown.code : String(thrown);
  }
}

describe('readHead()', () => {
  test.for(['a', 'A.b:80', 'a:', '[::1]:8787', '127.0.0.1', 'a.', 'xn--a'])(
    'takes the host %j',
    (Host, { expect }) => {
      expect(codeOf({ Host })).toBe('read');
    },
  );

  test.for([
    'a/b',
    'a@b',
    'a b',
    'a:b',
    'a#b',
    'a?b',
    'a\\b',
    '[a]b',
    'b\u00fc.de',
    'a,b',
    'a:65536',
    '[::1]:99999',
  ])('refuses the host %j', (Host, { expect }) => {
    expect(codeOf({ Host })).toBe(Host === 'a,b' ? 'read' : 'header_invalid');
  });

  test.for([
    ['no host', [], 'header_invalid'],
    ['two hosts', ['Host', 'a', 'host', 'a'], 'header_invalid'],
    ['two authorizations', ['Host', 'a', 'Authorization', 'x', 'authorization', 'x'], 'header_invalid'],
    ['two lengths', ['Host', 'a', 'Content-Length', '1', 'Content-Length', '1'], 'header_invalid'],
    ['both lengths', ['Host', 'a', 'Content-Length', '1', 'Transfer-Encoding', 'chunked'], 'header_invalid'],
    [
      'two codings',
      ['Host', 'a', 'Transfer-Encoding', 'gzip', 'Transfer-Encoding', 'chunked'],
      'header_invalid',
    ],
    [
      'a coding that is not understood',
      ['Host', 'a', 'Transfer-Encoding', 'gzip, chunked'],
      'not_implemented',
    ],
    ['an old one', ['Host', 'a', 'Transfer-Encoding', 'identity, chunked'], 'not_implemented'],
    ['chunked with a parameter', ['Host', 'a', 'Transfer-Encoding', 'chunked;x=y'], 'not_implemented'],
    ['chunked twice', ['Host', 'a', 'Transfer-Encoding', 'chunked, chunked'], 'header_invalid'],
    ['a control character', ['Host', 'a', 'X', 'a\u0001'], 'header_invalid'],
    ['bytes beyond ASCII', ['Host', 'a', 'X', '\u00e6\u0097\u00a5'], 'read'],
    ['chunked in capitals', ['Host', 'a', 'Transfer-Encoding', 'Chunked'], 'read'],
  ] as const)('%s: %s', ([, lines, code], { expect }) => {
    expect(codeOf(lines)).toBe(code);
  });

  test('knows two versions, and no transfer coding in the older one', ({ expect }) => {
    expect(codeOf({ Host: 'a' }, '0.9')).toBe('bad_request');
    expect(['1.2', '2.0', '3.0'].map((version) => codeOf({ Host: 'a' }, version))).toEqual(
      Array.from({ length: 3 }, () => 'version_not_supported'),
    );
    expect([codeOf({}, '1.0'), codeOf({ Host: 'a', 'Transfer-Encoding': 'chunked' }, '1.0')]).toEqual([
      'read',
      'header_invalid',
    ]);
  });

  test('bounds the target and the headers, at the bound and one past it', ({ expect }) => {
    const read = (bytes: number): unknown =>
      readHead({ httpVersion: '1.1', target: `/${'a'.repeat(bytes - 1)}`, rawHeaders: ['Host', 'a'] });
    expect(read(LIMITS.urlBytesMax)).toHaveProperty('path');
    expect(() => read(LIMITS.urlBytesMax + 1)).toThrow(/at most/);
    const fixed = 'Host: a\r\nX: \r\n'.length;
    expect(codeOf({ Host: 'a', X: 'a'.repeat(LIMITS.headerBytesMax - fixed) })).toBe('read');
    expect(codeOf({ Host: 'a', X: 'a'.repeat(LIMITS.headerBytesMax - fixed + 1) })).toBe('headers_too_large');
  });
});

describe('fieldOf()', () => {
  test('joins all lines of a field, and those of Cookie as cookies', ({ expect }) => {
    const raw = ['Content-Type', ' a ', 'cookie', 'x=1', 'content-type', 'b', 'Cookie', 'y=2'];
    expect([fieldOf(raw, 'content-type'), fieldOf(raw, 'cookie'), fieldOf(raw, 'origin')]).toEqual([
      'a, b',
      'x=1; y=2',
      undefined,
    ]);
  });
});
