import { provisionViewSchema, type ProvisionView } from '#shared/contracts/api.ts';
import { provisionSchema } from '#shared/contracts/provision.ts';
import { requireAlias } from '../db/aliases.ts';
import { setProvision } from '../db/provision.ts';
import type { ApiDeps } from './deps.ts';
import { inAlias, noQuery, type AddOperation } from './operation.ts';
import type { z } from 'zod';

const PATH = '/v1/accounts/{account}/functions/{function}/aliases/{alias}/provision';

type Params = z.infer<typeof inAlias>;

const refOf = (params: Params) => ({ account: params.account, functionName: params.function });

async function view({ db, scheduler }: ApiDeps, params: Params): Promise<ProvisionView> {
  const row = await db.read((orm) => requireAlias(orm, refOf(params), params.alias));
  const life = await scheduler.life(params.account, params.function);
  const standing = life?.aliases.find(({ name }) => name === params.alias);
  return {
    alias: params.alias,
    ...(row.provision ?? provisionSchema.parse({})),
    ...(standing === undefined ? {} : { target: standing.target, ready: standing.ready }),
  };
}

export function addProvision(add: AddOperation, deps: ApiDeps): void {
  const { db } = deps;
  add(
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
    async ({ params }) => ({ status: 200, body: await view(deps, params) }),
  );
  add(
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
    async ({ principal, params, body }) => {
      await db.write((tx) =>
        setProvision(tx, refOf(params), { alias: params.alias, provision: body, actor: principal.keyId }),
      );
      return { status: 200, body: await view(deps, params) };
    },
  );
  add(
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
    async ({ principal, params }) => {
      await db.write((tx) =>
        setProvision(tx, refOf(params), { alias: params.alias, provision: null, actor: principal.keyId }),
      );
      return { status: 204 };
    },
  );
}
