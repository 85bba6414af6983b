/** Nonces against a model, at the bounds of account and key, and through time. */
import { describe, test } from 'vitest';
import { FakeClock, seededRandom } from '../testing/fakes.ts';
import { Shares } from '../shares.ts';
import { HashSet, seededHash } from './nonce-hash.ts';
import { NonceCache, type NonceHolder } from './replay.ts';

const TTL_MS = 60_000;
const A: NonceHolder = { account: 'a', keyId: 'a1' };

function setUp(total = 1_000) {
  const clock = new FakeClock();
  const nonces = new NonceCache({ clock, shares: new Shares('gateway.nonces', { total }) });
  const claim = (holder: NonceHolder, nonce: string): string =>
    nonces.claim(holder, nonce, clock.wallMs() + TTL_MS).kind;
  return { clock, nonces, claim };
}

/** Claims new nonces until one is refused. @returns how many were fresh. */
function fill(
  claim: (holder: NonceHolder, nonce: string) => string,
  holder: NonceHolder,
  most = 100_000,
): number {
  let fresh = 0;
  while (fresh < most && claim(holder, `n${fresh}`) === 'fresh') fresh += 1;
  return fresh;
}

describe('NonceCache', () => {
  test('knows each nonce of each key again, and no other', ({ expect }) => {
    const { claim } = setUp(100_000);
    const other = { account: 'a', keyId: 'a2' };
    for (let index = 0; index < 5_000; index += 1) {
      expect(claim(A, `nonce-${index}`)).toBe('fresh');
      expect(claim(other, `nonce-${index}`)).toBe('fresh');
    }
    for (let index = 0; index < 5_000; index += 1) expect(claim(A, `nonce-${index}`)).toBe('replayed');
  });

  test('a key that fills its share leaves room for the other keys of its account, and for other accounts', ({
    expect,
  }) => {
    const { claim } = setUp();
    expect(fill(claim, A)).toBe(250);
    expect(claim({ account: 'a', keyId: 'a2' }, 'x')).toBe('fresh');
    expect(claim({ account: 'b', keyId: 'b1' }, 'x')).toBe('fresh');
  });

  test('an account with ever new keys holds half', ({ expect }) => {
    const { nonces, claim } = setUp();
    for (let key = 0; key < 2_000; key += 1) claim({ account: 'a', keyId: `key-${key}` }, 'x');
    expect(nonces.size).toBe(500);
    expect(fill(claim, { account: 'b', keyId: 'b1' }, 50)).toBe(50);
  });

  test('what was released may be claimed again, once, and counts no more', ({ expect }) => {
    const { clock, nonces, claim } = setUp();
    const claimed = nonces.claim(A, 'x', clock.wallMs() + TTL_MS);
    expect(claim(A, 'x')).toBe('replayed');
    if (claimed.kind === 'fresh') {
      claimed.release();
      claimed.release();
    }
    expect([nonces.size, claim(A, 'x'), claim(A, 'x')]).toEqual([0, 'fresh', 'replayed']);
  });

  test('gives everything back when the signatures are over, also what an account filled', ({ expect }) => {
    const { clock, nonces, claim } = setUp();
    const most = fill(claim, A);
    clock.advance(TTL_MS);
    expect(claim(A, 'n1')).toBe('replayed');
    clock.advance(2 * TTL_MS);
    expect(claim(A, 'n1')).toBe('fresh');
    expect(nonces.size).toBe(1);
    expect(fill(claim, { ...A, keyId: 'a3' })).toBeGreaterThanOrEqual(most - 1);
  });
});

describe('HashSet', () => {
  test('agrees with a Set over random adds and deletes', ({ expect }) => {
    const hash = seededHash(new Uint32Array([1, 2]));
    const random = seededRandom(7);
    const set = new HashSet();
    const model = new Set<string>();
    for (let step = 0; step < 50_000; step += 1) {
      const text = String(Math.floor(random() * 3_000));
      const one = hash('k', text);
      expect(set.has(one)).toBe(model.has(text));
      if (random() < 0.5) expect(set.delete(one)).toBe(model.delete(text));
      else if (!model.has(text)) {
        set.add(one);
        model.add(text);
      }
    }
    expect(set.size).toBe(model.size);
  });

  test('hashes of close texts differ, and where one ends matters', ({ expect }) => {
    const hash = seededHash(new Uint32Array([1, 2]));
    const seen = new Set<string>();
    for (let index = 0; index < 200_000; index += 1) {
      const { high, low } = hash('key', index.toString(36));
      seen.add(`${high} ${low}`);
    }
    expect(seen.size).toBe(200_000);
    expect(hash('ab', 'c')).not.toEqual(hash('a', 'bc'));
  });
});
