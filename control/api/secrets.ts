/** Secrets of accounts and of functions. Values go in and are never shown again. */
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
import { requireFreeName } from '../publish/secrets-in-env.ts';
import { instant } from '../db/page.ts';
import {
  FUNCTION_PATH,
  inAccount,
  inFunction,
  inSecret,
  noQuery,
  pageQuery,
  route,
  type Route,
} from './operation.ts';

const inFunctionSecret = inFunction.extend({ secret: envSecretNameSchema });

const S = '/v1/accounts/{account}/secrets';
const F = `${FUNCTION_PATH}/secrets`;

export const secrets: readonly Route[] = [
  route(
    {
      id: 'listSecrets',
      method: 'get',
      path: S,
      summary: 'Lists names of secrets. No call shows a value.',
      access: 'read',
      params: inAccount,
      query: pageQuery,
      replies: { 200: listOf(secretViewSchema) },
    },
    async ({ db }, { params, query }) => ({
      status: 200,
      body: await db.read((orm) => listSecrets(orm, params.account, query)),
    }),
  ),
  route(
    {
      id: 'putSecret',
      method: 'put',
      path: `${S}/{secret}`,
      summary: 'Sets or replaces a secret. Functions that use it follow at once, without a deployment.',
      access: 'deploy',
      params: inSecret,
      query: noQuery,
      body: putSecretSchema,
      replies: { 200: putSecretReplySchema },
    },
    async ({ db, nodeKey }, { principal, params, body }) => {
      const ref: SecretRef = { account: params.account, name: params.secret };
      const context = secretContext(ref.account, ref.name);
      const sealed = await seal(nodeKey, new TextEncoder().encode(body.value), context);
      const value = { sealed, functions: body.functions, hosts: body.hosts };
      return { status: 200, body: await db.write((tx) => putSecret(tx, ref, value, principal.keyId)) };
    },
  ),
  route(
    {
      id: 'deleteSecret',
      method: 'delete',
      path: `${S}/{secret}`,
      summary: 'Deletes a secret that no served version uses.',
      access: 'deploy',
      params: inSecret,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ db }, { principal, params }) => {
      const ref: SecretRef = { account: params.account, name: params.secret };
      await db.write((tx) => deleteSecret(tx, ref, principal.keyId));
      return { status: 204 };
    },
  ),
  route(
    {
      id: 'listFunctionSecrets',
      method: 'get',
      path: F,
      summary: "Lists names of the function's own secrets. No call shows a value.",
      access: 'read',
      params: inFunction,
      query: noQuery,
      replies: { 200: listOf(functionSecretViewSchema) },
    },
    async ({ db }, { params }) => {
      const ref = { account: params.account, functionName: params.function };
      const rows = await db.read((orm) => listFunctionSecrets(orm, ref));
      return {
        status: 200,
        body: { items: rows.map(({ name, updatedAt }) => ({ name, updatedAt: instant(updatedAt) })) },
      };
    },
  ),
  route(
    {
      id: 'putFunctionSecret',
      method: 'put',
      path: `${F}/{secret}`,
      summary:
        "Sets or replaces a member of the function's `env`. Instances that run are replaced by ones that have it; " +
        'a function that does not exist yet has it from its first version on.',
      access: 'deploy',
      params: inFunctionSecret,
      query: noQuery,
      body: putFunctionSecretSchema,
      replies: { 200: putFunctionSecretReplySchema },
    },
    async ({ db, nodeKey }, { principal, params, body }) => {
      const ref = { account: params.account, functionName: params.function, name: params.secret };
      const context = functionSecretContext(ref.account, ref.functionName, ref.name);
      const sealed = await seal(nodeKey, new TextEncoder().encode(body.value), context);
      const { updatedAtMs, ...told } = await db.write(async (tx) => {
        await requireFreeName(tx.orm, ref);
        return putFunctionSecret(tx, ref, sealed, principal.keyId);
      });
      return { status: 200, body: { name: ref.name, updatedAt: instant(updatedAtMs), ...told } };
    },
  ),
  route(
    {
      id: 'deleteFunctionSecret',
      method: 'delete',
      path: `${F}/{secret}`,
      summary: "Deletes a function's secret that no served version says it needs.",
      access: 'deploy',
      params: inFunctionSecret,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ db }, { principal, params }) => {
      const ref = { account: params.account, functionName: params.function, name: params.secret };
      await db.write((tx) => deleteFunctionSecret(tx, ref, principal.keyId));
      return { status: 204 };
    },
  ),
];
