/** User-defined routes of host and path, compiled for lookup in O(path segments). Pure. */
import type { RouteItem } from '#shared/contracts/feed.ts';

interface HostRoutes {
  readonly exact: Map<string, RouteItem>;
  /** `/api/*` under `/api`; `/*` under the empty string. */
  readonly prefixes: Map<string, RouteItem>;
}

export type RouteTable = ReadonlyMap<string, HostRoutes>;

export function compileRoutes(routes: readonly RouteItem[]): RouteTable {
  const table = new Map<string, HostRoutes>();
  for (const route of routes) {
    const host = route.host.toLowerCase();
    const entry = table.get(host) ?? { exact: new Map(), prefixes: new Map() };
    table.set(host, entry);
    if (route.path.endsWith('/*')) entry.prefixes.set(route.path.slice(0, -2), route);
    else entry.exact.set(route.path, route);
  }
  return table;
}

/** Exact path first, then the longest prefix on a segment border: `/api/*` takes `/api` and `/api/x`, not `/apix`. */
export function matchRoute(table: RouteTable, host: string, path: string): RouteItem | undefined {
  const entry = table.get(host);
  if (entry === undefined) return undefined;
  const exact = entry.exact.get(path);
  if (exact !== undefined) return exact;
  if (entry.prefixes.size === 0) return undefined;
  let prefix = path.endsWith('/') ? path.slice(0, -1) : path;
  for (;;) {
    const route = entry.prefixes.get(prefix);
    if (route !== undefined) return route;
    const slash = prefix.lastIndexOf('/');
    if (slash < 0) return undefined;
    prefix = prefix.slice(0, slash);
  }
}
