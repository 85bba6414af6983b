import { describe, test } from 'vitest';
import { whenText } from './output.ts';
import { table, tableWithSpare, tableWithSpareColumns } from './table.ts';

describe('table', () => {
  const rows = [
    [
      'hello',
      'version 1 (90 %), version 2 (10 %)',
      'a note that somebody wrote at length about this very change',
    ],
    ['x', 'version 1', ''],
  ];

  test('wraps prose so that lines fit, and loses none of it', ({ expect }) => {
    const text = table(['FUNCTION', 'SERVES', 'MESSAGE'], rows, 60);
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(60);
    for (const word of rows.flat().join(' ').split(' ')) expect(text).toContain(word);
  });

  test('keeps names whole, whatever the terminal has', ({ expect }) => {
    const name = 'a'.repeat(63);
    expect(table(['FUNCTION', 'B'], [[name, 'b']], 40)).toContain(name);
  });

  test('is one line a row where there is room', ({ expect }) => {
    expect(table(['A', 'B', 'C'], rows, 200).split('\n')).toHaveLength(3);
  });
});

describe('tableWithSpare', () => {
  const rows = [['production-deployer', 'key-0123456789abcdef0123']];
  test('shows the last column where there is room, and leaves it out elsewhere', ({ expect }) => {
    expect(tableWithSpare(['NAME', 'ID'], rows, 60)).toContain('key-0123');
    expect(tableWithSpare(['NAME', 'ID'], rows, 40)).toBe(table(['NAME'], [['production-deployer']], 40));
  });
});

describe('tableWithSpareColumns', () => {
  const head = ['FUNCTION', 'SINCE', 'IN', 'OUT'];
  const rows = [['hello-of-the-shop', '2026-11-28 10:00', '1023.9 KiB', '1.0 KiB']];
  test('wraps before it leaves columns out, and leaves out no more than may go', ({ expect }) => {
    expect(tableWithSpareColumns(head, rows, 2, 60)).toContain('2026-11-28 10:00');
    const wrapped = tableWithSpareColumns(head, rows, 2, 52);
    expect(wrapped).toMatch(/OUT$/m);
    expect(wrapped).not.toContain('2026-11-28 10:00');
    const narrow = tableWithSpareColumns(head, rows, 2, 42);
    expect(narrow).not.toContain('OUT');
    expect(narrow).toMatch(/IN$/m);
    expect(tableWithSpareColumns(head, rows, 2, 1)).toMatch(/^FUNCTION +SINCE$/m);
  });
});

describe('whenText', () => {
  const nowMs = Date.parse('2026-11-28T12:00:00Z');
  test.for([
    ['2026-11-28T11:59:59.500Z', 'now'],
    ['2026-11-28T11:59:00Z', '60 s ago'],
    ['2026-11-28T11:00:00Z', '60 min ago'],
    ['2026-11-28T02:00:00Z', '10 h ago'],
    ['2026-11-25T12:00:00Z', '3 d ago'],
    ['2026-11-01T12:00:00Z', '2026-11-01'],
    ['2026-11-28T12:05:00Z', 'in 5 min'],
    ['2027-03-01T12:00:00Z', '2027-03-01'],
  ] as const)('%s is %s', ([instant, text], { expect }) => {
    expect(whenText(instant, nowMs)).toBe(text);
  });
});
