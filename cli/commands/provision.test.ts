import { describe, test } from 'vitest';
import { parseWindow } from './provision.ts';

describe('parseWindow()', () => {
  test.for([
    ['mon-fri 08:00-18:00=5', [1, 2, 3, 4, 5]],
    ['fri-mon 08:00-18:00=5', [0, 1, 5, 6]],
    ['sat,sun 08:00-18:00=5', [0, 6]],
    ['Daily 08:00-18:00=5', [0, 1, 2, 3, 4, 5, 6]],
    ['wed 08:00-18:00=5', [3]],
  ] as const)('reads %s', ([text, days], { expect }) => {
    expect(parseWindow(text)).toEqual({ days, from: '08:00', to: '18:00', instances: 5 });
  });

  test.for(['', 'mon', 'mon 08:00=5', 'mon-fri-sun 08:00-18:00=5', 'day 08:00-18:00=5', 'mon 08:00-18:00='])(
    'refuses %j',
    (text, { expect }) => {
      expect(() => parseWindow(text)).toThrow(/--window/);
    },
  );
});
