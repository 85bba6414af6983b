/** Instances that an alias keeps ready. */
import { provisionViewSchema, type ProvisionView } from '#shared/contracts/api.ts';
import { provisionSchema } from '#shared/contracts/provision.ts';
import { requireAlias } from '../db/aliases.ts';
import { setProvision } from '../db/provision.ts';
import type { ApiDeps } from './deps.ts';
import { FUNCTION_PATH, functionRef, inAlias, noQuery, route, type Route } from './operation.ts';
import type { z } from 'zod';

const PATH = `${FUNCTION_PATH}/aliases/{alias}/provision`;

type Params = z.infer<typeof inAlias>;

async function view({ db, scheduler }: ApiDeps, params: Params): Promise<ProvisionView> {
  const row = await db.read((orm) => requireAlias(orm, functionRef(params), params.alias));
  const life = await scheduler.life(params.account, params.function);
  const standing = life?.aliases.find(({ name }) => name === params.alias);
  return {
    alias: params.alias,
    ...(row.provision ?? provisionSchema.parse({})),
    ...(standing === undefined ? {} : { target: standing.target, ready: standing.ready }),
  };
}

export const provisions: readonly Route[] = [
  route(
    {
      id: 'getProvision',
      method: 'get',
      path: PATH,
      summary: 'Shows how many instances the alias keeps ready, and how many are.',
      access: 'read',
      params: inAlias,
      query: noQuery,
      replies: { 200: provisionViewSchema },
    },
    async (deps, { params }) => ({ status: 200, body: await view(deps, params) }),
  ),
  route(
    {
      id: 'setProvision',
      method: 'put',
      path: PATH,
      summary:
        'Keeps instances of what the alias serves ready: the largest of `instances` and the open windows ' +
        '(UTC), within maxInstances and the ceiling of the account.',
      access: 'deploy',
      params: inAlias,
      query: noQuery,
      body: provisionSchema,
      replies: { 200: provisionViewSchema },
    },
    async (deps, { principal, params, body }) => {
      await deps.db.write((tx) =>
        setProvision(tx, functionRef(params), {
          alias: params.alias,
          provision: body,
          actor: principal.keyId,
        }),
      );
      return { status: 200, body: await view(deps, params) };
    },
  ),
  route(
    {
      id: 'deleteProvision',
      method: 'delete',
      path: PATH,
      summary: 'Keeps no instance ready any more.',
      access: 'deploy',
      params: inAlias,
      query: noQuery,
      replies: { 204: 'empty' },
    },
    async ({ db }, { principal, params }) => {
      await db.write((tx) =>
        setProvision(tx, functionRef(params), {
          alias: params.alias,
          provision: null,
          actor: principal.keyId,
        }),
      );
      return { status: 204 };
    },
  ),
];
