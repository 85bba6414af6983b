import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { seenByGit } from '../testing/git.node.ts';
import { tempFolder } from '../testing/temp.node.ts';
import { ensureStateFolder } from './layout.node.ts';

describe('ensureStateFolder()', () => {
  test('makes a folder that is for this user and that git does not see, whatever its name', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    for (const name of ['.isoplane', 'data', 'deep/below/data']) {
      const path = join(folder.path, name);
      await ensureStateFolder(path);
      await writeFile(join(path, 'credentials.json'), '{}');
      expect((await stat(path)).mode & 0o777).toBe(0o700);
    }
    expect(await seenByGit(folder.path)).toEqual([]);
  });

  test('mends folders that were made without, also where a full disk had left the file empty', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, '.isoplane');
    await mkdir(join(path, 'keys'), { recursive: true, mode: 0o700 });
    await writeFile(join(path, 'keys', 'kek'), 'x');
    expect(await seenByGit(folder.path)).toEqual(['.isoplane/keys/kek']);
    await writeFile(join(path, '.gitignore'), '');
    await ensureStateFolder(path);
    expect(await seenByGit(folder.path)).toEqual([]);
  });

  test('hides nothing of a folder that holds other things, and keeps what its owner wrote', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const project = join(folder.path, 'project');
    await mkdir(project, { mode: 0o700 });
    await writeFile(join(project, 'index.ts'), '');
    await ensureStateFolder(project);
    expect(await seenByGit(folder.path)).toEqual(['project/index.ts']);
    const own = join(folder.path, '.isoplane', '.gitignore');
    await ensureStateFolder(join(folder.path, '.isoplane'));
    await writeFile(own, 'keys/\n');
    await ensureStateFolder(join(folder.path, '.isoplane'));
    expect(await readFile(own, 'utf8')).toBe('keys/\n');
  });
});
