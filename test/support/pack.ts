/** The npm package, made of a copy: `npm pack` builds into `dist/`, which two tests at the same time would take from each other. */
import { execFile } from 'node:child_process';
import { cp, readdir, symlink } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { repositoryRoot } from './paths.ts';

const PACK_MS_MAX = 300_000;
const LEFT_OUT = new Set(['node_modules', '.git', '.isoplane', 'dist', 'coverage']);

/** @returns the path of the tarball in `folder`. */
export async function packInto(folder: string): Promise<string> {
  await using copy = await tempFolder();
  const source = join(copy.path, 'isoplane');
  await cp(repositoryRoot, source, {
    recursive: true,
    filter: (path) => !LEFT_OUT.has(relative(repositoryRoot, path)),
  });
  await symlink(join(repositoryRoot, 'node_modules'), join(source, 'node_modules'));
  await promisify(execFile)('npm', ['pack', '--pack-destination', folder], {
    cwd: source,
    timeout: PACK_MS_MAX,
  });
  const made = (await readdir(folder)).find((name) => name.endsWith('.tgz'));
  if (made === undefined) throw new Error('npm pack made no tarball');
  return join(folder, made);
}
