/** docs/programs.md says of each measured program what the measurement expects of it, and counts them right. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readList, tableOf } from '../../scripts/programs/list.ts';

const page = readFileSync(new URL('../../docs/programs.md', import.meta.url), 'utf8');
const list = readList();

test('the page has the table of the list that is measured', () => {
  expect(page).toContain(tableOf(list));
});

test('the page counts what runs and what is refused as the list does', () => {
  const refused = list.programs.filter(({ expect: expected }) => 'refused' in expected).length;
  const all = list.programs.length;
  expect(page.replaceAll('\n', ' ')).toContain(
    `all ${all} came to what the table says: ${all - refused} run, ${refused} are refused by name`,
  );
});

test('each program is listed once, at a commit', () => {
  const places = list.programs.map(({ repository, path, target }) => `${repository} ${path} ${target ?? ''}`);
  expect(new Set(places).size).toBe(places.length);
  expect(places.length).toBeGreaterThanOrEqual(45);
  for (const { repository } of list.programs) expect(list.repositories[repository]).toMatch(/^[0-9a-f]{40}$/);
});
