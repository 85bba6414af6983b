/** Versions: code and configuration as they were published, never changed. */
import {
  listOf,
  publishMetadataSchema,
  publishReplySchema,
  versionViewSchema,
} from '#shared/contracts/api.ts';
import { deleteVersion, listVersions, requireVersion, versionView } from '../db/versions.ts';
import { publishVersion } from '../publish/publish.ts';
import {
  inFunction,
  inVersion,
  noQuery,
  pageQuery,
  FUNCTION_PATH,
  functionRef,
  route,
  type Route,
} from './operation.ts';

export const versions: readonly Route[] = [
  route(
    {
      id: 'publishVersion',
      method: 'post',
      path: `${FUNCTION_PATH}/versions`,
      summary:
        'Publishes a version: starts the code once, then stores it and moves the alias in one transaction. ' +
        'Equal content returns the version that exists (200). Creates the function when needed.',
      access: 'deploy',
      params: inFunction,
      query: noQuery,
      upload: publishMetadataSchema,
      replies: { 200: publishReplySchema, 201: publishReplySchema },
    },
    async (deps, { principal, params, upload, signal }) => {
      // Read before a permit is asked for: a slow client holds none.
      await using uploaded = await upload();
      const reply = await publishVersion(deps, functionRef(params), uploaded, { by: principal, signal });
      return { status: reply.created ? 201 : 200, body: reply };
    },
  ),
  route(
    {
      id: 'listVersions',
      method: 'get',
      path: `${FUNCTION_PATH}/versions`,
      summary: 'Lists versions, newest first.',
      access: 'read',
      params: inFunction,
      query: pageQuery,
      replies: { 200: listOf(versionViewSchema) },
    },
    async ({ db }, { params, query }) => ({
      status: 200,
      body: await db.read((orm) => listVersions(orm, functionRef(params), query)),
    }),
  ),
  route(
    {
      id: 'getVersion',
      method: 'get',
      path: `${FUNCTION_PATH}/versions/{number}`,
      summary: 'Shows a version.',
      access: 'read',
      params: inVersion,
      query: noQuery,
      replies: { 200: versionViewSchema },
    },
    async ({ db }, { params }) => ({
      status: 200,
      body: versionView(await db.read((orm) => requireVersion(orm, functionRef(params), params.number))),
    }),
  ),
  route(
    {
      id: 'deleteVersion',
      method: 'delete',
      path: `${FUNCTION_PATH}/versions/{number}`,
      summary: 'Deletes a version that no alias uses. Its number stays used.',
      access: 'own',
      params: inVersion,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ db }, { principal, params }) => {
      await db.write((tx) => deleteVersion(tx, functionRef(params), params.number, principal.keyId));
      return { status: 204 };
    },
  ),
];
