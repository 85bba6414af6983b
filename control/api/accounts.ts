import {
  accountViewSchema,
  createAccountSchema,
  createdKeySchema,
  createKeySchema,
  keyViewSchema,
  patchAccountSchema,
} from '#shared/contracts/access.ts';
import { createRouteSchema, listOf, routeViewSchema, type CreateRoute } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import { storedHost, storedPath } from '#shared/http/target.ts';
import type { AccountName } from '#shared/ids.ts';
import { makeKey, newId } from '../auth/keys.ts';
import { requireFeedRoom } from '../db/ceilings.ts';
import { createAccount, getAccount, listAccounts, setCeilings, setIssuer } from '../db/accounts.ts';
import { deleteKey, insertKey, keyView, listKeys } from '../db/keys.ts';
import { instant } from '../db/page.ts';
import { createRoute, deleteRoute, listRoutes } from '../db/routes.ts';
import { sealJwks } from '../publish/jwks.ts';
import type { ApiDeps } from './deps.ts';
import {
  inAccount,
  isOperator,
  noQuery,
  nowhere,
  pageQuery,
  withId,
  type AddOperation,
} from './operation.ts';

export function addAccounts(add: AddOperation, { db }: ApiDeps): void {
  add(
    {
      id: 'listAccounts',
      method: 'get',
      path: '/v1/accounts',
      summary: 'Lists the accounts that the key may see: its own, or all for owners of `default`.',
      access: 'read',
      params: nowhere,
      query: pageQuery,
      replies: { 200: listOf(accountViewSchema) },
    },
    async ({ principal, query }) => ({
      status: 200,
      body: await db.read(async (orm) =>
        isOperator(principal)
          ? listAccounts(orm, query)
          : { items: [await getAccount(orm, principal.account)] },
      ),
    }),
  );
  add(
    {
      id: 'createAccount',
      method: 'post',
      path: '/v1/accounts',
      summary: 'Creates an account. For owners of the account `default`.',
      access: 'own',
      params: nowhere,
      query: noQuery,
      body: createAccountSchema,
      replies: { 201: accountViewSchema },
    },
    async ({ principal, body }) => {
      if (!isOperator(principal))
        throw new PlatformError('forbidden', `${principal.keyId} may not create accounts`);
      return { status: 201, body: await db.write((tx) => createAccount(tx, body.name, principal.keyId)) };
    },
  );
}

export function addAccountDetails(add: AddOperation, { db, kek }: ApiDeps): void {
  add(
    {
      id: 'getAccount',
      method: 'get',
      path: '/v1/accounts/{account}',
      summary: 'Shows an account.',
      access: 'read',
      params: inAccount,
      query: noQuery,
      replies: { 200: accountViewSchema },
    },
    async ({ params }) => ({ status: 200, body: await db.read((orm) => getAccount(orm, params.account)) }),
  );
  add(
    {
      id: 'patchAccount',
      method: 'patch',
      path: '/v1/accounts/{account}',
      summary:
        'Sets or removes the issuer whose tokens functions with auth mode `jwt` accept by default. ' +
        '`ceilings` bound what the account may use; owners of the account `default` set them, for every account.',
      access: 'own',
      operator: true,
      params: inAccount,
      query: noQuery,
      body: patchAccountSchema,
      replies: { 200: accountViewSchema },
    },
    async ({ principal, params: { account }, body: { issuer, ceilings } }) => {
      if (ceilings !== undefined && !isOperator(principal))
        throw new PlatformError('forbidden', `${principal.keyId} may not set ceilings`);
      if (issuer !== undefined && account !== principal.account)
        throw new PlatformError('forbidden', `${principal.keyId} may not set the issuer of ${account}`);
      const sealed = issuer == null ? issuer : { ...issuer, jwks: await sealJwks(kek, account, issuer.jwks) };
      const body = await db.write(async (tx) => {
        if (sealed !== undefined) {
          await setIssuer(tx, account, sealed, principal.keyId);
          if (sealed !== null) await requireFeedRoom(tx, account);
        }
        if (ceilings !== undefined) await setCeilings(tx, account, ceilings, principal.keyId);
        return getAccount(tx.orm, account);
      });
      return { status: 200, body };
    },
  );
}

export function addKeys(add: AddOperation, { db, kek }: ApiDeps): void {
  add(
    {
      id: 'listKeys',
      method: 'get',
      path: '/v1/accounts/{account}/keys',
      summary: 'Lists keys, without secrets.',
      access: 'own',
      params: inAccount,
      query: pageQuery,
      replies: { 200: listOf(keyViewSchema) },
    },
    async ({ params, query }) => ({
      status: 200,
      body: await db.read((orm) => listKeys(orm, params.account, query)),
    }),
  );
  add(
    {
      id: 'createKey',
      method: 'post',
      path: '/v1/accounts/{account}/keys',
      summary: 'Creates a key. The secret is in this answer and never shown again.',
      access: 'own',
      operator: true,
      params: inAccount,
      query: noQuery,
      body: createKeySchema,
      replies: { 201: createdKeySchema },
    },
    async ({ principal, params, body }) => {
      const made = await makeKey(params.account, body, principal.keyId, kek);
      const { revision, createdAt } = await db.write(async (tx) => {
        await getAccount(tx.orm, params.account);
        return { revision: await insertKey(tx, made.row), createdAt: tx.nowMs };
      });
      return {
        status: 201,
        body: {
          ...keyView({ ...made.row, createdAt }),
          createdAt: instant(createdAt),
          ...(made.secret === undefined ? {} : { secret: made.secret }),
          revision,
        },
      };
    },
  );
  add(
    {
      id: 'deleteKey',
      method: 'delete',
      path: '/v1/accounts/{account}/keys/{id}',
      summary: 'Revokes a key. The last owner key of an account stays.',
      access: 'own',
      params: withId,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ principal, params }) => {
      await db.write((tx) => deleteKey(tx, params.account, params.id, principal.keyId));
      return { status: 204 };
    },
  );
}

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

export function addRoutes(add: AddOperation, { db, baseDomain }: ApiDeps): void {
  add(
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
    async ({ params, query }) => ({
      status: 200,
      body: await db.read((orm) => listRoutes(orm, params.account, query)),
    }),
  );
  add(
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
    async ({ principal, params, body }) => {
      const wanted = { ...checkRoute(params.account, body, baseDomain), id: newId('route') };
      return {
        status: 201,
        body: await db.write((tx) => createRoute(tx, params.account, wanted, principal.keyId)),
      };
    },
  );
  add(
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
    async ({ principal, params }) => {
      await db.write((tx) => deleteRoute(tx, params.account, params.id, principal.keyId));
      return { status: 204 };
    },
  );
}
