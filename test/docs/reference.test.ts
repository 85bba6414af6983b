/** What is generated is current, complete and right: each field has a meaning, each example is accepted. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';
import { z } from 'zod';
import { projectFileSchema } from '#cli/project/schema.ts';
import { repositoryRoot } from '#test/support/paths.ts';
import { projectSchema, rowsBelow } from '../../scripts/reference/config-page.ts';

const LEAST = { name: 'hello', main: 'src/index.ts', compatibilityDate: '2026-11-01' };

describe('generated references', () => {
  test('are current', async ({ expect }) => {
    const run = promisify(execFile)(process.execPath, ['scripts/docs.ts', '--check'], {
      cwd: repositoryRoot,
    });
    await expect(run).resolves.toBeDefined();
  });

  test('give every field of the configuration a meaning', ({ expect }) => {
    const schema = projectSchema();
    const without = rowsBelow(schema, '').filter((row) => (row.schema.description ?? '') === '');
    expect(without.map((row) => row.path)).toEqual([]);
    const described = Object.values(schema.properties ?? {});
    expect(described.length).toBeGreaterThan(10);
  });

  test('have examples of every field, which the command accepts', ({ expect }) => {
    let count = 0;
    const fields = Object.entries(projectSchema().properties ?? {});
    expect(fields.filter(([, { examples = [] }]) => examples.length === 0).map(([name]) => name)).toEqual([]);
    for (const [name, field] of fields)
      for (const example of field.examples ?? []) {
        const parsed = projectFileSchema.safeParse({ ...LEAST, [name]: example });
        expect(parsed.error?.issues ?? [], `${name}: ${JSON.stringify(example)}`).toEqual([]);
        count += 1;
      }
    expect(count).toBeGreaterThan(10);
  });

  test('the JSON schema takes what the command takes, and refuses a misspelt field', async ({ expect }) => {
    const file = JSON.parse(await readFile(join(repositoryRoot, 'isoplane.schema.json'), 'utf8')) as object;
    const schema = z.fromJSONSchema(file as Parameters<typeof z.fromJSONSchema>[0]);
    expect(schema.safeParse(LEAST).success).toBe(true);
    expect(schema.safeParse({ ...LEAST, egres: 'none' }).success).toBe(false);
    expect(schema.safeParse({ ...LEAST, limits: { cpuMs: 'much' } }).success).toBe(false);
    expect(schema.safeParse({ main: 'x' }).success).toBe(false);
  });
});
