/** What a node that starts anew may come down to. */
import { test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { keepLevel } from './kept-level.ts';

test('a node never contains less than before while the platform runs', async ({ expect }) => {
  await using folder = await tempFolder();
  const keep = (level: 'full' | 'partial' | 'none'): Promise<string> =>
    keepLevel(folder.path, { level, missing: ['bwrap: no memory'] }).then(
      () => 'starts',
      (error: Error) => error.message,
    );
  expect(await keep('none')).toBe('starts');
  expect(await keep('partial')).toBe('starts');
  expect(await keep('none')).toContain('would contain less now (none): bwrap: no memory');
  expect(await keep('full')).toBe('starts');
  expect(await keep('partial')).toContain('contained code (full) before');
  expect(await keep('full')).toBe('starts');
});
