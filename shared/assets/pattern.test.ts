/** Rules whose authors and callers mean harm: linear time, and the same answers as a regular expression gives. */
import { describe, test } from 'vitest';
import { seededRandom } from '../testing/fakes.ts';
import { compileRule, matchRule, SplitUrl, type RulePattern } from './pattern.ts';

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
      const found = matchRule(compiled(`/:a${text}:b`), new SplitUrl({ hostname: 'x', path }));
      expect([path, text, found?.['a'], found?.['b']]).toEqual([path, text, expected?.[1], expected?.[2]]);
      if (expected !== null) matched += 1;
    }
    expect(matched).toBeGreaterThan(500);
  });

  test('with a text that nearly matches everywhere costs linear time', ({ expect }) => {
    const pattern = compiled(`/:a${'-'.repeat(15_000)}:b`);
    const at = (path: string): SplitUrl => new SplitUrl({ hostname: 'x', path });
    const url = at(`/${'-'.repeat(14_999)}x${'-'.repeat(14_999)}`);
    // A naive search takes a third of a second for one: minutes for these.
    for (let count = 0; count < 300; count += 1)
      if (matchRule(pattern, url) !== undefined) throw new Error('it matched');
    expect(matchRule(pattern, at(`/a${'-'.repeat(15_000)}b`))).toEqual({
      a: 'a',
      b: 'b',
    });
  });

  test('splits a path of thousands of segments once for all rules', ({ expect }) => {
    const url = new SplitUrl({ hostname: 'x.test', path: '/a'.repeat(8_000) });
    const rules = ['/*', '/a/:b/*', '/*/a', 'https://x.test/*', 'https://:sub.test/a/*/:last'].map(compiled);
    // To split it for each takes half a millisecond: minutes.
    for (let count = 0; count < 30_000; count += 1)
      for (const rule of rules) if (matchRule(rule, url) === undefined) throw new Error('no match');
    const rest = (count: number): string => '/a'.repeat(count).slice(1);
    expect(rules.map((rule) => matchRule(rule, url))).toEqual([
      { splat: rest(8_000) },
      { b: 'a', splat: rest(7_998) },
      { splat: rest(7_999) },
      { splat: rest(8_000) },
      { sub: 'x', splat: rest(7_998), last: 'a' },
    ]);
  });

  test('with thousands of placeholders is compiled in linear time', ({ expect }) => {
    const names = Array.from({ length: 20_000 }, (_, index) => `:n${index.toString(36)}`);
    // To compare each with each takes seconds for one.
    for (let count = 0; count < 40; count += 1) compiled(`/${names.join('/')}`);
    expect(compileRule(`/${names.join('/')}/:n0`)).toEqual({
      problem: 'The placeholder :n0 is used twice (a wildcard is called :splat).',
    });
  });
});
