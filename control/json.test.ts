/** JSON from outside is bounded in depth before it is built. */
import { describe, test } from 'vitest';
import { JSON_DEPTH_MAX, jsonDepth, readJson } from './json.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

describe('JSON from outside', () => {
  test.for([
    ['1', 0],
    ['[]', 1],
    ['{"a":[{}],"b":[]}', 3],
    ['"[[[["', 0],
    [String.raw`"\"[[" `, 0],
    [String.raw`["\\"]`, 1],
  ] as const)('%s is %i levels deep', ([text, depth], { expect }) => {
    expect(jsonDepth(text)).toBe(depth);
  });
  test('is read up to the bound and refused beyond it', ({ expect }) => {
    expect(readJson(bytes(nested(JSON_DEPTH_MAX))).kind).toBe('value');
    expect(readJson(bytes(nested(JSON_DEPTH_MAX + 1)))).toMatchObject({
      kind: 'too_deep',
      reason: 'is nested deeper than 64 levels',
    });
    expect(readJson(bytes(nested(1_000_000))).kind).toBe('too_deep');
  });
  test('says whether it is no UTF-8 or no JSON', ({ expect }) => {
    expect(readJson(new Uint8Array([0xff]))).toMatchObject({ reason: 'is not UTF-8' });
    expect(readJson(bytes('{'))).toMatchObject({ reason: 'is not JSON' });
  });
});
