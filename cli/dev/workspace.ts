/** Which projects a session runs, and where it keeps its state. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { STATE_FOLDER } from '#shared/runtime/layout.node.ts';
import { CliError, EXIT } from '../failure.ts';
import { findConfig } from '../project/sources.ts';

export interface Workspace {
  /** Project folders or configuration files, in the order they were named. */
  readonly targets: readonly string[];
  /** Folders of projects: what is added to them later belongs to the session too. */
  readonly parents: readonly string[];
  /** Holds `.isoplane/dev`. */
  readonly root: string;
  /** Answers where no function is named: `http://localhost:PORT/`. */
  readonly main: string | undefined;
}

const PROJECTS_MAX = 50;
const STATE = join(STATE_FOLDER, 'dev');

export const stateFolder = ({ root }: Workspace): string => join(root, STATE);

/**
 * @param named - projects, or one folder whose folders are projects.
 * @throws {CliError} `project_not_found`.
 */
export async function findWorkspace(named: readonly string[], from: string): Promise<Workspace> {
  const paths = (named.length === 0 ? ['.'] : named).map((path) => resolve(from, path));
  const found = await Promise.all(paths.map(projectsOf));
  const targets = [...new Set(found.flatMap((each) => each.targets))];
  const parents = found.flatMap(({ parent }) => parent ?? []);
  if (targets.length > PROJECTS_MAX)
    throw new CliError('config_invalid', `dev runs at most ${PROJECTS_MAX} functions at once.`, {
      advice: 'Name those that you work on: `isoplane dev ONE TWO`.',
      exitCode: EXIT.usage,
    });
  const [first] = paths;
  const single = paths.length === 1 && first !== undefined ? await folderOf(first) : undefined;
  // A folder of projects names none of them before the others.
  const main = named.length > 1 || targets.length === 1 ? targets[0] : undefined;
  return { targets, parents, root: single ?? resolve(from), main };
}

interface Found {
  readonly targets: readonly string[];
  /** The folder that they lie in, when it was named in their place. */
  readonly parent?: string;
}

async function projectsOf(path: string): Promise<Found> {
  try {
    await findConfig(path);
    return { targets: [path] };
  } catch (thrown) {
    const targets = await projectsIn(path);
    if (targets.length === 0) throw thrown;
    return { targets, parent: path };
  }
}

/** Folders of a folder that are projects. */
export async function projectsIn(parent: string): Promise<readonly string[]> {
  const projects = await Promise.all(
    (await foldersIn(parent)).map((child) =>
      findConfig(child).then(
        () => [child],
        () => [],
      ),
    ),
  );
  return projects.flat();
}

async function foldersIn(path: string): Promise<readonly string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== 'node_modules')
    .map((entry) => join(path, entry.name))
    .toSorted();
}

async function folderOf(path: string): Promise<string> {
  return (await stat(path)).isDirectory() ? path : dirname(path);
}

/** What a project is called while its configuration cannot be read. */
export const labelOf = (target: string): string =>
  basename(target).includes('.') ? basename(dirname(target)) : basename(target);
