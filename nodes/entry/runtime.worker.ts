/**
 * Stands between workerd and the user's module: request scope for logs, exceptions, event functions.
 *
 * The generated entry module (pack.node.ts) imports the user's main as a namespace and exports what
 * {@link wrapModule} or {@link wrapEvent} return. A missing handler throws here, at start-up, so that it
 * is refused before it takes traffic.
 */
import { WorkerEntrypoint } from 'cloudflare:workers';
import { logException, scopes } from './console.worker.ts';
import * as intact from './intact.worker.ts';
import { watched } from './uncaught.worker.ts';

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
  if (isEntrypoint(main)) return wrapDefaultClass(main);
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
      guard(request, () => handler.call(main, request, env, watched(ctx))),
  };
}

type EntrypointClass = new (ctx: ExecutionContext, env: unknown) => WorkerEntrypoint;
type Method = (...values: unknown[]) => unknown;

function isEntrypoint(value: unknown): value is EntrypointClass {
  return typeof value === 'function' && value.prototype instanceof WorkerEntrypoint;
}

/** What was logged already: a method that calls another of its class would report the same failure twice. */
const reported = new WeakSet<object>();

function report(thrown: unknown): void {
  if (typeof thrown === 'object' && thrown !== null && intact.seenBefore(reported, thrown)) return;
  logException(thrown);
}

/** As the method was, except that what it throws is logged. Synchronous stays synchronous: code may call itself. */
function loud(method: Method): Method {
  return function (this: unknown, ...values) {
    try {
      const result: unknown = intact.apply(method, this, values);
      if (intact.isPromise(result)) intact.whenRejected(result, report);
      return result;
    } catch (thrown) {
      report(thrown);
      throw thrown;
    }
  };
}

/** Methods of the class and its ancestors that RPC can reach. Accessors stay what they are. */
function rpcMethods(main: EntrypointClass): Map<string, Method> {
  const methods = new Map<string, Method>();
  for (
    let prototype: object | null = main.prototype;
    prototype !== null && prototype !== WorkerEntrypoint.prototype;
    prototype = Object.getPrototypeOf(prototype) as object | null
  )
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype)))
      if (typeof value === 'function' && name !== 'constructor' && name !== 'fetch' && !methods.has(name))
        methods.set(name, value as Method);
  return methods;
}

/** A class of the same behaviour whose requests have a scope and whose failures are logged. */
function wrapClass(main: EntrypointClass): EntrypointClass {
  const wrapped = class extends main {};
  const define = (name: string, value: unknown): void =>
    void Object.defineProperty(wrapped.prototype, name, { value, writable: true, configurable: true });
  for (const [name, method] of rpcMethods(main)) define(name, loud(method));
  const { fetch } = main.prototype as { fetch?: Method };
  if (typeof fetch === 'function')
    define('fetch', function (this: unknown, request: Request) {
      return guard(request, () => fetch.call(this, request) as Response | Promise<Response>);
    });
  return wrapped;
}

function wrapDefaultClass(main: EntrypointClass): unknown {
  if (typeof main.prototype.fetch !== 'function')
    throw new TypeError('The default class has no `fetch` method; requests could not reach it.');
  return wrapClass(main);
}

/** A class that the version lists in `entrypoints`. */
export function wrapEntrypoint(user: Namespace, name: string): unknown {
  const main = user[name];
  if (!isEntrypoint(main))
    throw new TypeError(
      `The entrypoint ${name} is listed in the configuration, but the module exports no class of that name that extends WorkerEntrypoint.`,
    );
  return wrapClass(main);
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
      guard(request, () => answer(request, env, watched(ctx))),
  };
}

type Hook = (env: unknown) => unknown;

/**
 * The class behind the agent's own socket. A hook that is configured but not exported throws here, at
 * start-up, so that it is refused before it takes traffic.
 */
export function hooksOf(user: Namespace, names: readonly string[]): typeof WorkerEntrypoint {
  const hooks = new Map<string, Hook>();
  for (const name of names) {
    const exported = user[name] ?? propertyOf(defaultExportOf(user), name);
    if (typeof exported !== 'function')
      throw new TypeError(
        `The module exports no \`${name}\` function, but \`hooks.${name}\` is configured. Write \`export async function ${name}(env) { … }\`, or remove the setting.`,
      );
    hooks.set(`/${name}`, exported as Hook);
  }
  return class extends WorkerEntrypoint {
    override async fetch(request: Request): Promise<Response> {
      const hook = hooks.get(new URL(request.url).pathname);
      if (hook === undefined) return new Response(null, { status: 404 });
      try {
        await hook(this.env);
        return new Response(null, { status: 204 });
      } catch (thrown) {
        logException(thrown);
        const error = thrown instanceof Error ? thrown : undefined;
        const message = error === undefined ? String(thrown) : `${error.name}: ${error.message}`;
        return Response.json({ message, stack: error?.stack }, { status: 500 });
      }
    }
  };
}
