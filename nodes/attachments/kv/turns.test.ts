import { describe, test } from 'vitest';
import { Turns } from './turns.ts';

describe('Turns', () => {
  test('gives each account its turn, in the order in which each sent', ({ expect }) => {
    const turns = new Turns<string>();
    for (let index = 0; index < 100; index += 1) turns.push('hostile', `h${index}`);
    turns.push('good', 'g0');
    turns.push('good', 'g1');
    let left = 5;
    expect(turns.take(() => (left -= 1) >= 0)).toEqual(['h0', 'g0', 'h1', 'g1', 'h2']);
    expect([turns.length, turns.take(() => true).length, turns.length]).toEqual([97, 97, 0]);
  });

  test('begins the next time with the one that did not fit', ({ expect }) => {
    const turns = new Turns<number>();
    turns.push('a', 1);
    turns.push('b', 9);
    turns.push('a', 2);
    expect(turns.take((size) => size < 5)).toEqual([1]);
    expect(turns.take(() => true)).toEqual([9, 2]);
  });
});
