/** Which rule about callers holds for a path (`authByPath`). Pure; tables are compiled once per version. */
import type { Auth } from '#shared/contracts/config.ts';
import type { VersionItem } from '#shared/contracts/feed.ts';
import type { RequestTarget } from '#shared/http/target.ts';
import { PathTable } from '../routing/routes.ts';

const tables = new WeakMap<VersionItem, PathTable<Auth>>();

/** undefined: two readings of the path want different callers, so the request must be refused. */
export function authFor(
  version: VersionItem,
  { path, lax }: Pick<RequestTarget, 'path' | 'lax'>,
): Auth | undefined {
  if (version.authByPath.length === 0) return version.auth;
  let table = tables.get(version);
  if (table === undefined) {
    table = compile(version);
    tables.set(version, table);
  }
  const auth = table.match(path) ?? version.auth;
  if (lax !== undefined && (table.match(lax) ?? version.auth) !== auth) return undefined;
  return auth;
}

/** An exact path takes the same path with a slash at its end, as many routers do. */
function compile({ authByPath }: VersionItem): PathTable<Auth> {
  const table = new PathTable<Auth>();
  for (const { path, auth } of authByPath) table.set(path, auth);
  for (const { path, auth } of authByPath) {
    const other = path.endsWith('/') ? path.slice(0, -1) : `${path}/`;
    if (!path.endsWith('/*') && other !== '' && !table.hasExact(other)) table.set(other, auth);
  }
  return table;
}
