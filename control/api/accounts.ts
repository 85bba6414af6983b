/** Accounts, their issuers and ceilings. */
import { accountViewSchema, createAccountSchema, patchAccountSchema } from '#shared/contracts/access.ts';
import { listOf } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import { requireFeedRoom } from '../db/ceilings.ts';
import { createAccount, getAccount, listAccounts, setCeilings, setIssuer } from '../db/accounts.ts';
import { sealJwks } from '../publish/jwks.ts';
import { inAccount, isOperator, noQuery, nowhere, pageQuery, route, type Route } from './operation.ts';

const BY_OPERATOR = "This is for the operator: it takes an owner's key of the account `default`.";

export const accounts: readonly Route[] = [
  route(
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
    async ({ db }, { principal, query }) => ({
      status: 200,
      body: await db.read(async (orm) =>
        isOperator(principal)
          ? listAccounts(orm, query)
          : { items: [await getAccount(orm, principal.account)] },
      ),
    }),
  ),
  route(
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
    async ({ db }, { principal, body }) => {
      if (!isOperator(principal))
        throw new PlatformError('forbidden', `${principal.keyId} may not create accounts`, {
          publicDetail: BY_OPERATOR,
        });
      return { status: 201, body: await db.write((tx) => createAccount(tx, body.name, principal.keyId)) };
    },
  ),
  route(
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
    async ({ db }, { params }) => ({
      status: 200,
      body: await db.read((orm) => getAccount(orm, params.account)),
    }),
  ),
  route(
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
    async ({ db, kek }, { principal, params: { account }, body: { issuer, ceilings } }) => {
      if (ceilings !== undefined && !isOperator(principal))
        throw new PlatformError('forbidden', `${principal.keyId} may not set ceilings`, {
          publicDetail: BY_OPERATOR,
        });
      if (issuer !== undefined && account !== principal.account)
        throw new PlatformError('forbidden', `${principal.keyId} may not set the issuer of ${account}`, {
          publicDetail: 'Whose tokens an account takes, its own owners say: it takes a key of that account.',
        });
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
  ),
];
