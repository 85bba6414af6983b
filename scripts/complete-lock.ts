/**
 * Completes package-lock.json with the optional packages of other platforms.
 *
 * A registry that mirrors only some platforms makes npm leave the others out of the lockfile, and every
 * later `npm ci` refuses such a file. The entries hold what npm needs to skip them: version and platform.
 *
 *   node scripts/complete-lock.ts           writes the missing entries
 *   node scripts/complete-lock.ts --check   exit code 1 when some are missing
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

interface Entry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
type Packages = Record<string, Entry>;

const SYSTEMS = [
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'aix',
  'win32',
];
const PROCESSORS = [
  'arm64',
  'arm',
  'x64',
  'ia32',
  'ppc64',
  'riscv64',
  's390x',
  'loong64',
  'mips64el',
  'wasm32',
];

/** Platform from the words of a name such as `binding-linux-arm64-musl` or `workerd-windows-64`. */
function platformOf(name: string): Record<string, string[]> {
  const words = name.replace(/^.*\//, '').split('-');
  const os = words.includes('windows') ? 'win32' : SYSTEMS.find((system) => words.includes(system));
  const cpu =
    PROCESSORS.find((processor) => words.includes(processor)) ?? (words.includes('64') ? 'x64' : undefined);
  if (os === undefined || cpu === undefined) throw new Error(`${name}: its name does not tell its platform`);
  return { ...(words.includes('musl') ? { libc: ['musl'] } : {}), cpu: [cpu], os: [os] };
}

/** Version that Node's search for `name` from the package at `place` finds. */
function foundVersion(packages: Packages, place: string, name: string): string | undefined {
  const parts = place === '' ? [] : place.split('/node_modules/');
  for (let depth = parts.length; depth > 0; depth -= 1) {
    const found = packages[`${parts.slice(0, depth).join('/node_modules/')}/node_modules/${name}`];
    if (found !== undefined) return found.version;
  }
  return packages[`node_modules/${name}`]?.version;
}

/** Adds what is missing; returns the places that were added. */
function complete(packages: Packages): string[] {
  const added: string[] = [];
  for (const [place, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const found = foundVersion(packages, place, name);
      // A range is satisfied by whatever npm chose; the packages of platforms are wanted exactly.
      if (found === version || (found !== undefined && !/^\d/.test(version))) continue;
      const where = found === undefined ? `node_modules/${name}` : `${place}/node_modules/${name}`;
      packages[where] = {
        version,
        ...platformOf(name),
        ...(entry.dev === true ? { dev: true } : {}),
        optional: true,
      } as Entry;
      added.push(where);
    }
  }
  return added;
}

const path = join(import.meta.dirname, '..', 'package-lock.json');
const lock = JSON.parse(readFileSync(path, 'utf8')) as { packages: Packages };
const added = complete(lock.packages);
if (process.argv.includes('--check')) {
  for (const place of added) process.stderr.write(`package-lock.json has no entry ${place}\n`);
  process.exitCode = added.length > 0 ? 1 : 0;
} else if (added.length > 0) {
  lock.packages = Object.fromEntries(
    Object.entries(lock.packages).sort(([left], [right]) => left.localeCompare(right, 'en')),
  );
  writeFileSync(path, `${JSON.stringify(lock, undefined, 2)}\n`);
  process.stdout.write(`added ${added.length} entries\n`);
}
