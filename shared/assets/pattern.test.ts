/** Rules whose authors and callers mean harm: linear time, and the same answers as a regular expression gives. */
import { describe, test } from 'vitest';
import { seededRandom } from '../testing/fakes.ts';
import { compileRule, matchRule, type RulePattern } from './pattern.ts';

function compiled(rule: string): RulePattern {
  const pattern = compileRule(rule);
  if ('problem' in pattern) throw new Error(pattern.problem);
  return pattern;
}

describe('a rule for paths', () => {
  test('finds long texts between placeholders as a regular expression does', ({ expect }) => {
    const random = seededRandom(1);
    const word = (length: number): string =>
      Array.from({ length }, () => (random() < 0.8 ? '-' : '~')).join('');
    let matched = 0;
    for (let count = 0; count < 2_000; count += 1) {
      const text = word(17 + Math.floor(random() * 6));
      const path = `/${word(10)}${random() < 0.7 ? text : ''}${word(8)}${random() < 0.7 ? text : ''}${word(5)}`;
      const expected = new RegExp(`^/([^/]+)${text}([^/]+)$`).exec(path);
      const found = matchRule(compiled(`/:a${text}:b`), { hostname: 'x', path });
      expect([path, text, found?.['a'], found?.['b']]).toEqual([path, text, expected?.[1], expected?.[2]]);
      if (expected !== null) matched += 1;
    }
    expect(matched).toBeGreaterThan(500);
  });

  test('with a text that nearly matches everywhere costs linear time', ({ expect }) => {
    const pattern = compiled(`/:a${'-'.repeat(1_500)}:b`);
    const path = `/${'-'.repeat(1_499)}x${'-'.repeat(1_499)}`;
    // A naive search takes 3 ms for one: fifteen seconds for these.
    for (let count = 0; count < 5_000; count += 1)
      if (matchRule(pattern, { hostname: 'x', path }) !== undefined) throw new Error('it matched');
    expect(matchRule(pattern, { hostname: 'x', path: `/a${'-'.repeat(1_500)}b` })).toEqual({
      a: 'a',
      b: 'b',
    });
  });

  test('with hundreds of placeholders is compiled in linear time', ({ expect }) => {
    const names = Array.from({ length: 480 }, (_, index) => `:n${index.toString(36)}`);
    // To compare each with each takes 4 ms for one: twelve seconds for these.
    for (let count = 0; count < 3_000; count += 1) compiled(`/${names.join('/')}`);
    expect(compileRule(`/${names.join('/')}/:n0`)).toEqual({
      problem: 'The placeholder :n0 is used twice (a wildcard is called :splat).',
    });
  });
});
