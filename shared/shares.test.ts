/** The rule of shares, for any sequence of takes and gives by any number of holders: seeded, so repeatable. */
import { describe, test } from 'vitest';
import { SHARED } from './shared-things.ts';
import { Shares } from './shares.ts';
import { seededRandom } from './testing/fakes.ts';

const TOTAL = 1_000;
const SEEDS = 500;
const HOLDERS = ['a', 'b', 'c', 'd', 'e'];
const shares = (floor = 0): Shares => new Shares('gateway.bodies', { total: TOTAL, floor });

/** A pool after up to 200 random moves. */
function played(seed: number, floorMax = 0): { pool: Shares; random: () => number } {
  const random = seededRandom(seed);
  const pool = shares(Math.floor(random() * (floorMax + 1)));
  const moves = Math.floor(random() * 200);
  for (let move = 0; move < moves; move += 1) {
    const holder = HOLDERS[Math.floor(random() * HOLDERS.length)] ?? 'a';
    if (random() < 0.3) pool.give(holder, Math.floor(random() * (pool.heldBy(holder) + 1)));
    else pool.take(holder, Math.floor(random() * 300));
  }
  return { pool, random };
}

describe('Shares', () => {
  test('one holder gets half and no more, however it asks', ({ expect }) => {
    for (let seed = 0; seed < SEEDS; seed += 1) {
      const random = seededRandom(seed);
      const pool = shares();
      for (let ask = 0; ask < 100; ask += 1) pool.take('hostile', Math.floor(random() * TOTAL));
      expect(pool.heldBy('hostile'), `seed ${seed}`).toBeLessThanOrEqual(TOTAL / 2);
    }
    const pool = shares();
    while (pool.take('hostile', 1));
    expect(pool.heldBy('hostile')).toBe(TOTAL / 2);
    expect(pool.full('hostile')).toMatchObject({ code: 'share_full' });
  });

  test('whatever happened before, one that holds nothing finds room beside the others', ({ expect }) => {
    for (let seed = 0; seed < SEEDS; seed += 1) {
      const { pool } = played(seed);
      // Five took their most, one after the other, and gave nothing back: the worst there is.
      expect(pool.take('newcomer', Math.floor(TOTAL / 2 ** HOLDERS.length / 2)), `seed ${seed}`).toBe(true);
    }
  });

  test('what the holders have is what is used, never more than there is, and all comes back', ({
    expect,
  }) => {
    for (let seed = 0; seed < SEEDS; seed += 1) {
      const { pool } = played(seed, 300);
      const held = HOLDERS.reduce((sum, holder) => sum + pool.heldBy(holder), 0);
      expect(held, `seed ${seed}`).toBe(pool.used);
      expect(pool.used, `seed ${seed}`).toBeLessThanOrEqual(TOTAL);
      for (const holder of HOLDERS) pool.give(holder, pool.heldBy(holder));
      expect([pool.used, pool.holders], `seed ${seed}`).toEqual([0, 0]);
    }
  });

  test('roomOf() is exactly what take() lets through', ({ expect }) => {
    for (let seed = 0; seed < SEEDS; seed += 1) {
      const { pool } = played(seed, 300);
      const room = pool.roomOf('a');
      expect(pool.take('a', room + 1), `seed ${seed}`).toBe(false);
      expect(pool.take('a', room), `seed ${seed}`).toBe(true);
    }
  });

  test('the last permit goes to one that holds no more than the floor', ({ expect }) => {
    const permits = new Shares('gateway.requests', { total: 4, floor: 1 });
    expect(['a', 'a', 'a', 'b', 'c', 'd'].map((holder) => permits.take(holder, 1))).toEqual([
      true,
      true,
      false,
      true,
      true,
      false,
    ]);
  });

  test('to give back more than was taken is a fault of ours', ({ expect }) => {
    expect(() => shares().give('a', 1)).toThrow('more than it took');
  });
});

describe('SHARED', () => {
  test.for(Object.entries(SHARED))(
    '%s can be shared: a floor leaves room for others',
    ([, thing], { expect }) => {
      expect(Number.isInteger(thing.total) && thing.total > 1).toBe(true);
      expect(thing.floor).toBeLessThanOrEqual(thing.total / 2);
    },
  );
});
