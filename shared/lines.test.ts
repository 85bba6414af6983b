import { describe, test } from 'vitest';
import { Lines } from './lines.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('Lines', () => {
  test('finds the same lines wherever the bytes are cut, characters of several bytes included', ({
    expect,
  }) => {
    const whole = bytes('{"a":"ä€😀"}\n\nsecond\nthird, without an end');
    for (let size = 1; size <= whole.byteLength; size += 1) {
      const lines = new Lines();
      const found: string[] = [];
      for (let at = 0; at < whole.byteLength; at += size)
        found.push(...lines.push(whole.subarray(at, at + size)));
      expect(found, `pieces of ${size}`).toEqual(['{"a":"ä€😀"}', 'second']);
    }
  });

  test('looks at each byte of a long line once', ({ expect }) => {
    let looked = 0;
    class Counted extends Uint8Array {
      override indexOf(value: number, from = 0): number {
        looked += this.byteLength - from;
        return super.indexOf(value, from);
      }
    }
    const lines = new Lines();
    const chunk = new Counted(65_536).fill(120);
    for (let index = 0; index < 1_000; index += 1) expect([...lines.push(chunk)]).toEqual([]);
    const [line] = [...lines.push(bytes('\n'))];
    expect([line?.length, looked]).toEqual([65_536_000, 65_536_000]);
  });
});
