/** User-defined routes of host and path, compiled for lookup in O(path segments). Pure. */
import type { RouteItem } from '#shared/contracts/feed.ts';
import { storedPath } from '#shared/http/target.ts';

interface HostRoutes {
  readonly exact: Map<string, RouteItem>;
  /** `/api/*` under `/api`; `/*` under the empty string. */
  readonly prefixes: Map<string, RouteItem>;
}

export type RouteTable = ReadonlyMap<string, HostRoutes>;

export function compileRoutes(routes: readonly RouteItem[]): RouteTable {
  const table = new Map<string, HostRoutes>();
  for (const route of routes) {
    // Routes of earlier releases were stored as they were written.
    const stored = storedPath(route.path);
    const path = 'path' in stored ? stored.path : route.path;
    const host = route.host.toLowerCase();
    const entry = table.get(host) ?? { exact: new Map(), prefixes: new Map() };
    table.set(host, entry);
    if (path.endsWith('/*')) entry.prefixes.set(path.slice(0, -2), route);
    else entry.exact.set(path, route);
  }
  return table;
}

/** Account of every host at or below a domain; `undefined` as a value when there are several. */
export type DomainOwners = ReadonlyMap<string, string | undefined>;

export function ownersOf(routes: readonly RouteItem[]): DomainOwners {
  const owners = new Map<string, string | undefined>();
  for (const { host, account } of routes) {
    const labels = host.toLowerCase().split('.');
    for (let from = 0; from < labels.length; from += 1) {
      const domain = labels.slice(from).join('.');
      owners.set(domain, !owners.has(domain) || owners.get(domain) === account ? account : undefined);
    }
  }
  return owners;
}

/** Exact path first, then the longest prefix on a segment border: `/api/*` takes `/api` and `/api/x`, not `/apix`. */
export function matchRoute(table: RouteTable, host: string, path: string): RouteItem | undefined {
  const entry = table.get(host);
  return entry === undefined ? undefined : matchPath(entry, path);
}

export interface PathTable<T> {
  readonly exact: ReadonlyMap<string, T>;
  /** Without the `/*` at their end. */
  readonly prefixes: ReadonlyMap<string, T>;
}

export function matchPath<T>({ exact, prefixes }: PathTable<T>, path: string): T | undefined {
  const found = exact.get(path);
  if (found !== undefined) return found;
  if (prefixes.size === 0) return undefined;
  let prefix = path.endsWith('/') ? path.slice(0, -1) : path;
  for (;;) {
    const route = prefixes.get(prefix);
    if (route !== undefined) return route;
    const slash = prefix.lastIndexOf('/');
    if (slash < 0) return undefined;
    prefix = prefix.slice(0, slash);
  }
}
