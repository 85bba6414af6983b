/** KV namespaces, and their values as an operator sees them: functions reach values on their node, not here. */
import type { z } from 'zod';
import {
  createKvNamespaceSchema,
  kvNamespaceViewSchema,
  listOf,
  patchKvNamespaceSchema,
} from '#shared/contracts/api.ts';
import {
  KV_LIMITS,
  kvKeyQuerySchema,
  kvKeysQuerySchema,
  kvKeysSchema,
  putKvValueSchema,
  type KvQuestion,
  type PutKvValue,
} from '#shared/contracts/kv.ts';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import { kvNamespaceNameSchema } from '#shared/ids.ts';
import { newId } from '../auth/keys.ts';
import {
  createKvNamespace,
  deleteKvNamespace,
  grantKvNamespace,
  kvNamespaceView,
  listKvNamespaces,
  requireKvNamespace,
} from '../db/kv.ts';
import type { ApiDeps } from './deps.ts';
import { inAccount, noQuery, pageQuery, route, type Route, type Answer } from './operation.ts';

const K = '/v1/accounts/{account}/kv-namespaces';
const BY_PATH_NOTE =
  'A key with `.` or `..` between slashes cannot be named this way: clients rewrite paths.';
const NODE_TIMEOUT_MS = 10_000;

const inNamespace = inAccount.extend({ namespace: kvNamespaceNameSchema });
const inValue = inNamespace.extend(kvKeyQuerySchema.shape);
const VALUE = `${K}/{namespace}/value`;
/** The first form. Clients normalise paths, so keys with dot segments cannot be said in it. */
const VALUE_BY_PATH = `${K}/{namespace}/values/{key+}`;

/** Answers that another node would repeat. */
const FINAL: ReadonlySet<ErrorCode> = new Set([
  'not_found',
  'kv_invalid',
  'kv_value_too_large',
  'kv_full',
  'storage_full',
]);

/** Asks the nodes in turn: all of a platform see the same values. */
async function askNodes(deps: ApiDeps, question: KvQuestion): Promise<Uint8Array> {
  const asked = { kind: 'kv', question, bytesMax: KV_LIMITS.valueBytesMax };
  let last: unknown;
  for (const node of deps.nodes) {
    try {
      return await node.ask(asked, AbortSignal.timeout(NODE_TIMEOUT_MS));
    } catch (thrown) {
      if (thrown instanceof PlatformError && FINAL.has(thrown.code)) throw thrown;
      last = thrown;
      deps.log.warn('kv_unreachable', { node: node.nodeId, error: thrown });
    }
  }
  throw new PlatformError('kv_unavailable', 'no node answered for KV', { cause: last, retryAfterMs: 2_000 });
}

type NamespaceRef = z.infer<typeof inNamespace>;

async function idOf(deps: ApiDeps, ref: NamespaceRef): Promise<string> {
  return (await deps.db.read((orm) => requireKvNamespace(orm, ref))).id;
}

async function read(deps: ApiDeps, ref: NamespaceRef, key: string): Promise<Answer> {
  const value = await askNodes(deps, { ask: 'get', namespaceId: await idOf(deps, ref), key });
  return { status: 200, body: value };
}

async function put(
  deps: ApiDeps,
  ref: NamespaceRef,
  { key, body }: { readonly key: string; readonly body: PutKvValue },
): Promise<Answer> {
  const namespaceId = await idOf(deps, ref);
  await askNodes(deps, { ask: 'put', namespaceId, key, account: ref.account, ...body });
  return { status: 204 };
}

async function remove(deps: ApiDeps, ref: NamespaceRef, key: string): Promise<Answer> {
  await askNodes(deps, { ask: 'remove', namespaceId: await idOf(deps, ref), key });
  return { status: 204 };
}

export const kv: readonly Route[] = [
  route(
    {
      id: 'listKvNamespaces',
      method: 'get',
      path: K,
      summary: 'Lists KV namespaces.',
      access: 'read',
      params: inAccount,
      query: pageQuery,
      replies: { 200: listOf(kvNamespaceViewSchema) },
    },
    async ({ db }, { params, query }) => ({
      status: 200,
      body: await db.read((orm) => listKvNamespaces(orm, params.account, query)),
    }),
  ),
  route(
    {
      id: 'createKvNamespace',
      method: 'post',
      path: K,
      summary: 'Creates a KV namespace. Functions bind to it by name when they are published.',
      access: 'deploy',
      params: inAccount,
      query: noQuery,
      body: createKvNamespaceSchema,
      replies: { 201: kvNamespaceViewSchema },
    },
    async ({ db }, { principal, params, body }) => {
      const ref = { account: params.account, namespace: body.name };
      const row = await db.write((tx) =>
        createKvNamespace(tx, ref, { id: newId('kv'), functions: body.functions }, principal.keyId),
      );
      return { status: 201, body: kvNamespaceView(row) };
    },
  ),
  route(
    {
      id: 'patchKvNamespace',
      method: 'patch',
      path: `${K}/{namespace}`,
      summary: 'Says which functions may bind a KV namespace; null: every function of the account.',
      access: 'deploy',
      params: inNamespace,
      query: noQuery,
      body: patchKvNamespaceSchema,
      replies: { 200: kvNamespaceViewSchema },
    },
    async ({ db }, { principal, params, body }) => ({
      status: 200,
      body: kvNamespaceView(
        await db.write((tx) => grantKvNamespace(tx, params, body.functions, principal.keyId)),
      ),
    }),
  ),
  route(
    {
      id: 'deleteKvNamespace',
      method: 'delete',
      path: `${K}/{namespace}`,
      summary: 'Deletes a KV namespace that no version binds, with all its values.',
      access: 'deploy',
      params: inNamespace,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async (deps, { principal, params }) => {
      const id = await deps.db.write((tx) => deleteKvNamespace(tx, params, principal.keyId));
      // The id is never used again, so values that stay for want of a node are unreachable.
      await askNodes(deps, { ask: 'drop', namespaceId: id }).catch(() =>
        deps.log.warn('kv_values_left', { namespaceId: id }),
      );
      return { status: 204 };
    },
  ),
  route(
    {
      id: 'listKvKeys',
      method: 'get',
      path: `${K}/{namespace}/keys`,
      summary: 'Lists keys of a KV namespace in the order of their bytes.',
      access: 'read',
      params: inNamespace,
      query: kvKeysQuerySchema,
      replies: { 200: kvKeysSchema },
    },
    async (deps, { params, query }) => {
      const answer = await askNodes(deps, { ask: 'list', namespaceId: await idOf(deps, params), ...query });
      return { status: 200, body: kvKeysSchema.parse(JSON.parse(new TextDecoder().decode(answer))) };
    },
  ),
  route(
    {
      id: 'getKvValue',
      method: 'get',
      path: VALUE,
      summary: 'The bytes of a value.',
      access: 'read',
      params: inNamespace,
      query: kvKeyQuerySchema,
      replies: { 200: 'bytes' },
    },
    (deps, { params, query }) => read(deps, params, query.key),
  ),
  route(
    {
      id: 'getKvValueByPath',
      method: 'get',
      path: VALUE_BY_PATH,
      summary: `The bytes of a value. ${BY_PATH_NOTE}`,
      access: 'read',
      params: inValue,
      query: noQuery,
      replies: { 200: 'bytes' },
      deprecated: true,
    },
    (deps, { params }) => read(deps, params, params.key),
  ),
  route(
    {
      id: 'putKvValue',
      method: 'put',
      path: VALUE,
      summary: 'Sets a value. Large ones are put by functions: a body here has at most 1 MiB.',
      access: 'deploy',
      params: inNamespace,
      query: kvKeyQuerySchema,
      body: putKvValueSchema,
      replies: { 204: 'empty' },
    },
    (deps, { params, query, body }) => put(deps, params, { key: query.key, body }),
  ),
  route(
    {
      id: 'putKvValueByPath',
      method: 'put',
      path: VALUE_BY_PATH,
      summary: `Sets a value. ${BY_PATH_NOTE}`,
      access: 'deploy',
      params: inValue,
      query: noQuery,
      body: putKvValueSchema,
      replies: { 204: 'empty' },
      deprecated: true,
    },
    (deps, { params, body }) => put(deps, params, { key: params.key, body }),
  ),
  route(
    {
      id: 'deleteKvValue',
      method: 'delete',
      path: VALUE,
      summary: 'Removes a key, whether it exists or not.',
      access: 'deploy',
      params: inNamespace,
      query: kvKeyQuerySchema,
      replies: { 204: 'empty' },
    },
    (deps, { params, query }) => remove(deps, params, query.key),
  ),
  route(
    {
      id: 'deleteKvValueByPath',
      method: 'delete',
      path: VALUE_BY_PATH,
      summary: `Removes a key, whether it exists or not. ${BY_PATH_NOTE}`,
      access: 'deploy',
      params: inValue,
      query: noQuery,
      replies: { 204: 'empty' },
      deprecated: true,
    },
    (deps, { params }) => remove(deps, params, params.key),
  ),
];
