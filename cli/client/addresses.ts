/** Where a function answers: at its own host, or at its routes alone (`"defaultHost": false`). */
import {
  routeViewSchema,
  versionViewSchema,
  functionViewSchema,
  type RouteView,
} from '#shared/contracts/api.ts';
import type { Auth, FunctionConfig } from '#shared/contracts/config.ts';
import type { ControlApi } from './api.ts';
import { functionUrl, type Connection } from './connection.ts';

export interface Called {
  readonly name: string;
  readonly alias: string;
}

/** Its own host. */
export function hostUrl(connection: Connection, { name, alias }: Called): URL {
  return functionUrl(connection, alias === 'live' ? name : `${alias}--${name}`);
}

/** Routes that lead to it; undefined where the key may not look, as one that is limited to functions. */
export async function routesTo(
  api: ControlApi,
  { name, alias }: Called,
): Promise<readonly RouteView[] | undefined> {
  const routes = await api.list(api.path('/routes'), routeViewSchema).catch(() => undefined);
  return routes?.filter((route) => route.function === name && route.alias === alias);
}

/** At the port of the gateway, with the first path that the route takes unless one is given. */
export function routeUrl(
  { platform }: Connection,
  route: Pick<RouteView, 'host' | 'path'>,
  path = route.path.replace(/\*$/, ''),
): URL {
  const { protocol, port } = new URL(platform.gatewayUrl);
  return new URL(path, `${protocol}//${route.host}${port === '' ? '' : `:${port}`}/`);
}

/** The entry whose path fits best: the exact one, else the longest prefix on a segment border. Pure. */
export function bestFor<T extends { readonly path: string }>(
  entries: readonly T[],
  path: string,
): T | undefined {
  const exact = entries.find((entry) => entry.path === path);
  if (exact !== undefined) return exact;
  const fitting = entries.filter(
    (entry) =>
      entry.path.endsWith('/*') &&
      (path === entry.path.slice(0, -2) || path.startsWith(entry.path.slice(0, -1))),
  );
  return fitting.toSorted((a, b) => b.path.length - a.path.length)[0];
}

/** Who may call at a path. */
export function authAt({ auth, authByPath }: FunctionConfig, path: string): Auth['mode'] {
  return (bestFor(authByPath, path)?.auth ?? auth).mode;
}

/** A version behind the alias has closed the function's own host; false where control does not say. */
export async function hostIsClosed(api: ControlApi, { name, alias }: Called): Promise<boolean> {
  try {
    const path = api.path(`/functions/${name}`);
    const { aliases } = await api.call(path, functionViewSchema);
    const weights = aliases.find((entry) => entry.name === alias)?.weights ?? [];
    const versions = await Promise.all(
      weights.map(({ version }) => api.call(`${path}/versions/${version}`, versionViewSchema)),
    );
    return versions.some(({ config }) => !config.defaultHost);
  } catch {
    return false;
  }
}
