import { describe, test } from 'vitest';
import { FairCache } from './fair-cache.ts';

describe('FairCache', () => {
  test('takes from whoever holds most, what it used longest ago', ({ expect }) => {
    const evicted: string[] = [];
    const cache = new FairCache<string>({
      bytesMax: 10,
      onEvicted: (owner, key) => evicted.push(owner + key),
    });
    cache.set('good', 'a', 'mine', 3);
    for (let number = 0; number < 1_000; number += 1) cache.set('hostile', String(number), 'x', 3);
    expect(cache.get('good', 'a')).toBe('mine');
    expect(cache.bytes).toBeLessThanOrEqual(10);
    expect(evicted.slice(0, 2)).toEqual(['hostile0', 'hostile1']);
  });

  test('keeps what fills it exactly, and refuses one byte more', ({ expect }) => {
    const cache = new FairCache<string>({ bytesMax: 10 });
    expect([cache.set('a', 'fits', '', 10), cache.set('a', 'large', '', 11)]).toEqual([true, false]);
    expect([cache.has('a', 'fits'), cache.has('a', 'large'), cache.bytes]).toEqual([true, false, 10]);
  });
});
