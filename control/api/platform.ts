/** What the platform is and how it does, as far as the key may see. */
import { z } from 'zod';
import { whoamiSchema } from '#shared/contracts/access.ts';
import { platformStatusSchema, propagationSchema } from '#shared/contracts/api.ts';
import type { NodeStatus } from '#shared/contracts/nodes.ts';
import { PlatformError } from '#shared/errors.ts';
import type { SkippedItem } from '#shared/contracts/feed.ts';
import { functionNameSchema, parseVersionId } from '#shared/ids.ts';
import { findKey, keyView } from '../db/keys.ts';
import { FULL_BELOW_BYTES } from '#shared/runtime/disk.node.ts';
import type { ApiDeps } from './deps.ts';
import { heldView } from './held.ts';
import type { Principal } from '../auth/authenticate.ts';
import { isOperator, maySee, noQuery, nowhere, route, type Route } from './operation.ts';

const PROPAGATION_WAIT_MS_MAX = 60_000;
const STATUS_TIMEOUT_MS = 2_000;

async function nodeStatuses(deps: ApiDeps): Promise<readonly NodeStatus[]> {
  const answers = await Promise.allSettled(
    deps.nodes.map((node) => node.status(AbortSignal.timeout(STATUS_TIMEOUT_MS))),
  );
  return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
}

/** Kinds whose key is `ACCOUNT/FUNCTION`, with or without a version. */
const OF_FUNCTIONS: ReadonlySet<string> = new Set(['function', 'version', 'runnable', 'placement']);

/** Keys and reasons name functions and what is wrong with them: each key is told of what it may see. Pure. */
function skippedFor(principal: Principal, { kind, key }: SkippedItem): boolean {
  if (isOperator(principal)) return true;
  const { account } = principal;
  if (!key.startsWith(`${account}/`))
    return kind === 'account' && key === account && principal.functions === undefined;
  if (!OF_FUNCTIONS.has(kind)) return principal.functions === undefined;
  const name = functionNameSchema.safeParse(key.slice(account.length + 1).split('@', 1)[0]);
  return name.success && maySee(principal, name.data);
}

export const platform: readonly Route[] = [
  route(
    {
      id: 'whoami',
      method: 'get',
      path: '/v1/whoami',
      summary: 'Account, role and limits of the key that makes this call, and where functions answer.',
      access: 'self',
      params: nowhere,
      query: noQuery,
      replies: { 200: whoamiSchema },
    },
    async (deps, { principal }) => {
      const row = await deps.db.read((orm) => findKey(orm, principal.keyId));
      if (row === undefined)
        throw new PlatformError('key_not_found', `${principal.keyId} was revoked during its call`);
      const url = await deps.gatewayUrl();
      return {
        status: 200,
        body: {
          account: principal.account,
          key: keyView(row),
          gateway: { baseDomain: deps.baseDomain, ...(url === undefined ? {} : { url }) },
        },
      };
    },
  ),
  route(
    {
      id: 'getPropagation',
      method: 'get',
      path: '/v1/propagation',
      summary: 'Waits until every live gateway and node has applied a revision.',
      access: 'read',
      limited: true,
      params: nowhere,
      query: z.object({
        revision: z.coerce.number().int().min(0),
        waitMs: z.coerce.number().int().min(0).max(PROPAGATION_WAIT_MS_MAX).default(0),
      }),
      replies: { 200: propagationSchema },
    },
    async (deps, { query, signal }) => ({
      status: 200,
      body: await deps.consumers.propagation(query.revision, query.waitMs, signal),
    }),
  ),
  route(
    {
      id: 'getStatus',
      method: 'get',
      path: '/v1/status',
      summary: 'Revision, feed consumers, the nodes that answer, and which versions are not started for now.',
      access: 'read',
      limited: true,
      params: nowhere,
      query: noQuery,
      replies: { 200: platformStatusSchema },
    },
    async (deps, { principal }) => {
      const [nodes, held, disk] = await Promise.all([
        nodeStatuses(deps),
        deps.scheduler.held(principal.account),
        deps.disk(),
      ]);
      const nowMs = deps.clock.wallMs();
      return {
        status: 200,
        body: {
          revision: deps.db.revision,
          consumers: deps.consumers.status().map(({ skipped, ...consumer }) => ({
            ...consumer,
            skipped: skipped.filter((item) => skippedFor(principal, item)),
          })),
          nodes,
          ...(disk === undefined ? {} : { storage: { ...disk, full: disk.freeBytes < FULL_BELOW_BYTES } }),
          ...(held === undefined
            ? {}
            : {
                held: held
                  .filter(({ version }) => maySee(principal, parseVersionId(version).functionName))
                  .map((version) => heldView(version, nowMs)),
              }),
        },
      };
    },
  ),
];
