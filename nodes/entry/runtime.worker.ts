/**
 * Stands between workerd and the user's module: request scope for logs, exceptions, event functions.
 *
 * A module inside workerd's extension (pack.node.ts), out of reach of user code. The generated entry module
 * imports the user's main as a namespace and exports what {@link wrapModule} or {@link wrapEvent} return. A missing
 * handler throws here, at start-up, so that it is refused before it takes traffic.
 */
import environment from 'cloudflare-internal:env';
import entrypoints from 'cloudflare-internal:workers';
import { isEntrypoint, wrapClass, type EntrypointClass, type Method } from './classes.worker.ts';
import { logExports, logException } from './console.worker.ts';
import { watchBinding } from './fetch.worker.ts';
import { guard } from './guard.worker.ts';
import { wrapObject } from './objects.worker.ts';
import { REQUEST_ID } from './scope.worker.ts';
import { seen } from './context.worker.ts';

const { WorkerEntrypoint } = entrypoints;

const DEADLINE_MS = 'isoplane-deadline-ms';
const PRINCIPAL = 'isoplane-principal';
const CLAIMS = 'isoplane-claims';

type EventHandler = (event: unknown, context: unknown) => unknown;
type Namespace = Readonly<Record<string, unknown>>;

interface FunctionIdentity {
  readonly functionName: string;
  readonly functionVersion: number;
}

function propertyOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** CommonJS compiled from ES modules keeps its default export one level down. */
function defaultExportOf(user: Namespace): unknown {
  const value = user['default'];
  return propertyOf(value, '__esModule') === true ? propertyOf(value, 'default') : value;
}

/** Before the user's module runs. @param services - names of bindings to other functions. */
export function prepare(services: readonly string[]): void {
  const env = environment.getCurrentEnv();
  for (const name of services) watchBinding(propertyOf(env, name));
}

export function wrapModule(user: Namespace): unknown {
  const main = defaultExportOf(user);
  if (isEntrypoint(main)) return wrapClass(main);
  if (main === undefined)
    throw new TypeError(
      'The module has no default export. Write `export default { fetch(request, env, ctx) { … } }`, or set "style": "event" and export `handler`.',
    );
  const fetchHandler = propertyOf(main, 'fetch');
  if (typeof fetchHandler !== 'function')
    throw new TypeError(
      'The default export has no `fetch` method. Write `export default { fetch(request, env, ctx) { … } }`, or a class that extends WorkerEntrypoint.',
    );
  return wrapObject(main as object, fetchHandler as Method);
}

/** An export that other functions may bind to by its name. */
function isNamedEntrypoint(value: unknown): boolean {
  return isEntrypoint(value) || typeof propertyOf(value, 'fetch') === 'function';
}

/** One that the version lists in `entrypoints`, or that its trial start found. */
export function wrapEntrypoint(user: Namespace, name: string): unknown {
  const main = user[name];
  if (isEntrypoint(main)) return wrapClass(main);
  if (!isNamedEntrypoint(main))
    throw new TypeError(
      `The entrypoint ${name} is listed in the configuration, but the module exports no class of that name that extends WorkerEntrypoint, and no object with a \`fetch\` method.`,
    );
  return wrapObject(main as object, propertyOf(main, 'fetch') as Method);
}

/** Handlers that workerd knows and that nothing here calls yet. */
const OTHER_HANDLERS = ['scheduled', 'queue', 'email', 'tail', 'tailStream', 'trace'];

/** Tells the agent what there is to bind to, and what nobody will call. */
export function tellExports(user: Namespace): void {
  const main = defaultExportOf(user);
  const has = (name: string): boolean =>
    typeof propertyOf(isEntrypoint(main) ? main.prototype : main, name) === 'function';
  logExports({
    entrypoints: Object.keys(user).filter((name) => name !== 'default' && isNamedEntrypoint(user[name])),
    handlers: OTHER_HANDLERS.filter(has),
  });
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
      guard(request, () => answer(request, env, seen(ctx))),
  };
}

type Hook = (env: unknown) => unknown;

/**
 * The class behind the agent's own socket. A hook that is configured but not exported throws here, at
 * start-up, so that it is refused before it takes traffic.
 *
 * @param secret - begins the path of each call: user code finds the class in `ctx.exports`.
 */
export function hooksOf(user: Namespace, names: readonly string[], secret: string): EntrypointClass {
  const hooks = new Map<string, Hook>();
  for (const name of names) {
    const exported = user[name] ?? propertyOf(defaultExportOf(user), name);
    if (typeof exported !== 'function')
      throw new TypeError(
        `The module exports no \`${name}\` function, but \`hooks.${name}\` is configured. Write \`export async function ${name}(env) { … }\`, or remove the setting.`,
      );
    hooks.set(`/${secret}/${name}`, exported as Hook);
  }
  class HooksEntrypoint extends WorkerEntrypoint {
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
  }
  return HooksEntrypoint as unknown as EntrypointClass;
}
