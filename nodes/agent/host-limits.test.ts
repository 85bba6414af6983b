/** Host limits as values: enough, one too few, unknown. */
import { describe, test } from 'vitest';
import { hostProblems, parseHostLimits } from './host-limits.ts';

describe('hostProblems()', () => {
  test('has nothing to say at the bound, and names what is one below', ({ expect }) => {
    expect(hostProblems({ openFilesMax: 17_000, pidsMax: 8_000 }, 2_000)).toEqual([]);
    expect(hostProblems({ openFilesMax: 16_999, pidsMax: 7_999 }, 2_000)).toEqual([
      'open files: the hard limit is 16999, 2000 instances need 17000',
      'kernel.pid_max is 7999, 2000 instances need 8000',
    ]);
  });

  test('says nothing of what it does not know', ({ expect }) => {
    expect(hostProblems(parseHostLimits('', ''), 2_000)).toEqual([]);
  });
});

describe('parseHostLimits()', () => {
  test('reads the hard limit, and that there is none', ({ expect }) => {
    const line = (hard: string): string =>
      `Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 ${hard}                files\n`;
    expect(parseHostLimits(line('4096'), '32768\n')).toEqual({ openFilesMax: 4_096, pidsMax: 32_768 });
    expect(parseHostLimits(line('unlimited'), '4194304')).toEqual({
      openFilesMax: undefined,
      pidsMax: 4_194_304,
    });
  });
});
