/** Decisions have a number each, and stand in the list of the architecture. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'vitest';
import { repositoryRoot } from '#test/support/paths.ts';

test('each decision has a number of its own, says it in its title, and is listed', async ({ expect }) => {
  const folder = join(repositoryRoot, 'docs/adr');
  const files = (await readdir(folder)).toSorted();
  const architecture = await readFile(join(repositoryRoot, 'docs/ARCHITECTURE.md'), 'utf8');
  const listed = [...architecture.matchAll(/^\| \[(\d+)\]\(adr\/([^)]+)\) \|/gm)];
  expect(listed.map(([, number, file]) => [Number(number), file])).toEqual(
    files.map((file, index) => [index + 1, file]),
  );
  for (const [index, file] of files.entries()) {
    expect(Number(file.slice(0, 4)), file).toBe(index + 1);
    expect((await readFile(join(folder, file), 'utf8')).startsWith(`# ${index + 1}. `), file).toBe(true);
  }
});
