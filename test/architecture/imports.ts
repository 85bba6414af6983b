/**
 * Which module imports which, read from the sources. Type imports, re-exports, dynamic imports and
 * `import('…')` types count: knowing another plane's types is knowing the plane.
 */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';

export const PLANES = ['gateway', 'scheduler', 'nodes', 'control'] as const;
/** Folders that are read, in order of rank: nobody imports from a higher one. */
const RANKS: Readonly<Record<string, number>> = {
  shared: 0,
  gateway: 1,
  scheduler: 1,
  nodes: 1,
  control: 1,
  cli: 2,
  scripts: 3,
  test: 3,
};

export interface ImportEdge {
  readonly from: string;
  /** As written. */
  readonly specifier: string;
  /** Path from the root of the repository; undefined for packages and built-in modules. */
  readonly to: string | undefined;
}

const COMMENT = /\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/[^\n]*/g;
const SPECIFIER = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*|\bnew URL\(\s*)(['"])([^'"\n]+)\1/g;

export function importsOf(path: string, source: string): ImportEdge[] {
  const edges: ImportEdge[] = [];
  for (const match of source.replaceAll(COMMENT, '').matchAll(SPECIFIER)) {
    const specifier = match[2] ?? '';
    edges.push({ from: path, specifier, to: resolveInside(path, specifier) });
  }
  return edges;
}

function resolveInside(from: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return normalize(join(dirname(from), specifier));
  if (specifier.startsWith('#')) return specifier.slice(1);
  return undefined;
}

const topOf = (path: string): string => path.split('/')[0] ?? '';
/** Tests, what they share, and their worlds: none of it runs in production. */
export const isTest = (path: string): boolean =>
  /\.(?:test|suite|fixture)\.ts$/.test(path) || /(?:^|\/)testing\//.test(path) || topOf(path) === 'test';

/** Sentences that say what is wrong; empty when the borders hold. */
export function borderProblems(edges: readonly ImportEdge[]): string[] {
  const problems: string[] = [];
  for (const { from, specifier, to } of edges) {
    if (to === undefined) continue;
    const here = topOf(from);
    const there = topOf(to);
    const say = (law: string): void => void problems.push(`${from} imports ${specifier}: ${law}`);
    if (isTest(to) && !isTest(from)) say('only tests use test code');
    if (here === there) continue;
    if (to.startsWith('..')) say('leaves the repository');
    else if (specifier.startsWith('.') && (RANKS[here] ?? 0) < 2) say('a relative path leaves its folder');
    else if (!(there in RANKS)) continue;
    else if ((RANKS[there] ?? 0) > (RANKS[here] ?? 0)) say(`${here} must not know ${there}`);
    else if (RANKS[here] === RANKS[there] && RANKS[here] === 1) say('planes meet in shared/ only');
  }
  return problems;
}

/** The entry of the gateway's process; the other one, worker.ts, runs without Node. */
const NODE_ENTRY = 'gateway/main.ts';

/**
 * Sentences about files without `.node` in their name that need Node none the less: in gateway/ and shared/, which
 * also run where there is none. Elsewhere all is Node.
 */
export function suffixProblems(edges: readonly ImportEdge[]): string[] {
  return edges
    .filter(
      ({ from }) =>
        /^(?:gateway|shared)\//.test(from) &&
        !from.endsWith('.node.ts') &&
        !isTest(from) &&
        from !== NODE_ENTRY,
    )
    .filter(({ specifier, to }) => specifier.startsWith('node:') || to?.endsWith('.node.ts') === true)
    .map(({ from, specifier }) => `${from} imports ${specifier}: its name must end in .node.ts`);
}

/** Folders that know nothing of the rest of their plane: rows of the database, decisions of the scheduler. */
const GROUND = ['control/db/', 'scheduler/core/'];

/** Sentences about files on the ground of a plane that import what stands above. */
export function groundProblems(edges: readonly ImportEdge[]): string[] {
  return GROUND.flatMap((folder) =>
    edges
      .filter(({ from, to }) => from.startsWith(folder) && !isTest(from) && to !== undefined)
      .filter(({ to = '' }) => !to.startsWith(folder) && topOf(to) === topOf(folder))
      .map(({ from, to }) => `${from} imports ${to}: ${folder} knows nothing above it`),
  );
}

/** Files of shared/ that fewer than two of the planes and cli/ reach, directly or through shared/. */
export function loneShared(edges: readonly ImportEdge[], files: readonly string[]): string[] {
  const targets = new Map<string, string[]>();
  for (const { from, to } of edges)
    if (to !== undefined && !isTest(from)) targets.set(from, [...(targets.get(from) ?? []), to]);
  const users = new Map<string, Set<string>>();
  for (const file of files) {
    const owner = topOf(file);
    if (owner === 'shared' || isTest(file) || (RANKS[owner] ?? 9) > 2) continue;
    const open = [...(targets.get(file) ?? [])];
    const seen = new Set<string>();
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (seen.has(next) || topOf(next) !== 'shared') continue;
      seen.add(next);
      users.set(next, (users.get(next) ?? new Set()).add(owner));
      open.push(...(targets.get(next) ?? []));
    }
  }
  return files.filter(
    (file) =>
      topOf(file) === 'shared' &&
      !file.startsWith('shared/testing/') &&
      !isTest(file) &&
      (users.get(file)?.size ?? 0) < 2,
  );
}

/** Source files of the folders in {@link RANKS}, as paths from `root`. */
export async function sourceFiles(root: string): Promise<string[]> {
  const files: string[] = [];
  for (const folder of Object.keys(RANKS)) {
    const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true }).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw error;
      },
    );
    for (const entry of entries) {
      const path = join(entry.parentPath, entry.name).slice(root.length + 1);
      if (
        entry.isFile() &&
        /\.(?:ts|js|mjs)$/.test(path) &&
        !/(?:^|\/)(?:node_modules|fixtures|templates|generated)\//.test(path)
      )
        files.push(path);
    }
  }
  return files.sort();
}

export async function readEdges(root: string, files: readonly string[]): Promise<ImportEdge[]> {
  const all = await Promise.all(
    files.map(async (file) => importsOf(file, await readFile(join(root, file), 'utf8'))),
  );
  return all.flat();
}
