import { listOf, putSecretSchema, putSecretReplySchema, secretViewSchema } from '#shared/contracts/api.ts';
import { seal } from '#shared/seal.ts';
import { deleteSecret, listSecrets, putSecret, secretContext, type SecretRef } from '../db/secrets.ts';
import type { ApiDeps } from './deps.ts';
import { inAccount, inSecret, noQuery, pageQuery, type AddOperation } from './operation.ts';

export function addSecrets(add: AddOperation, { db, nodeKey }: ApiDeps): void {
  const path = '/v1/accounts/{account}/secrets';
  add(
    {
      id: 'listSecrets',
      method: 'get',
      path,
      summary: 'Lists names of secrets. No call shows a value.',
      access: 'read',
      params: inAccount,
      query: pageQuery,
      replies: { 200: listOf(secretViewSchema) },
    },
    async ({ params, query }) => ({
      status: 200,
      body: await db.read((orm) => listSecrets(orm, params.account, query)),
    }),
  );
  add(
    {
      id: 'putSecret',
      method: 'put',
      path: `${path}/{secret}`,
      summary: 'Sets or replaces a secret. Functions that use it follow at once, without a deployment.',
      access: 'deploy',
      params: inSecret,
      query: noQuery,
      body: putSecretSchema,
      replies: { 200: putSecretReplySchema },
    },
    async ({ principal, params, body }) => {
      const ref: SecretRef = { account: params.account, name: params.secret };
      const sealed = await seal(nodeKey, new TextEncoder().encode(body.value), secretContext(ref));
      return { status: 200, body: await db.write((tx) => putSecret(tx, ref, sealed, principal.keyId)) };
    },
  );
  add(
    {
      id: 'deleteSecret',
      method: 'delete',
      path: `${path}/{secret}`,
      summary: 'Deletes a secret that no served version uses.',
      access: 'deploy',
      params: inSecret,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ principal, params }) => {
      const ref: SecretRef = { account: params.account, name: params.secret };
      await db.write((tx) => deleteSecret(tx, ref, principal.keyId));
      return { status: 204 };
    },
  );
}
