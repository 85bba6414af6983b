/** The feed, the blobs and the usage reports of gateways and nodes, on a Unix socket that only the platform's user can open. */
import { Hono } from 'hono';
import { z } from 'zod';
import { feedAckSchema } from '#shared/contracts/feed.ts';
import { usageReportSchema } from '#shared/contracts/usage.ts';
import { asPlatformError, PlatformError, problemResponse } from '#shared/errors.ts';
import { accountNameSchema, digestSchema } from '#shared/ids.ts';
import { addMetrics } from '#shared/metrics/routes.ts';
import type { Sample } from '#shared/metrics/samples.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { AssetStore } from './assets/store.ts';
import type { BlobStore } from './blobs/store.ts';
import type { Consumers } from './feed/consumers.ts';
import type { FeedHub } from './feed/hub.ts';
import type { UsageLedger } from './usage/ledger.ts';
import { parseOrRefuse } from './validation.ts';

export interface InternalDeps {
  readonly hub: FeedHub;
  readonly consumers: Consumers;
  readonly blobs: BlobStore;
  readonly assets: Pick<AssetStore, 'get'>;
  readonly usage: Pick<UsageLedger, 'apply'>;
  readonly log: Log;
  /** Of control itself. */
  readonly samples: () => readonly Sample[];
}

const feedQuerySchema = z.object({
  consumer: feedAckSchema.shape.consumer,
  role: feedAckSchema.shape.role,
  from: z.coerce.number().int().min(0).default(0),
  epoch: z.string().max(200).default(''),
});

export function createInternal(deps: InternalDeps): Hono {
  const app = new Hono();
  app.get('/internal/feed', (c) => {
    const request = parseOrRefuse(feedQuerySchema, c.req.query(), 'bad_request');
    return new Response(deps.hub.open(request), {
      headers: { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' },
    });
  });
  app.post('/internal/feed/ack', async (c) => {
    deps.consumers.acknowledge(parseOrRefuse(feedAckSchema, await c.req.json(), 'bad_request'));
    return c.body(null, 204);
  });
  app.get('/internal/blobs/:digest', async (c) => {
    const digest = parseOrRefuse(digestSchema, c.req.param('digest'), 'bad_request');
    return new Response(new Uint8Array(await deps.blobs.get(digest)), {
      headers: { 'content-type': 'application/octet-stream' },
    });
  });
  app.get('/internal/assets/:account/:digest', async (c) => {
    const account = parseOrRefuse(accountNameSchema, c.req.param('account'), 'bad_request');
    const digest = parseOrRefuse(digestSchema, c.req.param('digest'), 'bad_request');
    return new Response(new Uint8Array(await deps.assets.get(account, digest)), {
      headers: { 'content-type': 'application/octet-stream' },
    });
  });
  app.post('/internal/usage', async (c) => {
    await deps.usage.apply(parseOrRefuse(usageReportSchema, await c.req.json(), 'bad_request'));
    return c.body(null, 204);
  });
  addMetrics(app, () => ({ plane: 'control', id: 'control', samples: deps.samples() }));
  app.notFound(() => problemResponse(new PlatformError('not_found', 'no such internal route')));
  app.onError((thrown) => {
    const error = asPlatformError(thrown);
    if (error.code === 'internal' || error.code === 'blob_corrupt')
      deps.log.error('internal_request_failed', { code: error.code, error: thrown });
    return problemResponse(error);
  });
  return app;
}
