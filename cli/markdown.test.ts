import { readFile } from 'node:fs/promises';
import { stripVTControlCharacters } from 'node:util';
import { describe, test } from 'vitest';
import { topics } from './commands/docs.ts';
import { forTerminal } from './markdown.ts';

const lines = (text: string, width: number): string[] =>
  stripVTControlCharacters(forTerminal(text, width)).split('\n');

describe('a page of Markdown in a terminal', () => {
  test('wraps prose, lists and quotes, and hangs what follows a marker', ({ expect }) => {
    const text =
      '# A title\n\none two\nthree four five\n- six seven eight\n  nine\n1. ten\n> a b c d e f g h\n> i\n';
    expect(lines(text, 12)).toEqual([
      '# A title',
      '',
      'one two',
      'three four',
      'five',
      '- six seven',
      '  eight nine',
      '1. ten',
      '> a b c d e',
      '> f g h i',
      '',
    ]);
  });

  test('leaves code as it is, and of the fence no more than its language', ({ expect }) => {
    const code = '| no | table |\n- a line that is longer than the terminal is wide';
    expect(lines(`\`\`\`html file=index.html\n${code}\n\`\`\`\nafter`, 12).join('\n')).toBe(
      `\`\`\`html\n${code}\n\`\`\`\nafter`,
    );
  });

  test('lays out tables, and as records where there is no room', ({ expect }) => {
    const text = '| field | meaning |\n| --- | --- |\n| `a\\|b` | what it is |\n\nafter';
    expect(lines(text, 40)).toEqual(['field  meaning', '`a|b`  what it is', '', 'after']);
    expect(
      lines('| field | type | meaning |\n| --- | --- | --- |\n| `abcdefghijklm` | list | |', 16),
    ).toEqual(['field', '`abcdefghijklm`', '  type: list']);
  });

  test(
    'shows each page of the documentation without losing a word',
    { timeout: 20_000 },
    async ({ expect }) => {
      for (const { name, path } of await topics()) {
        const text = await readFile(path, 'utf8');
        let isCode = false;
        for (const line of lines(text, 80)) {
          if (/^ *```/.test(line)) isCode = !isCode;
          // One word may be longer than the line.
          else if (!isCode && line.trim().includes(' '))
            expect([name, line.length > 100 ? line : '']).toEqual([name, '']);
        }
        const wordsOf = (page: string): string[] => page.match(/[\p{L}\d]+/gu) ?? [];
        const shown = new Set(wordsOf(lines(text, 80).join('\n')));
        const lost = wordsOf(text.replaceAll(/^ *```.*$|<!--.*-->/gm, '')).filter((word) => !shown.has(word));
        expect([name, lost]).toEqual([name, []]);
      }
    },
  );
});
