/** Goal: no text makes a search slow. Method: read every regular expression of the sources, and analyse it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { repositoryRoot } from '../support/paths.ts';
import { PLANES, sourceFiles } from './imports.ts';
import { expressionsOf, slowness } from './regular-expressions.ts';

/** Slow for a long text, and why none is long, or why it is not slow after all. */
const BOUNDED: Readonly<Record<string, string>> = {
  [String.raw`gateway/auth/token-places.ts /^bearer +(.*)$/is`]:
    'anything may follow the spaces, so that nothing is tried twice',
  [String.raw`nodes/attachments/egress/addresses.ts /^(?:\[(?<bracketed>[0-9a-f:.]+)\]|(?<plain>[0-9.]+|[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*))(?:\/(?<prefix>\d{1,3})|:(?<port>\d{1,5}))?$/i`]:
    'at most 64 characters, which the operator writes',
};

const READ = [...PLANES, 'shared', 'cli'];
const isRead = (file: string): boolean =>
  READ.includes(file.slice(0, file.indexOf('/'))) && !/\.test\.ts$|\.suite\.ts$|\/testing\//.test(file);

describe('regular expressions', () => {
  test('of all planes take linear time, or it is said why their texts are short', async ({ expect }) => {
    const files = (await sourceFiles(repositoryRoot)).filter(isRead);
    const slow: string[] = [];
    let read = 0;
    for (const file of files)
      for (const expression of expressionsOf(file, await readFile(join(repositoryRoot, file), 'utf8'))) {
        read += 1;
        const why = slowness(expression);
        const key = `${file} /${expression.source}/${expression.flags}`;
        if (why !== undefined) slow.push(Object.hasOwn(BOUNDED, key) ? key : `${key}: ${why}`);
      }
    expect(read, 'expressions that were read').toBeGreaterThan(200);
    expect(slow.toSorted()).toEqual(Object.keys(BOUNDED).toSorted());
  });

  test.for([
    String.raw`/^\s*domain\s*=\s*(.*?)\s*$/i`,
    String.raw`/\s+#.*$/`,
    String.raw`/\n\s+at /`,
    String.raw`/-+$/`,
    String.raw`/^(a+)+$/`,
    String.raw`new RegExp('\\s+#.*$')`,
  ])('%s is found', (code, { expect }) => {
    const [expression, ...more] = expressionsOf('a.ts', `const found = ${code};`);
    expect([expression !== undefined && slowness(expression) !== undefined, more]).toEqual([true, []]);
  });

  test.for([String.raw`/^\s*at /`, String.raw`/\n[ \t]{1,64}at /`, String.raw`/domain\s*=/i`])(
    '%s is none',
    (code, { expect }) => {
      const [expression] = expressionsOf('a.ts', `const found = ${code};`);
      expect(expression === undefined ? 'not read' : slowness(expression)).toBeUndefined();
    },
  );
});
