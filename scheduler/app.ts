/**
 * The scheduler's side of shared/contracts/leases.ts and nodes.ts. Its socket lies in a folder that only
 * the platform's user can enter; that is the authentication.
 */
import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { z } from 'zod';
import { acquireRequestSchema, holderHeartbeatSchema } from '#shared/contracts/leases.ts';
import { nodeBeatSchema } from '#shared/contracts/nodes.ts';
import { asPlatformError, PlatformError, problemResponse } from '#shared/errors.ts';
import { accountNameSchema, functionNameSchema } from '#shared/ids.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { SchedulerDriver } from './driver.ts';

const ACQUIRE_BYTES_MAX = 64 * 1024;
/** Some tens of thousands of leases or instances. */
const HEARTBEAT_BYTES_MAX = 8 * 1024 * 1024;
/** As long as an agent or gateway may name itself; also part of log lines and status. */
const memberIdSchema = z.string().regex(/^[A-Za-z0-9._:-]{1,200}$/, 'use 1 to 200 of A-Z a-z 0-9 . _ : -');

type Driver = Pick<
  SchedulerDriver,
  'acquire' | 'gatewayHeartbeat' | 'nodeHeartbeat' | 'status' | 'life' | 'held'
>;

export function createSchedulerApp(driver: Driver, log: Log): Hono {
  const app = new Hono();
  app.get('/healthz', (c) => c.json({ ok: true }));
  app.get('/v1/status', (c) => c.json(driver.status()));

  app.get('/v1/functions/:account/:function', (c) => {
    const account = parse(accountNameSchema, c.req.param('account'));
    return c.json(driver.life(`${account}/${parse(functionNameSchema, c.req.param('function'))}`));
  });
  app.get('/v1/held', (c) => c.json(driver.held(parse(accountNameSchema, c.req.query('account')))));

  app.post('/v1/leases', bounded(ACQUIRE_BYTES_MAX), async function acquire(c) {
    const outcome = await driver.acquire(await readBody(c, acquireRequestSchema), c.req.raw.signal);
    switch (outcome.kind) {
      case 'granted':
        return c.json(outcome.lease);
      case 'refused':
        return problemResponse(outcome.error);
      case 'cancelled':
        // The connection is closed; Hono wants a response none the less.
        return c.body(null, 204);
    }
  });

  app.post('/v1/holders/:id/heartbeat', bounded(HEARTBEAT_BYTES_MAX), async function gatewayBeat(c) {
    const id = memberId(c.req.param('id'));
    return c.json(driver.gatewayHeartbeat(id, await readBody(c, holderHeartbeatSchema)));
  });

  app.post('/v1/nodes/:id/heartbeat', bounded(HEARTBEAT_BYTES_MAX), async function nodeBeat(c) {
    const id = memberId(c.req.param('id'));
    return c.json(driver.nodeHeartbeat(id, await readBody(c, nodeBeatSchema)));
  });

  app.notFound(() => problemResponse(new PlatformError('not_found', 'no such route')));
  app.onError((thrown) => {
    const error = asPlatformError(thrown);
    if (error.code === 'internal') log.error('request_failed', { error: thrown });
    return problemResponse(error);
  });
  return app;
}

function bounded(maxSize: number): ReturnType<typeof bodyLimit> {
  return bodyLimit({
    maxSize,
    onError: () => problemResponse(new PlatformError('body_too_large', `more than ${maxSize} bytes`)),
  });
}

function memberId(text: string): string {
  return parse(memberIdSchema, text);
}

async function readBody<S extends z.ZodType>(c: Context, schema: S): Promise<z.infer<S>> {
  let body: unknown;
  try {
    body = await c.req.json();
  } catch (cause) {
    throw new PlatformError('bad_request', 'the body is not JSON', { cause });
  }
  return parse(schema, body);
}

function parse<S extends z.ZodType>(schema: S, value: unknown): z.infer<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new PlatformError('bad_request', z.prettifyError(result.error), {
    publicDetail: z.prettifyError(result.error),
  });
}
