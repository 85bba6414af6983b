/** What a function prints looks like nothing but what it printed. */
import { stripVTControlCharacters } from 'node:util';
import { describe, test } from 'vitest';
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { versionIdSchema } from '#shared/ids.ts';
import { entryText } from './logs.ts';

const FORGED = '12:00:00.000 @1 deadbeef error exception TypeError: forged by another request';

function textOf(message: string, stack?: string): string {
  const entry: LogEntry = {
    atMs: Date.UTC(2026, 0, 1, 12),
    versionId: versionIdSchema.parse('default/hello@1'),
    instanceId: 'i',
    kind: stack === undefined ? 'console' : 'exception',
    level: 'log',
    message,
    ...(stack === undefined ? {} : { stack }),
  };
  return stripVTControlCharacters(entryText(entry));
}

describe('a shown log entry', () => {
  test.for(['\n', '\r\n', '\n\n', '\n '])(
    'has one line that begins as entries do, after %j',
    (line, { expect }) => {
      for (const text of [
        textOf(`hello${line}${FORGED}`),
        textOf('hello', `hello${line}${FORGED}${line}    at f (index.ts:1:1)`),
      ]) {
        const [first, ...more] = text.split('\n');
        expect(first).toMatch(/^12:00:00\.000 @1 .*hello/);
        expect(more.join('\n')).toContain(FORGED);
        for (const each of more) expect(each).toMatch(/^(?: {4}|$)/);
      }
    },
  );

  test.for(['\r', '\u2028', '\u2029', '\u0085', '\u001b[2K', '\u202e', '\u2066', '\u200f', '\u061c'])(
    'shows %j as a character that cannot be shown',
    (character, { expect }) => {
      const text = textOf(`hello${character}${FORGED}`, `hello${character}${FORGED}\n    at ${character}f`);
      expect(text).not.toContain(character);
      expect(text).toContain('hello\u{fffd}');
    },
  );

  test('leaves a stack as it is', ({ expect }) => {
    expect(textOf('Error: x', 'Error: x\n    at f (index.ts:1:1)\n    at g (index.ts:2:2)')).toBe(
      '12:00:00.000 @1 log   exception Error: x\n    at f (index.ts:1:1)\n    at g (index.ts:2:2)',
    );
  });
});
