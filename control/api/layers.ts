/** Layers: modules that several functions share. */
import { z } from 'zod';
import {
  layerMetadataSchema,
  layerVersionViewSchema,
  layerViewSchema,
  listOf,
} from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import {
  deleteLayerVersion,
  layerVersionView,
  listLayers,
  listLayerVersions,
  requireLayerVersion,
  type LayerRef,
} from '../db/layers.ts';
import { publishLayer } from '../publish/publish.ts';
import { inAccount, inLayer, inLayerVersion, noQuery, pageQuery, route, type Route } from './operation.ts';

const L = '/v1/accounts/{account}/layers/{layer}/versions';

function refOf(params: z.infer<typeof inLayer>): LayerRef {
  return { account: params.account, layer: params.layer };
}

export const layers: readonly Route[] = [
  route(
    {
      id: 'listLayers',
      method: 'get',
      path: '/v1/accounts/{account}/layers',
      summary: 'Lists layers.',
      access: 'read',
      limited: true,
      params: inAccount,
      query: pageQuery,
      replies: { 200: listOf(layerViewSchema) },
    },
    async ({ db }, { params, query }) => ({
      status: 200,
      body: await db.read((orm) => listLayers(orm, params.account, query)),
    }),
  ),
  route(
    {
      id: 'publishLayerVersion',
      method: 'post',
      path: L,
      summary: 'Publishes a layer version. Equal content returns the version that exists (200).',
      access: 'deploy',
      params: inLayer,
      query: noQuery,
      upload: layerMetadataSchema,
      replies: { 200: layerVersionViewSchema, 201: layerVersionViewSchema },
    },
    async (deps, { principal, params, upload, signal }) => {
      await using uploaded = await upload();
      const view = await publishLayer(deps, refOf(params), uploaded, { by: principal, signal });
      return { status: view.created ? 201 : 200, body: view };
    },
  ),
  route(
    {
      id: 'listLayerVersions',
      method: 'get',
      path: L,
      summary: 'Lists versions of a layer, newest first.',
      access: 'read',
      limited: true,
      params: inLayer,
      query: pageQuery,
      replies: { 200: listOf(layerVersionViewSchema) },
    },
    async ({ db }, { params, query }) => ({
      status: 200,
      body: await db.read((orm) => listLayerVersions(orm, refOf(params), query)),
    }),
  ),
  route(
    {
      id: 'getLayerVersion',
      method: 'get',
      path: `${L}/{number}`,
      summary: 'Shows a layer version.',
      access: 'read',
      limited: true,
      params: inLayerVersion,
      query: noQuery,
      replies: { 200: layerVersionViewSchema },
    },
    async ({ db }, { params }) => ({
      status: 200,
      body: layerVersionView(await db.read((orm) => requireLayerVersion(orm, refOf(params), params.number))),
    }),
  ),
  route(
    {
      id: 'deleteLayerVersion',
      method: 'delete',
      path: `${L}/{number}`,
      summary: 'Deletes a layer version that no function version lists.',
      access: 'deploy',
      params: inLayerVersion,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ db }, { principal, params }) => {
      await db.write((tx) => deleteLayerVersion(tx, refOf(params), params.number, principal.keyId));
      return { status: 204 };
    },
  ),
  route(
    {
      id: 'getLayerModule',
      method: 'get',
      path: `${L}/{number}/modules/{path+}`,
      summary: 'The bytes of one module of a layer version.',
      access: 'read',
      limited: true,
      params: inLayerVersion.extend({ path: z.string().min(1).max(1_024) }),
      query: noQuery,
      replies: { 200: 'bytes' },
    },
    async (deps, { params }) => {
      const row = await deps.db.read((orm) => requireLayerVersion(orm, refOf(params), params.number));
      const module = row.modules.find((entry) => entry.name === params.path);
      if (module === undefined)
        throw new PlatformError('not_found', 'no such module in the layer', {
          publicDetail: 'The layer version holds no module of that name.',
        });
      return { status: 200, body: await deps.blobs.get(module.digest) };
    },
  ),
];
