/** Functions: what is deployed under a name, and its logs. */
import { z } from 'zod';
import { functionViewSchema, listOf, patchFunctionSchema } from '#shared/contracts/api.ts';
import { LIMITS } from '#shared/limits.ts';
import { deleteFunction, getFunction, listFunctions, requireFunction, setEnabled } from '../db/functions.ts';
import { logStream } from '../logs/merge.ts';
import { heldView } from './held.ts';
import {
  inAccount,
  inFunction,
  noQuery,
  pageQuery,
  FUNCTION_PATH,
  functionRef,
  route,
  type Route,
} from './operation.ts';

const flag = z.enum(['0', '1']).default('0');

export const functions: readonly Route[] = [
  route(
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
    async ({ db }, { principal, params, query }) => ({
      status: 200,
      body: await db.read((orm) => listFunctions(orm, params.account, query, principal.functions)),
    }),
  ),
  route(
    {
      id: 'getFunction',
      method: 'get',
      path: FUNCTION_PATH,
      summary: 'Shows a function with its aliases, and which of its versions are not started for now.',
      access: 'read',
      params: inFunction,
      query: noQuery,
      replies: { 200: functionViewSchema },
    },
    async ({ clock, db, scheduler }, { params }) => {
      const view = await db.read((orm) => getFunction(orm, functionRef(params)));
      const life = await scheduler.life(params.account, params.function);
      const held = life?.held.map((version) => heldView(version, clock.wallMs()));
      return { status: 200, body: { ...view, ...(held === undefined ? {} : { held }) } };
    },
  ),
  route(
    {
      id: 'patchFunction',
      method: 'patch',
      path: FUNCTION_PATH,
      summary: 'Enables or disables a function. A disabled one answers `function_disabled`.',
      access: 'own',
      params: inFunction,
      query: noQuery,
      body: patchFunctionSchema,
      replies: { 200: functionViewSchema },
    },
    async ({ db }, { principal, params, body }) => ({
      status: 200,
      body: await db.write((tx) =>
        setEnabled(tx, functionRef(params), { enabled: body.enabled, actor: principal.keyId }),
      ),
    }),
  ),
  route(
    {
      id: 'deleteFunction',
      method: 'delete',
      path: FUNCTION_PATH,
      summary: 'Deletes a function with its versions, aliases and routes. Its version numbers stay used.',
      access: 'own',
      params: inFunction,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ db }, { principal, params }) => {
      await db.write((tx) => deleteFunction(tx, functionRef(params), principal.keyId));
      return { status: 204 };
    },
  ),
  route(
    {
      id: 'readLogs',
      method: 'get',
      path: `${FUNCTION_PATH}/logs`,
      summary: 'Console output and exceptions from all nodes, one JSON object a line, stacks source-mapped.',
      access: 'read',
      params: inFunction,
      query: z.object({
        follow: flag,
        tail: z.coerce.number().int().min(0).max(LIMITS.logEntriesPerFunctionMax).default(100),
      }),
      replies: { 200: 'ndjson' },
    },
    async (deps, { params, query, signal }) => {
      await deps.db.read((orm) => requireFunction(orm, functionRef(params)));
      const stream = await logStream(
        deps,
        { ...functionRef(params), follow: query.follow === '1', tail: query.tail },
        signal,
      );
      return { status: 200, body: stream };
    },
  ),
];
