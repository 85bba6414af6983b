/** Aliases: what of a function is served, and the history of it. */
import {
  aliasViewSchema,
  deploymentViewSchema,
  listOf,
  rollbackSchema,
  setAliasSchema,
  type Weights,
} from '#shared/contracts/api.ts';
import { aliasNameSchema } from '#shared/ids.ts';
import { deleteAlias, listAliases, listDeployments, previousWeights, requireAlias } from '../db/aliases.ts';
import { moveAlias } from '../publish/move.ts';
import {
  inAlias,
  inFunction,
  noQuery,
  pageQuery,
  FUNCTION_PATH,
  functionRef,
  route,
  type Route,
} from './operation.ts';

export const aliases: readonly Route[] = [
  route(
    {
      id: 'listAliases',
      method: 'get',
      path: `${FUNCTION_PATH}/aliases`,
      summary: 'Lists aliases.',
      access: 'read',
      params: inFunction,
      query: pageQuery,
      replies: { 200: listOf(aliasViewSchema) },
    },
    async ({ db }, { params, query }) => ({
      status: 200,
      body: await db.read((orm) => listAliases(orm, functionRef(params), query)),
    }),
  ),
  route(
    {
      id: 'setAlias',
      method: 'put',
      path: `${FUNCTION_PATH}/aliases/{alias}`,
      summary: 'Points an alias at one version, or at several with weights.',
      access: 'deploy',
      params: inAlias,
      query: noQuery,
      body: setAliasSchema,
      replies: { 200: deploymentViewSchema },
    },
    async ({ db }, { principal, params, body }) => ({
      status: 200,
      body: await db.write((tx) =>
        moveAlias(tx, functionRef(params), {
          alias: params.alias,
          weights: body.weights,
          reason: 'set',
          message: body.message,
          actor: principal.keyId,
        }),
      ),
    }),
  ),
  route(
    {
      id: 'deleteAlias',
      method: 'delete',
      path: `${FUNCTION_PATH}/aliases/{alias}`,
      summary: 'Deletes an alias that no route uses.',
      access: 'deploy',
      params: inAlias,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ db }, { principal, params }) => {
      await db.write((tx) => deleteAlias(tx, functionRef(params), params.alias, principal.keyId));
      return { status: 204 };
    },
  ),
  route(
    {
      id: 'rollback',
      method: 'post',
      path: `${FUNCTION_PATH}/aliases/{alias}/rollback`,
      summary: 'Points an alias at what it served before, or at the given version.',
      access: 'deploy',
      params: inAlias,
      query: noQuery,
      body: rollbackSchema,
      replies: { 200: deploymentViewSchema },
    },
    async ({ db }, { principal, params, body }) => {
      const ref = functionRef(params);
      const deployment = await db.write(async (tx) => {
        await requireAlias(tx.orm, ref, params.alias);
        const weights: Weights =
          body.toVersion === undefined
            ? await previousWeights(tx.orm, ref, params.alias)
            : [{ version: body.toVersion, weight: 100 }];
        return moveAlias(tx, ref, {
          alias: params.alias,
          weights,
          reason: 'rollback',
          message: body.message,
          actor: principal.keyId,
        });
      });
      return { status: 200, body: deployment };
    },
  ),
  route(
    {
      id: 'listDeployments',
      method: 'get',
      path: `${FUNCTION_PATH}/deployments`,
      summary: 'Lists where the aliases pointed, newest first.',
      access: 'read',
      params: inFunction,
      query: pageQuery.extend({ alias: aliasNameSchema.optional() }),
      replies: { 200: listOf(deploymentViewSchema) },
    },
    async ({ db }, { params, query }) => ({
      status: 200,
      body: await db.read((orm) => listDeployments(orm, functionRef(params), query.alias, query)),
    }),
  ),
];
