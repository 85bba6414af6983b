import { describe, test } from 'vitest';
import { changed } from './representation.ts';

const cookieOf = (...values: readonly string[]): string | undefined =>
  changed(
    ['content-type', 'text/plain'],
    values.map((value) => ({ set: [['set-cookie', value]], unset: [] })),
  ).at(3);

describe('a cookie of `_headers`', () => {
  test('stays as it is where it is for the host that sets it', ({ expect }) => {
    expect(cookieOf('a=domain=x; Path=/; Secure')).toBe('a=domain=x; Path=/; Secure');
  });

  test.for([
    ['a=b; Domain=localhost; Path=/', 'a=b; Path=/'],
    ['a=b;domain = .localhost', 'a=b'],
    ['a=b; ;Domain=x;Domain=localhost; Secure', 'a=b; ; Secure'],
    ['a=b; do;domain=xmain=localhost', 'a=b; do'],
  ] as const)('reaches no domain that others may share: %j becomes %j', ([given, expected], { expect }) => {
    expect(cookieOf(given)).toBe(expected);
  });

  test('reaches none where several rules add up, either', ({ expect }) => {
    expect(cookieOf('a=b; Secure', 'c=d; Domain=localhost')).toBe('a=b; Secure, c=d');
  });
});
