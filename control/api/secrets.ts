import {
  functionSecretViewSchema,
  putFunctionSecretReplySchema,
  putFunctionSecretSchema,
  putSecretReplySchema,
  putSecretSchema,
  secretViewSchema,
} from '#shared/contracts/access.ts';
import { listOf } from '#shared/contracts/api.ts';
import { envSecretNameSchema, functionSecretContext, secretContext } from '#shared/contracts/secrets.ts';
import { seal } from '#shared/seal.ts';
import {
  deleteFunctionSecret,
  deleteSecret,
  listFunctionSecrets,
  listSecrets,
  putFunctionSecret,
  putSecret,
  type SecretRef,
} from '../db/secrets.ts';
import { instant } from '../db/page.ts';
import type { ApiDeps } from './deps.ts';
import { inAccount, inFunction, inSecret, noQuery, pageQuery, type AddOperation } from './operation.ts';

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
      const context = secretContext(ref.account, ref.name);
      const sealed = await seal(nodeKey, new TextEncoder().encode(body.value), context);
      const value = { sealed, functions: body.functions, hosts: body.hosts };
      return { status: 200, body: await db.write((tx) => putSecret(tx, ref, value, principal.keyId)) };
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

const inFunctionSecret = inFunction.extend({ secret: envSecretNameSchema });

export function addFunctionSecrets(add: AddOperation, { db, nodeKey }: ApiDeps): void {
  const path = '/v1/accounts/{account}/functions/{function}/secrets';
  add(
    {
      id: 'listFunctionSecrets',
      method: 'get',
      path,
      summary: "Lists names of the function's own secrets. No call shows a value.",
      access: 'read',
      params: inFunction,
      query: noQuery,
      replies: { 200: listOf(functionSecretViewSchema) },
    },
    async ({ params }) => {
      const ref = { account: params.account, functionName: params.function };
      const rows = await db.read((orm) => listFunctionSecrets(orm, ref));
      return {
        status: 200,
        body: { items: rows.map(({ name, updatedAt }) => ({ name, updatedAt: instant(updatedAt) })) },
      };
    },
  );
  add(
    {
      id: 'putFunctionSecret',
      method: 'put',
      path: `${path}/{secret}`,
      summary:
        "Sets or replaces a member of the function's `env`. Instances that run are replaced by ones that have it; " +
        'a function that does not exist yet has it from its first version on.',
      access: 'deploy',
      params: inFunctionSecret,
      query: noQuery,
      body: putFunctionSecretSchema,
      replies: { 200: putFunctionSecretReplySchema },
    },
    async ({ principal, params, body }) => {
      const ref = { account: params.account, functionName: params.function, name: params.secret };
      const context = functionSecretContext(ref.account, ref.functionName, ref.name);
      const sealed = await seal(nodeKey, new TextEncoder().encode(body.value), context);
      const { updatedAtMs, ...told } = await db.write((tx) =>
        putFunctionSecret(tx, ref, sealed, principal.keyId),
      );
      return { status: 200, body: { name: ref.name, updatedAt: instant(updatedAtMs), ...told } };
    },
  );
  add(
    {
      id: 'deleteFunctionSecret',
      method: 'delete',
      path: `${path}/{secret}`,
      summary: "Deletes a function's secret that no served version says it needs.",
      access: 'deploy',
      params: inFunctionSecret,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ principal, params }) => {
      const ref = { account: params.account, functionName: params.function, name: params.secret };
      await db.write((tx) => deleteFunctionSecret(tx, ref, principal.keyId));
      return { status: 204 };
    },
  );
}
