import { z } from 'zod';
import {
  aliasViewSchema,
  deploymentViewSchema,
  functionViewSchema,
  listOf,
  patchFunctionSchema,
  publishMetadataSchema,
  publishReplySchema,
  rollbackSchema,
  setAliasSchema,
  versionViewSchema,
  type Weights,
} from '#shared/contracts/api.ts';
import { aliasNameSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { deleteAlias, listAliases, listDeployments, previousWeights, requireAlias } from '../db/aliases.ts';
import {
  deleteFunction,
  getFunction,
  listFunctions,
  requireFunction,
  setEnabled,
  type FunctionRef,
} from '../db/functions.ts';
import { deleteVersion, listVersions, requireVersion, versionView } from '../db/versions.ts';
import { logStream } from '../logs/merge.ts';
import { moveAlias } from '../publish/move.ts';
import { publishVersion } from '../publish/publish.ts';
import type { ApiDeps } from './deps.ts';
import { heldView } from './held.ts';
import {
  inAccount,
  inAlias,
  inFunction,
  inVersion,
  noQuery,
  pageQuery,
  type AddOperation,
} from './operation.ts';

const F = '/v1/accounts/{account}/functions/{function}';

function refOf(params: z.infer<typeof inFunction>): FunctionRef {
  return { account: params.account, functionName: params.function };
}

export function addFunctions(add: AddOperation, { db, scheduler, clock }: ApiDeps): void {
  add(
    {
      id: 'listFunctions',
      method: 'get',
      path: '/v1/accounts/{account}/functions',
      summary: 'Lists functions with their aliases.',
      access: 'read',
      limited: true,
      params: inAccount,
      query: pageQuery,
      replies: { 200: listOf(functionViewSchema) },
    },
    async ({ principal, params, query }) => ({
      status: 200,
      body: await db.read((orm) => listFunctions(orm, params.account, query, principal.functions)),
    }),
  );
  add(
    {
      id: 'getFunction',
      method: 'get',
      path: F,
      summary: 'Shows a function with its aliases, and which of its versions are not started for now.',
      access: 'read',
      params: inFunction,
      query: noQuery,
      replies: { 200: functionViewSchema },
    },
    async ({ params }) => {
      const view = await db.read((orm) => getFunction(orm, refOf(params)));
      const life = await scheduler.life(params.account, params.function);
      const held = life?.held.map((version) => heldView(version, clock.wallMs()));
      return { status: 200, body: { ...view, ...(held === undefined ? {} : { held }) } };
    },
  );
}

export function addFunctionChanges(add: AddOperation, { db }: ApiDeps): void {
  add(
    {
      id: 'patchFunction',
      method: 'patch',
      path: F,
      summary: 'Enables or disables a function. A disabled one answers `function_disabled`.',
      access: 'own',
      params: inFunction,
      query: noQuery,
      body: patchFunctionSchema,
      replies: { 200: functionViewSchema },
    },
    async ({ principal, params, body }) => ({
      status: 200,
      body: await db.write((tx) =>
        setEnabled(tx, refOf(params), { enabled: body.enabled, actor: principal.keyId }),
      ),
    }),
  );
  add(
    {
      id: 'deleteFunction',
      method: 'delete',
      path: F,
      summary: 'Deletes a function with its versions, aliases and routes. Its version numbers stay used.',
      access: 'own',
      params: inFunction,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ principal, params }) => {
      await db.write((tx) => deleteFunction(tx, refOf(params), principal.keyId));
      return { status: 204 };
    },
  );
}

export function addVersions(add: AddOperation, deps: ApiDeps): void {
  const { db } = deps;
  add(
    {
      id: 'publishVersion',
      method: 'post',
      path: `${F}/versions`,
      summary:
        'Publishes a version: starts the code once, then stores it and moves the alias in one transaction. ' +
        'Equal content returns the version that exists (200). Creates the function when needed.',
      access: 'deploy',
      params: inFunction,
      query: noQuery,
      upload: publishMetadataSchema,
      replies: { 200: publishReplySchema, 201: publishReplySchema },
    },
    async ({ principal, params, upload, signal }) => {
      // Read before a permit is asked for: a slow client holds none.
      await using uploaded = await upload();
      const reply = await publishVersion(deps, refOf(params), uploaded, { by: principal, signal });
      return { status: reply.created ? 201 : 200, body: reply };
    },
  );
  add(
    {
      id: 'listVersions',
      method: 'get',
      path: `${F}/versions`,
      summary: 'Lists versions, newest first.',
      access: 'read',
      params: inFunction,
      query: pageQuery,
      replies: { 200: listOf(versionViewSchema) },
    },
    async ({ params, query }) => ({
      status: 200,
      body: await db.read((orm) => listVersions(orm, refOf(params), query)),
    }),
  );
}

export function addVersionDetails(add: AddOperation, { db }: ApiDeps): void {
  add(
    {
      id: 'getVersion',
      method: 'get',
      path: `${F}/versions/{number}`,
      summary: 'Shows a version.',
      access: 'read',
      params: inVersion,
      query: noQuery,
      replies: { 200: versionViewSchema },
    },
    async ({ params }) => ({
      status: 200,
      body: versionView(await db.read((orm) => requireVersion(orm, refOf(params), params.number))),
    }),
  );
  add(
    {
      id: 'deleteVersion',
      method: 'delete',
      path: `${F}/versions/{number}`,
      summary: 'Deletes a version that no alias uses. Its number stays used.',
      access: 'own',
      params: inVersion,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ principal, params }) => {
      await db.write((tx) => deleteVersion(tx, refOf(params), params.number, principal.keyId));
      return { status: 204 };
    },
  );
}

export function addAliases(add: AddOperation, { db }: ApiDeps): void {
  add(
    {
      id: 'listAliases',
      method: 'get',
      path: `${F}/aliases`,
      summary: 'Lists aliases.',
      access: 'read',
      params: inFunction,
      query: pageQuery,
      replies: { 200: listOf(aliasViewSchema) },
    },
    async ({ params, query }) => ({
      status: 200,
      body: await db.read((orm) => listAliases(orm, refOf(params), query)),
    }),
  );
  add(
    {
      id: 'setAlias',
      method: 'put',
      path: `${F}/aliases/{alias}`,
      summary: 'Points an alias at one version, or at several with weights.',
      access: 'deploy',
      params: inAlias,
      query: noQuery,
      body: setAliasSchema,
      replies: { 200: deploymentViewSchema },
    },
    async ({ principal, params, body }) => ({
      status: 200,
      body: await db.write((tx) =>
        moveAlias(tx, refOf(params), {
          alias: params.alias,
          weights: body.weights,
          reason: 'set',
          message: body.message,
          actor: principal.keyId,
        }),
      ),
    }),
  );
  add(
    {
      id: 'deleteAlias',
      method: 'delete',
      path: `${F}/aliases/{alias}`,
      summary: 'Deletes an alias that no route uses.',
      access: 'deploy',
      params: inAlias,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ principal, params }) => {
      await db.write((tx) => deleteAlias(tx, refOf(params), params.alias, principal.keyId));
      return { status: 204 };
    },
  );
}

export function addRollback(add: AddOperation, { db }: ApiDeps): void {
  add(
    {
      id: 'rollback',
      method: 'post',
      path: `${F}/aliases/{alias}/rollback`,
      summary: 'Points an alias at what it served before, or at the given version.',
      access: 'deploy',
      params: inAlias,
      query: noQuery,
      body: rollbackSchema,
      replies: { 200: deploymentViewSchema },
    },
    async ({ principal, params, body }) => {
      const ref = refOf(params);
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
  );
}

const flag = z.enum(['0', '1']).default('0');

export function addHistory(add: AddOperation, deps: ApiDeps): void {
  const { db } = deps;
  add(
    {
      id: 'listDeployments',
      method: 'get',
      path: `${F}/deployments`,
      summary: 'Lists where the aliases pointed, newest first.',
      access: 'read',
      params: inFunction,
      query: pageQuery.extend({ alias: aliasNameSchema.optional() }),
      replies: { 200: listOf(deploymentViewSchema) },
    },
    async ({ params, query }) => ({
      status: 200,
      body: await db.read((orm) => listDeployments(orm, refOf(params), query.alias, query)),
    }),
  );
  add(
    {
      id: 'readLogs',
      method: 'get',
      path: `${F}/logs`,
      summary: 'Console output and exceptions from all nodes, one JSON object a line, stacks source-mapped.',
      access: 'read',
      params: inFunction,
      query: z.object({
        follow: flag,
        tail: z.coerce.number().int().min(0).max(LIMITS.logEntriesPerFunctionMax).default(100),
      }),
      replies: { 200: 'ndjson' },
    },
    async ({ params, query, signal }) => {
      await db.read((orm) => requireFunction(orm, refOf(params)));
      const stream = await logStream(
        deps,
        { ...refOf(params), follow: query.follow === '1', tail: query.tail },
        signal,
      );
      return { status: 200, body: stream };
    },
  );
}
