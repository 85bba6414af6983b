/** The agent's HTTP interface: shared/contracts/nodes.ts. */
import { Hono } from 'hono';
import { z } from 'zod';
import type { Runnable } from '#shared/contracts/feed.ts';
import {
  brokenReportSchema,
  checkRequestSchema,
  overdueReportSchema,
  slowReportSchema,
  startRequestSchema,
  type CheckReply,
  type NodeStatus,
  type OverdueReport,
  type SlowReport,
} from '#shared/contracts/nodes.ts';
import { asPlatformError, PlatformError, problemResponse } from '#shared/errors.ts';
import { accountNameSchema, functionNameSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { Instances } from './instances/instances.ts';
import type { LogStore } from './logs/store.ts';

export interface AgentAppDeps {
  readonly instances: Pick<Instances, 'start' | 'stop' | 'exit'>;
  readonly logs: Pick<LogStore, 'tail' | 'follow'>;
  readonly check: (runnable: Runnable) => Promise<CheckReply>;
  readonly overdue: (instanceId: string, report: OverdueReport) => void;
  readonly broken: (instanceId: string, requestId: string) => void;
  readonly slow: (report: SlowReport) => void;
  readonly status: () => NodeStatus;
  readonly ask: (kind: string, question: unknown) => Promise<unknown>;
  readonly log: Log;
}

const WAIT_MS_MAX = 60_000;
const GRACE_MS_MAX = 15 * 60_000;

const milliseconds = (max: number): z.ZodType<number> => z.coerce.number().int().min(0).max(max);
const exitQuery = z.object({ waitMs: milliseconds(WAIT_MS_MAX).default(0) });
const stopQuery = z.object({ graceMs: milliseconds(GRACE_MS_MAX).default(0) });
const logsQuery = z.object({
  account: accountNameSchema,
  function: functionNameSchema,
  follow: z.enum(['0', '1']).default('0'),
  tail: z.coerce.number().int().min(0).max(LIMITS.logEntriesPerFunctionMax).default(100),
});

function parse<S extends z.ZodType>(schema: S, value: unknown): z.infer<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new PlatformError('bad_request', z.prettifyError(result.error), { cause: result.error });
}

async function jsonOf(request: Request): Promise<unknown> {
  try {
    return await request.json();
  } catch (thrown) {
    throw new PlatformError('bad_request', 'the body is not JSON', { cause: thrown });
  }
}

export function createAgentApp(deps: AgentAppDeps): Hono {
  const app = new Hono();
  app.onError((thrown, context) => {
    const error = asPlatformError(thrown);
    if (error.code === 'internal')
      deps.log.error('request_failed', { path: context.req.path, error: error.cause ?? error });
    return problemResponse(error);
  });
  app.notFound(() => problemResponse(new PlatformError('not_found', 'no such resource')));

  app.post('/v1/instances', async (context) =>
    context.json(await deps.instances.start(parse(startRequestSchema, await jsonOf(context.req.raw)))),
  );
  app.delete('/v1/instances/:id', (context) => {
    const { graceMs } = parse(stopQuery, context.req.query());
    deps.instances.stop(context.req.param('id'), graceMs);
    return context.body(null, 204);
  });
  app.get('/v1/instances/:id/exit', async (context) => {
    const { waitMs } = parse(exitQuery, context.req.query());
    return context.json(await deps.instances.exit(context.req.param('id'), waitMs));
  });
  app.post('/v1/instances/:id/overdue', async (context) => {
    deps.overdue(context.req.param('id'), parse(overdueReportSchema, await jsonOf(context.req.raw)));
    return context.body(null, 204);
  });
  app.post('/v1/instances/:id/broken', async (context) => {
    const { requestId } = parse(brokenReportSchema, await jsonOf(context.req.raw));
    deps.broken(context.req.param('id'), requestId);
    return context.body(null, 204);
  });
  app.post('/v1/slow', async (context) => {
    deps.slow(parse(slowReportSchema, await jsonOf(context.req.raw)));
    return context.body(null, 204);
  });
  app.post('/v1/check', async (context) => {
    const { runnable } = parse(checkRequestSchema, await jsonOf(context.req.raw));
    return context.json(await deps.check(runnable));
  });
  app.get('/v1/status', (context) => context.json(deps.status()));
  app.get('/v1/logs', async (context) => {
    const query = parse(logsQuery, context.req.query());
    const headers = { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' };
    if (query.follow === '1') {
      const stream = deps.logs.follow(
        { account: query.account, functionName: query.function, tail: query.tail },
        context.req.raw.signal,
      );
      return context.body(stream, 200, headers);
    }
    const entries = await deps.logs.tail(query.account, query.function, query.tail);
    return context.body(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''), 200, headers);
  });
  app.post('/v1/bindings/:kind/ask', async (context) => {
    const answer = await deps.ask(context.req.param('kind'), await jsonOf(context.req.raw));
    if (answer === undefined) return context.body(null, 204);
    if (!(answer instanceof Uint8Array)) return context.json(answer as object);
    return context.body(answer as Uint8Array<ArrayBuffer>, 200, {
      'content-type': 'application/octet-stream',
    });
  });
  return app;
}
