/**
 * The control API as one Hono app. Order of a request: id, bounds, authentication, permission, validation,
 * handler, check of the answer. Failures become problem documents in one place.
 */
import type { IncomingMessage } from 'node:http';
import { Hono, type Context } from 'hono';
import { REQUEST_ID } from '#shared/contracts/invoke.ts';
import { asPlatformError, ERRORS, PlatformError, problemResponse } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import type { ApiDeps } from './api/deps.ts';
import { openApiDocument } from './api/document.ts';
import { authorize, type Answer, type Operation, type Route } from './api/operation.ts';
import { documentPage } from './api/page.ts';
import { accounts } from './api/accounts.ts';
import { aliases } from './api/aliases.ts';
import { assets } from './api/assets.ts';
import { functions } from './api/functions.ts';
import { keys } from './api/keys.ts';
import { kv } from './api/kv.ts';
import { layers } from './api/layers.ts';
import { metrics } from './api/metrics.ts';
import { platform } from './api/platform.ts';
import { provisions } from './api/provision.ts';
import { routes } from './api/routes.ts';
import { secrets } from './api/secrets.ts';
import { usage } from './api/usage.ts';
import { versions } from './api/versions.ts';
import { TEXT_TYPE } from '#shared/metrics/samples.ts';
import { HeldBytes } from '#shared/held-bytes.ts';
import { bodyOf, chunksOf } from './body.ts';
import type { Authenticated } from './auth/authenticate.ts';
import { isOwnName } from './names.ts';
import { readUpload, UPLOAD_BYTES_MAX } from './publish/upload.ts';
import { jsonOrRefuse, parseOrRefuse } from './validation.ts';

const JSON_BYTES_MAX = 1024 * 1024;

interface Env {
  Variables: { requestId: string };
  /** Of a request that came over a connection. */
  Bindings: { readonly incoming?: IncomingMessage };
}

async function readBody(body: AsyncIterable<Uint8Array>, held: HeldBytes): Promise<unknown> {
  for await (const chunk of body) {
    if (held.length + chunk.byteLength > JSON_BYTES_MAX)
      throw new PlatformError('body_too_large', `JSON body over ${JSON_BYTES_MAX} bytes`);
    held.add(chunk);
  }
  return held.length === 0 ? {} : jsonOrRefuse(held.whole(), 'body');
}

const CONTENT_TYPES = {
  bytes: 'application/octet-stream',
  ndjson: 'application/x-ndjson',
  metrics: TEXT_TYPE,
} as const;

function respond(operation: Operation, answer: Answer, requestId: string): Response {
  const headers = new Headers({ [REQUEST_ID]: requestId, 'cache-control': 'no-store' });
  const reply = operation.replies[answer.status];
  if (reply === undefined)
    throw new PlatformError('internal', `${operation.id} answered an undocumented ${answer.status}`);
  if (reply === 'empty') return new Response(null, { status: answer.status, headers });
  if (reply === 'bytes' || reply === 'ndjson' || reply === 'metrics') {
    headers.set('content-type', CONTENT_TYPES[reply]);
    return new Response(answer.body as ReadableStream | Uint8Array<ArrayBuffer> | string, {
      status: answer.status,
      headers,
    });
  }
  const checked = reply.safeParse(answer.body);
  if (!checked.success)
    throw new PlatformError('internal', `${operation.id} broke its contract`, { cause: checked.error });
  headers.set('content-type', 'application/json');
  return new Response(JSON.stringify(checked.data), { status: answer.status, headers });
}

async function serve(deps: ApiDeps, route: Route, c: Context<Env>): Promise<Response> {
  const request = c.req.raw;
  if (!isOwnName(request.headers.get('host') ?? undefined, deps.ownNames()))
    throw new PlatformError('misdirected', `called as ${request.headers.get('host')}`, {
      publicDetail:
        'The control API does not answer to this host. Its operator can add names to ISOPLANE_CONTROL_NAMES.',
    });
  const caller = await deps.authenticator.authenticate(request);
  const { account } = caller.principal;
  const { requests } = deps.shares;
  requests.takeOrThrow(account, 1);
  const held = new HeldBytes(deps.shares.bodies, account);
  try {
    return await perform(deps, { route, caller, held }, c);
  } finally {
    held.release();
    requests.give(account, 1);
  }
}

interface Performance {
  readonly route: Route;
  readonly caller: Authenticated;
  /** The JSON body. */
  readonly held: HeldBytes;
}

async function perform(
  deps: ApiDeps,
  { route: { operation, handle }, caller, held }: Performance,
  c: Context<Env>,
): Promise<Response> {
  const request = c.req.raw;
  const { principal } = caller;
  const arriving = () =>
    bodyOf(chunksOf(request, (c.env as Env['Bindings'] | undefined)?.incoming), caller, {
      timers: deps.timers,
      nowMs: () => deps.clock.monotonicMs(),
    });
  const params = parseOrRefuse(operation.params, c.req.param(), 'bad_request');
  authorize(principal, operation, params);
  const query = parseOrRefuse(operation.query, c.req.query(), 'bad_request');
  if (operation.upload === undefined && operation.body === undefined) caller.bodyRead();
  const body =
    operation.body === undefined
      ? undefined
      : parseOrRefuse(operation.body, await readBody(arriving(), held), 'config_invalid');
  const upload = async () => {
    const length = Number(request.headers.get('content-length') ?? 0);
    if (length > UPLOAD_BYTES_MAX)
      throw new PlatformError('bundle_too_large', `upload announces ${length} bytes`);
    return readUpload(request.headers.get('content-type') ?? '', arriving(), {
      folder: deps.blobs.temporaryFolder,
      shares: deps.shares.uploads,
      account: principal.account,
    });
  };
  const answer = await handle(deps, {
    principal,
    params: params as never,
    query: query as never,
    body: body as never,
    signal: request.signal,
    upload,
  });
  return respond(operation, answer, c.get('requestId'));
}

/** `/a/{b}/{c+}` in Hono's words. */
function honoPath(path: string): string {
  return path.replaceAll(/\{(\w+)\+\}/g, ':$1{.+}').replaceAll(/\{(\w+)\}/g, ':$1');
}

function matcher(path: string): RegExp {
  const pattern = path.replaceAll(/\{\w+\+\}/g, '.+').replaceAll(/\{\w+\}/g, '[^/]+');
  return new RegExp(`^${pattern}$`);
}

function answerUnknown(operations: readonly Operation[], c: Context<Env>): Response {
  const { path } = c.req;
  const methods = operations
    .filter((operation) => matcher(operation.path).test(path))
    .map((operation) => operation.method.toUpperCase());
  const requestId = c.get('requestId');
  if (methods.length === 0) return problemResponse(new PlatformError('not_found', path), requestId);
  const response = problemResponse(new PlatformError('method_not_allowed', path), requestId);
  response.headers.set('allow', [...new Set(methods)].join(', '));
  return response;
}

function addPlain(app: Hono<Env>, deps: ApiDeps, document: Record<string, unknown>): void {
  const page = documentPage(document);
  app.get('/healthz', (c) => c.json({ ok: true }));
  app.get('/readyz', async (c) => {
    try {
      await deps.db.read((orm) => orm.run('SELECT 1'));
    } catch (thrown) {
      if (thrown instanceof PlatformError && ERRORS[thrown.code].status === 503) throw thrown;
      throw new PlatformError('control_unavailable', 'the database does not answer', { cause: thrown });
    }
    return c.json({ ok: true, revision: deps.db.revision });
  });
  app.get('/openapi.json', (c) => c.json(document));
  app.get('/', (c) =>
    c.html(page, 200, { 'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'" }),
  );
}

const ROUTES: readonly Route[] = [
  ...accounts,
  ...functions,
  ...assets,
  ...versions,
  ...aliases,
  ...provisions,
  ...layers,
  ...kv,
  ...keys,
  ...secrets,
  ...routes,
  ...platform,
  ...metrics,
  ...usage,
];

export function createControl(deps: ApiDeps): Hono<Env> {
  const app = new Hono<Env>();
  const operations = ROUTES.map(({ operation }) => operation);
  app.use(async function identify(c, next) {
    c.set('requestId', deps.requestId());
    if (c.req.url.length > LIMITS.urlBytesMax)
      throw new PlatformError('url_too_long', `URL of ${c.req.url.length} characters`);
    await next();
    deps.metrics.count(c.res.status);
  });
  addPlain(app, deps, openApiDocument(operations));
  for (const route of ROUTES)
    app.on(route.operation.method.toUpperCase(), honoPath(route.operation.path), (c) =>
      serve(deps, route, c),
    );
  app.notFound((c) => answerUnknown(operations, c));
  app.onError((thrown, c) => {
    const error = asPlatformError(thrown);
    const requestId = c.get('requestId');
    if (ERRORS[error.code].status >= 500)
      deps.log.error('request_failed', { requestId, code: error.code, error: thrown });
    else deps.log.debug('request_refused', { requestId, code: error.code, reason: error.message });
    return problemResponse(error, requestId);
  });
  return app;
}
