/**
 * Whether the packages that this installation needs are there. Asked only after a failure that nothing else
 * explains, such as the first command after a `git pull` that brought a new dependency.
 *
 * Nothing but Node's own modules is imported here: the others may be what is missing.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageFolder } from './package-folder.ts';

export interface DependencyProblem {
  readonly message: string;
  readonly advice: string;
}

interface Manifest {
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const LISTED_MAX = 5;

function manifestAt(path: string): Manifest | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Manifest;
  } catch {
    return undefined;
  }
}

/** As Node looks for it from `root`: in each `node_modules` on the way up. */
function installedVersion(root: string, name: string): string | undefined {
  for (let folder = root; ; folder = dirname(folder)) {
    const found = manifestAt(join(folder, 'node_modules', name, 'package.json'));
    if (found !== undefined) return found.version ?? 'unknown';
    if (folder === dirname(folder)) return undefined;
  }
}

/** Undefined when every dependency is there in the version that package.json names. */
export function dependencyProblem(root: string = packageFolder()): DependencyProblem | undefined {
  const wanted = Object.entries(manifestAt(join(root, 'package.json'))?.dependencies ?? {});
  const lacking = wanted.flatMap(([name, version]) => {
    const installed = installedVersion(root, name);
    if (installed === undefined) return [`${name} is missing`];
    return /^\d/.test(version) && installed !== version
      ? [`${name} is ${installed} instead of ${version}`]
      : [];
  });
  if (lacking.length === 0) return undefined;
  const more = lacking.length - LISTED_MAX;
  const listed = lacking.slice(0, LISTED_MAX).join(', ') + (more > 0 ? `, and ${more} more` : '');
  // A clone has a lockfile; the package has none.
  const isClone = existsSync(join(root, 'package-lock.json'));
  return {
    message: `Packages that Isoplane needs are not installed as package.json of ${root} says: ${listed}.`,
    advice: isClone
      ? `Run \`npm ci\` in ${root}; it is needed after each \`git pull\` that changes package-lock.json.`
      : 'Install isoplane again with the installer of your project.',
  };
}
