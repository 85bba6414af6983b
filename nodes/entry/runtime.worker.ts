/**
 * Stands between workerd and the user's module: request scope for logs, exceptions, event functions.
 *
 * The generated entry module (pack.node.ts) imports the user's main as a namespace and exports what
 * {@link wrapModule} or {@link wrapEvent} return. A missing handler throws here, at start-up, so that it
 * is refused before it takes traffic.
 */
import { WorkerEntrypoint } from 'cloudflare:workers';
import { logException, scopes } from './console.worker.ts';

const REQUEST_ID = 'isoplane-request-id';
const DEADLINE_MS = 'isoplane-deadline-ms';
const PRINCIPAL = 'isoplane-principal';
const CLAIMS = 'isoplane-claims';
const OUTCOME = 'isoplane-outcome';

type Handler = (request: Request, env: unknown, ctx: ExecutionContext) => Response | Promise<Response>;
type EventHandler = (event: unknown, context: unknown) => unknown;
type Namespace = Readonly<Record<string, unknown>>;

interface FunctionIdentity {
  readonly functionName: string;
  readonly functionVersion: number;
}

function failed(thrown: unknown): Response {
  logException(thrown);
  return new Response(null, { status: 500, headers: { [OUTCOME]: 'function_error' } });
}

async function settle(answer: Promise<Response>): Promise<Response> {
  try {
    return await answer;
  } catch (thrown) {
    return failed(thrown);
  }
}

/** Runs in the scope of the request. A handler that answers at once costs no extra promise. */
function guard(request: Request, run: () => Response | Promise<Response>): Response | Promise<Response> {
  return scopes.run(request, () => {
    try {
      const answer = run();
      return answer instanceof Response ? answer : settle(answer);
    } catch (thrown) {
      return failed(thrown);
    }
  });
}

function propertyOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** CommonJS compiled from ES modules keeps its default export one level down. */
function defaultExportOf(user: Namespace): unknown {
  const value = user['default'];
  return propertyOf(value, '__esModule') === true ? propertyOf(value, 'default') : value;
}

export function wrapModule(user: Namespace): unknown {
  const main = defaultExportOf(user);
  if (typeof main === 'function' && main.prototype instanceof WorkerEntrypoint)
    return wrapClass(main as EntrypointClass);
  if (main === undefined)
    throw new TypeError(
      'The module has no default export. Write `export default { fetch(request, env, ctx) { … } }`, or set "style": "event" and export `handler`.',
    );
  const fetchHandler = propertyOf(main, 'fetch');
  if (typeof fetchHandler !== 'function')
    throw new TypeError(
      'The default export has no `fetch` method. Write `export default { fetch(request, env, ctx) { … } }`, or a class that extends WorkerEntrypoint.',
    );
  const handler = fetchHandler as Handler;
  return {
    fetch: (request: Request, env: unknown, ctx: ExecutionContext) =>
      guard(request, () => handler.call(main, request, env, ctx)),
  };
}

type EntrypointClass = new (ctx: ExecutionContext, env: unknown) => WorkerEntrypoint;

function wrapClass(main: EntrypointClass): unknown {
  if (typeof main.prototype.fetch !== 'function')
    throw new TypeError('The default class has no `fetch` method; requests could not reach it.');
  return class extends main {
    override fetch(request: Request): Response | Promise<Response> {
      return guard(request, () => super.fetch?.(request) as Response | Promise<Response>);
    }
  };
}

/** The JSON body; an empty one is `undefined`. */
async function readEvent(
  request: Request,
): Promise<{ readonly event: unknown } | { readonly problem: string }> {
  const text = await request.text();
  if (text.trim() === '') return { event: undefined };
  try {
    return { event: JSON.parse(text) as unknown };
  } catch {
    return { problem: 'An event function takes a JSON body.' };
  }
}

function refuse(status: number, code: string, detail: string): Response {
  return Response.json(
    { type: `urn:isoplane:error:${code}`, title: detail, status, code },
    { status, headers: { 'content-type': 'application/problem+json' } },
  );
}

function claimsOf(request: Request): unknown {
  const encoded = request.headers.get(CLAIMS);
  if (encoded === null) return undefined;
  try {
    const binary = atob(encoded.replaceAll('-', '+').replaceAll('_', '/'));
    return JSON.parse(
      new TextDecoder().decode(Uint8Array.from(binary, (character) => character.charCodeAt(0))),
    ) as unknown;
  } catch {
    return undefined;
  }
}

function toResponse(result: unknown): Response {
  if (result instanceof Response) return result;
  if (result === undefined) return new Response(null, { status: 204 });
  if (typeof result === 'string')
    return new Response(result, { headers: { 'content-type': 'text/plain; charset=utf-8' } });
  if (result instanceof ArrayBuffer || result instanceof ReadableStream || ArrayBuffer.isView(result))
    return new Response(result as BodyInit, { headers: { 'content-type': 'application/octet-stream' } });
  const json = JSON.stringify(result) as string | undefined;
  if (json === undefined) throw new TypeError('The handler returned a value that JSON cannot express.');
  return new Response(json, { headers: { 'content-type': 'application/json' } });
}

export function wrapEvent(user: Namespace, identity: FunctionIdentity): unknown {
  const exported = user['handler'] ?? propertyOf(defaultExportOf(user), 'handler');
  if (typeof exported !== 'function')
    throw new TypeError(
      'The module exports no `handler` function. Write `export const handler = async (event, context) => { … }`, or set "style": "module".',
    );
  const handler = exported as EventHandler;
  const answer = async (request: Request, env: unknown, ctx: ExecutionContext): Promise<Response> => {
    if (request.method !== 'POST') {
      const response = refuse(
        405,
        'method_not_allowed',
        'An event function is called with POST and a JSON body.',
      );
      response.headers.set('allow', 'POST');
      return response;
    }
    const startedMs = Date.now();
    const read = await readEvent(request);
    if ('problem' in read) return refuse(400, 'bad_request', read.problem);
    const remainingMs = Number(request.headers.get(DEADLINE_MS) ?? Number.NaN);
    const deadlineMs = Number.isFinite(remainingMs) ? startedMs + remainingMs : undefined;
    const context = {
      ...identity,
      requestId: request.headers.get(REQUEST_ID) ?? '',
      env,
      deadlineMs,
      getRemainingTimeMs: () => (deadlineMs === undefined ? Infinity : Math.max(0, deadlineMs - Date.now())),
      principal: request.headers.get(PRINCIPAL) ?? undefined,
      claims: claimsOf(request),
      waitUntil: (promise: Promise<unknown>) => ctx.waitUntil(promise),
    };
    return toResponse(await handler(read.event, context));
  };
  return {
    fetch: (request: Request, env: unknown, ctx: ExecutionContext) =>
      guard(request, () => answer(request, env, ctx)),
  };
}
