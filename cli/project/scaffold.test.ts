/** The templates type-check with the versions they ask for. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { readProject } from './read-project.ts';
import { scaffold, TEMPLATES, TYPES_VERSION, TYPESCRIPT_VERSION } from './scaffold.ts';

const run = promisify(execFile);
const ROOT = resolve(import.meta.dirname, '../..');

describe('scaffold()', () => {
  test.for(TEMPLATES)(
    '%s reads back without warnings and is clean under tsc',
    async (template, { expect }) => {
      await using folder = await tempFolder();
      for (const [file, content] of await scaffold({ name: 'fn', template, format: 'isoplane' })) {
        await mkdir(dirname(join(folder.path, file)), { recursive: true });
        await writeFile(join(folder.path, file), content);
      }
      // In place of `npm install`: the same versions, as the next test says.
      await symlink(join(ROOT, 'node_modules'), join(folder.path, 'node_modules'));
      expect(await readProject(folder.path)).toMatchObject({ name: 'fn', warnings: [] });
      await run(join(ROOT, 'node_modules', '.bin', 'tsc'), ['-p', folder.path]);
    },
  );

  test('asks for the versions that this repository uses', async ({ expect }) => {
    const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
      devDependencies: Record<string, string>;
    };
    expect(manifest.devDependencies).toMatchObject({
      '@cloudflare/workers-types': TYPES_VERSION,
      typescript: TYPESCRIPT_VERSION,
    });
  });
});
