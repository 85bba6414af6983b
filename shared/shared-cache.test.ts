import { describe, test } from 'vitest';
import { SharedCache } from './shared-cache.ts';
import { Shares } from './shares.ts';

const cacheOf = (total: number) => {
  const shares = new Shares('gateway.tokens', { total, floor: 0 });
  return { shares, cache: new SharedCache<number>(shares) };
};

describe('SharedCache', () => {
  test('a hostile account drives out its own entries and nobody else’s', ({ expect }) => {
    const { shares, cache } = cacheOf(100);
    for (let index = 0; index < 20; index += 1) cache.set('good', `k${index}`, index);
    for (let index = 0; index < 10_000; index += 1) cache.set('hostile', `k${index}`, index);
    expect(Array.from({ length: 20 }, (_, index) => cache.get('good', `k${index}`))).toEqual(
      Array.from({ length: 20 }, (_, index) => index),
    );
    expect([shares.heldBy('hostile'), cache.get('hostile', 'k9999'), cache.get('hostile', 'k0')]).toEqual([
      40,
      9_999,
      undefined,
    ]);
  });

  test('keeps what was used last', ({ expect }) => {
    const { cache } = cacheOf(4);
    cache.set('a', 'x', 1);
    cache.set('a', 'y', 2);
    expect(cache.get('a', 'x')).toBe(1);
    cache.set('a', 'z', 3);
    expect([cache.get('a', 'x'), cache.get('a', 'y'), cache.get('a', 'z')]).toEqual([1, undefined, 3]);
  });

  test('does not keep what is more than a share, and gives back what it forgets', ({ expect }) => {
    const shares = new Shares('gateway.tokens', { total: 100, floor: 0 });
    const cache = new SharedCache<number>(shares, (value) => value);
    cache.set('a', 'small', 10);
    cache.set('a', 'large', 60);
    expect([cache.get('a', 'small'), cache.get('a', 'large'), shares.used]).toEqual([
      undefined,
      undefined,
      0,
    ]);
    cache.set('a', 'x', 30);
    cache.set('a', 'x', 20);
    expect(cache.size).toBe(20);
    cache.delete('a', 'x');
    expect([shares.used, shares.holders]).toEqual([0, 0]);
  });
});
