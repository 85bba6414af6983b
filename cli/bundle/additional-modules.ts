/** Files that are uploaded as modules under their own names: `noBundle` and `findAdditionalModules`. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, extname, join, relative, sep } from 'node:path';
import { moduleNameProblem, type ModuleType } from '#shared/contracts/modules.ts';
import { LIMITS } from '#shared/limits.ts';
import { CliError, type Problem } from '../failure.ts';
import type { CodeProject } from '../project/project.ts';
import { moduleTypeOf, type BundledModule } from './modules.ts';

/** Never code of the function, whatever a rule says. */
const NOT_LOOKED_INTO = new Set(['node_modules', '.git', '.wrangler', '.isoplane']);

export interface AdditionalModules {
  /** Name of the entry module, relative to the base folder. */
  readonly main: string;
  /** The entry file first. */
  readonly modules: readonly BundledModule[];
}

/** The entry file as it is, and every file below the base folder that a rule names. */
export async function additionalModules(project: CodeProject): Promise<AdditionalModules> {
  const base = project.baseDir ?? dirname(project.main);
  const nameOf = (path: string): string => relative(base, path).split(sep).join('/');
  const entry = nameOf(project.main);
  const main = project.noBundle ? entry : entry.replace(/\.[cm]?[jt]sx?$/, '.js');
  const first: BundledModule = {
    name: main,
    type: extname(project.main) === '.cjs' ? 'commonjs' : 'esm',
    content: new Uint8Array(await readFile(project.main)),
  };
  const modules = [first];
  const problems: Problem[] = [];
  let bytes = first.content.byteLength;
  for (const path of await filesBelow(base)) {
    const name = nameOf(path);
    const type = moduleTypeOf(name, project.rules);
    if (type === undefined || path === project.main || name === main) continue;
    const problem = moduleNameProblem(name);
    if (problem !== undefined) problems.push({ at: name, message: problem });
    const content = new Uint8Array(await readFile(path));
    bytes += content.byteLength;
    if (bytes > LIMITS.bundleBytesMax)
      throw new CliError('bundle_too_large', `The modules have more than ${LIMITS.bundleBytesMax} bytes.`, {
        advice: 'Narrow the globs of `rules`, or name a smaller folder as `baseDir`.',
      });
    modules.push({ name, type: type satisfies ModuleType, content });
  }
  const nameProblem = moduleNameProblem(main);
  if (nameProblem !== undefined) problems.unshift({ at: main, message: nameProblem });
  if (problems.length > 0)
    throw new CliError('bundle_failed', 'Some files cannot be modules under their names.', { problems });
  return { main, modules };
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found: string[] = [];
  for (const entry of entries.sort((left, right) => (left.name < right.name ? -1 : 1))) {
    if (NOT_LOOKED_INTO.has(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...(await filesBelow(path)));
    else if (entry.isFile()) found.push(path);
  }
  return found;
}
