/** Keys: who may call the API and signed functions. */
import { createdKeySchema, createKeySchema, keyViewSchema } from '#shared/contracts/access.ts';
import { listOf } from '#shared/contracts/api.ts';
import { makeKey } from '../auth/keys.ts';
import { getAccount } from '../db/accounts.ts';
import { deleteKey, insertKey, keyView, listKeys } from '../db/keys.ts';
import { instant } from '../db/page.ts';
import { inAccount, noQuery, pageQuery, withId, route, type Route } from './operation.ts';

export const keys: readonly Route[] = [
  route(
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
    async ({ db }, { params, query }) => ({
      status: 200,
      body: await db.read((orm) => listKeys(orm, params.account, query)),
    }),
  ),
  route(
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
    async ({ db, kek }, { principal, params, body }) => {
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
  ),
  route(
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
    async ({ db }, { principal, params }) => {
      await db.write((tx) => deleteKey(tx, params.account, params.id, principal.keyId));
      return { status: 204 };
    },
  ),
];
