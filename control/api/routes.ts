/** Routes: hosts and paths that lead to aliases. */
import { createRouteSchema, listOf, routeViewSchema, type CreateRoute } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import { storedHost, storedPath } from '#shared/http/target.ts';
import type { AccountName } from '#shared/ids.ts';
import { newId } from '../auth/keys.ts';
import { createRoute, deleteRoute, listRoutes } from '../db/routes.ts';
import { inAccount, noQuery, pageQuery, withId, route, type Route } from './operation.ts';

function refuseRoute(path: string, message: string): PlatformError {
  return new PlatformError('config_invalid', `${path} ${message}`, {
    publicDetail: `${path}: ${message}`,
    extensions: { problems: [{ path, message }] },
  });
}

/**
 * Pure. Hosts and paths are stored in the form in which gateways compare them. Under the base domain, `FUNCTION.BASE` belongs to account `default` and `….ACCOUNT.BASE` to that
 * account: nobody may put a route in front of another account's functions.
 */
export function checkRoute(account: AccountName, wanted: CreateRoute, baseDomain: string): CreateRoute {
  const storedAs = storedHost(wanted.host);
  if ('problem' in storedAs) throw refuseRoute('host', storedAs.problem);
  const stored = storedPath(wanted.path);
  if ('problem' in stored) throw refuseRoute('path', stored.problem);
  const { host } = storedAs;
  const { path } = stored;
  if (host === baseDomain || host.endsWith(`.${baseDomain}`)) {
    const labels = host.slice(0, -baseDomain.length).split('.').filter(Boolean);
    const owner = labels.length <= 1 ? 'default' : labels.at(-1);
    if (owner !== account)
      throw new PlatformError('forbidden', `${host} belongs to account ${owner}`, {
        publicDetail: `Hosts under ${baseDomain} belong to the account that they name.`,
      });
  }
  return { ...wanted, host, path };
}

export const routes: readonly Route[] = [
  route(
    {
      id: 'listRoutes',
      method: 'get',
      path: '/v1/accounts/{account}/routes',
      summary: 'Lists routes.',
      access: 'read',
      operator: true,
      params: inAccount,
      query: pageQuery,
      replies: { 200: listOf(routeViewSchema) },
    },
    async ({ db }, { params, query }) => ({
      status: 200,
      body: await db.read((orm) => listRoutes(orm, params.account, query)),
    }),
  ),
  route(
    {
      id: 'createRoute',
      method: 'post',
      path: '/v1/accounts/{account}/routes',
      summary: 'Sends a host and a path to an alias of a function.',
      access: 'deploy',
      params: inAccount,
      query: noQuery,
      body: createRouteSchema,
      replies: { 201: routeViewSchema },
    },
    async ({ baseDomain, db }, { principal, params, body }) => {
      const wanted = { ...checkRoute(params.account, body, baseDomain), id: newId('route') };
      return {
        status: 201,
        body: await db.write((tx) => createRoute(tx, params.account, wanted, principal.keyId)),
      };
    },
  ),
  route(
    {
      id: 'deleteRoute',
      method: 'delete',
      path: '/v1/accounts/{account}/routes/{id}',
      summary: 'Deletes a route. With the last one on a host the account gives the host up.',
      access: 'deploy',
      // Whoever came first may not be the one whose host it is.
      operator: true,
      params: withId,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ db }, { principal, params }) => {
      await db.write((tx) => deleteRoute(tx, params.account, params.id, principal.keyId));
      return { status: 204 };
    },
  ),
];
