/** User-defined routes of host and path, compiled for lookup in time linear in the path. Pure. */
import type { RouteItem } from '#shared/contracts/feed.ts';
import { storedPath } from '#shared/http/target.ts';

export type RouteTable = ReadonlyMap<string, PathTable<RouteItem>>;

export function compileRoutes(routes: readonly RouteItem[]): RouteTable {
  const table = new Map<string, PathTable<RouteItem>>();
  for (const route of routes) {
    // Routes of earlier releases were stored as they were written.
    const stored = storedPath(route.path);
    const path = 'path' in stored ? stored.path : route.path;
    const host = route.host.toLowerCase();
    const entry = table.get(host) ?? new PathTable<RouteItem>();
    table.set(host, entry);
    entry.set(path, route);
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
  return table.get(host)?.match(path);
}

/** One segment of the patterns that end in `/*`, and those that go on below it. */
interface PrefixNode<T> {
  value: T | undefined;
  readonly below: Map<string, PrefixNode<T>>;
}

const newNode = <T>(): PrefixNode<T> => ({ value: undefined, below: new Map() });

/**
 * Values by path and by prefix. Patterns are kept by segment: callers choose paths, of up to 16 KiB and as many
 * segments as half of that, and each segment is looked at once, only as far as a pattern goes.
 */
export class PathTable<T> {
  readonly #exact = new Map<string, T>();
  #root: PrefixNode<T> | undefined;

  /** @param path - begins with `/`; with `/*` at its end it stands for everything below, and for itself. */
  set(path: string, value: T): void {
    if (path.endsWith('/*')) this.setBelow(path.slice(0, -2), value);
    else this.setExact(path, value);
  }

  setExact(path: string, value: T): void {
    this.#exact.set(path, value);
  }

  /** @param prefix - without a slash at its end. */
  setBelow(prefix: string, value: T): void {
    this.#root ??= newNode();
    let node = this.#root;
    for (const segment of prefix.split('/').slice(1)) {
      let next = node.below.get(segment);
      if (next === undefined) {
        next = newNode();
        node.below.set(segment, next);
      }
      node = next;
    }
    node.value = value;
  }

  hasExact(path: string): boolean {
    return this.#exact.has(path);
  }

  match(path: string): T | undefined {
    return this.#exact.get(path) ?? this.#longest(path);
  }

  #longest(path: string): T | undefined {
    let node = this.#root;
    if (node === undefined || !path.startsWith('/')) return undefined;
    let found = node.value;
    // A slash at the end begins no segment.
    const end = path.endsWith('/') ? path.length - 1 : path.length;
    for (let from = 1; from <= end && node.below.size > 0;) {
      const slash = path.indexOf('/', from);
      const to = slash < 0 || slash > end ? end : slash;
      node = node.below.get(path.slice(from, to));
      if (node === undefined) return found;
      found = node.value ?? found;
      from = to + 1;
    }
    return found;
  }
}
