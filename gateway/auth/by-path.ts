/** Which rule about callers holds for a path (`authByPath`). Pure; tables are compiled once per version. */
import type { Auth } from '#shared/contracts/config.ts';
import type { VersionItem } from '#shared/contracts/feed.ts';
import type { RequestTarget } from '#shared/http/target.ts';
import { PathTable } from '../routing/routes.ts';

const tables = new WeakMap<VersionItem, PathTable<Auth>>();
const fileTables = new WeakMap<VersionItem, PathTable<Auth>>();

/** undefined: two readings of the path want different callers, so the request must be refused. */
export function authFor(
  version: VersionItem,
  { path, lax }: Pick<RequestTarget, 'path' | 'lax'>,
): Auth | undefined {
  if (version.authByPath.length === 0) return version.auth;
  let table = tables.get(version);
  if (table === undefined) {
    table = compileFor(version, (path) => path);
    tables.set(version, table);
  }
  const auth = table.match(path) ?? version.auth;
  if (lax !== undefined && (table.match(lax) ?? version.auth) !== auth) return undefined;
  return auth;
}

/**
 * The rule that stands for a file by its own name, and none by default: where a file lies may be guarded although the
 * path that leads there is not.
 *
 * @param path - decoded, as files are named.
 */
export function ruleForFile(version: VersionItem, path: string): Auth | undefined {
  if (version.authByPath.length === 0) return undefined;
  let table = fileTables.get(version);
  if (table === undefined) {
    table = compileFor(version, decoded);
    fileTables.set(version, table);
  }
  return table.match(path);
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** An exact path takes the same path with a slash at its end, as many routers do. */
function compileFor({ authByPath }: VersionItem, read: (path: string) => string): PathTable<Auth> {
  const table = new PathTable<Auth>();
  for (const { path, auth } of authByPath)
    if (path.endsWith('/*')) table.setBelow(read(path.slice(0, -2)), auth);
    else table.setExact(read(path), auth);
  for (const { path, auth } of authByPath) {
    const exact = read(path);
    const other = exact.endsWith('/') ? exact.slice(0, -1) : `${exact}/`;
    if (!path.endsWith('/*') && other !== '' && !table.hasExact(other)) table.setExact(other, auth);
  }
  return table;
}
