/** docs/OPERATIONS.md lists every metric as the table in the code has it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'vitest';
import { METRICS, PLANES, rowOf, type MetricName } from '#shared/metrics/table.ts';
import { repositoryRoot } from '#test/support/paths.ts';

test('docs/OPERATIONS.md lists the metrics that planes give, and no others', async ({ expect }) => {
  const page = await readFile(join(repositoryRoot, 'docs/OPERATIONS.md'), 'utf8');
  const listed = page.split('\n').filter((line) => line.startsWith('| `isoplane_'));
  const rows = (Object.keys(METRICS) as MetricName[]).map((name) => {
    const { type, planes, label, help } = rowOf(name);
    const where = planes.length === PLANES.length ? 'all' : planes.join(', ');
    return `| \`${name}\` | ${type} | ${where} | ${label === undefined ? '' : `\`${label}\``} | ${help} |`;
  });
  expect(listed).toEqual(rows);
});
