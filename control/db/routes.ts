/** Rows of routes. The first account that has a route on a host has the host. */
import { and, asc, eq, gt, ne } from 'drizzle-orm';
import type { CreateRoute, RouteView } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName } from '#shared/ids.ts';
import { requireAlias } from './aliases.ts';
import { requireRoom } from './ceilings.ts';
import type { Orm, WriteTx } from './database.ts';
import { instant, pageOf, readCursor, type Page, type PageRequest } from './page.ts';
import { routes } from './schema.ts';

type RouteRow = typeof routes.$inferSelect;

function view(row: RouteRow): RouteView {
  return {
    id: row.id,
    host: row.host,
    path: row.path,
    function: row.functionName,
    alias: row.alias,
    createdAt: instant(row.createdAt),
  };
}

export async function listRoutes(
  orm: Orm,
  account: AccountName,
  page: PageRequest,
): Promise<Page<RouteView>> {
  const after = readCursor(page.cursor);
  const rows = await orm
    .select()
    .from(routes)
    .where(and(eq(routes.account, account), after === undefined ? undefined : gt(routes.id, after)))
    .orderBy(asc(routes.id))
    .limit(page.limit + 1);
  return pageOf(rows, page.limit, { item: view, key: (row) => row.id });
}

/** @throws {PlatformError} `route_not_found`. */
async function requireRoute(orm: Orm, account: AccountName, id: string): Promise<RouteRow> {
  const [row] = await orm
    .select()
    .from(routes)
    .where(and(eq(routes.account, account), eq(routes.id, id)));
  if (row === undefined) throw new PlatformError('route_not_found', `no route ${id}`);
  return row;
}

/** `*.example.org` and the hosts below it are one another's business; other hosts only their own. */
export function hostsOverlap(left: string, right: string): boolean {
  const covers = (pattern: string, host: string): boolean =>
    pattern.startsWith('*.') && host.endsWith(pattern.slice(1));
  return left === right || covers(left, right) || covers(right, left);
}

/**
 * A host belongs to the account that has the first route on it, until its last one is deleted: visitors of one
 * account must never reach a function of another.
 */
async function requireHost(orm: Orm, account: AccountName, host: string): Promise<void> {
  const foreign = await orm
    .selectDistinct({ host: routes.host })
    .from(routes)
    .where(ne(routes.account, account));
  if (foreign.some((row) => hostsOverlap(row.host, host)))
    throw new PlatformError('host_taken', `${host} belongs to another account than ${account}`);
}

/** @throws {PlatformError} `host_taken` by another account, `name_taken` when the account has that host and path. */
export async function createRoute(
  tx: WriteTx,
  account: AccountName,
  wanted: CreateRoute & { readonly id: string },
  actor: string,
): Promise<RouteView> {
  await requireAlias(tx.orm, { account, functionName: wanted.function }, wanted.alias);
  await requireHost(tx.orm, account, wanted.host);
  const [taken] = await tx.orm
    .select({ id: routes.id })
    .from(routes)
    .where(and(eq(routes.host, wanted.host), eq(routes.path, wanted.path)));
  if (taken !== undefined)
    throw new PlatformError('name_taken', `route ${wanted.host}${wanted.path} exists`, {
      publicDetail: `A route for ${wanted.host}${wanted.path} exists already.`,
    });
  const row: RouteRow = {
    id: wanted.id,
    account,
    host: wanted.host,
    path: wanted.path,
    functionName: wanted.function,
    alias: wanted.alias,
    createdAt: tx.nowMs,
  };
  await requireRoom(tx, account, 'routes');
  await tx.orm.insert(routes).values(row);
  const revision = await tx.change('route', row.id);
  await tx.audit({ account, actor, action: 'route.create', target: `${row.host}${row.path}` });
  return { ...view(row), revision };
}

export async function deleteRoute(
  tx: WriteTx,
  account: AccountName,
  id: string,
  actor: string,
): Promise<void> {
  const row = await requireRoute(tx.orm, account, id);
  await tx.orm.delete(routes).where(eq(routes.id, id));
  await tx.change('route', id);
  await tx.audit({ account, actor, action: 'route.delete', target: `${row.host}${row.path}` });
}
