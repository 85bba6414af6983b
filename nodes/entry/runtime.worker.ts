/**
 * Stands between workerd and the user's module: request scope for logs, exceptions, event functions.
 *
 * A module inside workerd's extension (pack.ts), out of reach of user code. The generated entry module
 * imports the user's main as a namespace and exports what {@link wrapModule} or {@link wrapEvent} return. A missing
 * handler throws here, at start-up, so that it is refused before it takes traffic.
 */
import environment from 'cloudflare-internal:env';
import entrypoints from 'cloudflare-internal:workers';
import { takeEvents, type EventTaker } from './agent-events.worker.ts';
import { isEntrypoint, wrapClass, type EntrypointClass, type Method } from './classes.worker.ts';
import { logExports } from './console.worker.ts';
import { wrapHandler, type EventHandler, type FunctionIdentity } from './event.worker.ts';
import { watchBinding, watchNamespace } from './fetch.worker.ts';
import * as intact from './intact.worker.ts';
import { markLines } from './lines.worker.ts';
import { listensTo, prepareScript, wrapScript } from './listeners.worker.ts';
import { limitOutbound } from './open.worker.ts';
import { limitSockets } from './sockets.worker.ts';
import { wrapObject } from './objects.worker.ts';

const { WorkerEntrypoint } = entrypoints;

type Namespace = Readonly<Record<string, unknown>>;

function propertyOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** CommonJS compiled from ES modules keeps its default export one level down. */
function defaultExportOf(user: Namespace): unknown {
  const value = user['default'];
  return propertyOf(value, '__esModule') === true ? propertyOf(value, 'default') : value;
}

export interface Preparation {
  /** Names of bindings to other functions. */
  readonly services: readonly string[];
  /** Name of a binding to a namespace, where there is one. */
  readonly namespace: string | undefined;
  /** `limits.connections` */
  readonly connections: number;
  /** Begins each line that the agent is to believe. */
  readonly mark: string;
  /** Service-worker format. */
  readonly isScript: boolean;
}

/** Before the user's module runs. */
export function prepare({ services, namespace, connections, mark, isScript }: Preparation): void {
  limitOutbound(connections);
  limitSockets(connections);
  markLines(mark);
  const env = environment.getCurrentEnv();
  for (const name of services) watchBinding(propertyOf(env, name));
  if (namespace !== undefined) watchNamespace(propertyOf(env, namespace));
  if (isScript) prepareScript();
}

/** Handlers that workerd knows and that nothing here calls yet. */
const OTHER_HANDLERS = ['scheduled', 'queue', 'email', 'tail', 'tailStream', 'trace'];

function handlersOf(main: unknown): string {
  const holder: unknown = isEntrypoint(main) ? main.prototype : main;
  let found = '';
  for (let index = 0; index < OTHER_HANDLERS.length; index += 1) {
    const name = OTHER_HANDLERS[index] ?? '';
    if (listensTo(name) || typeof propertyOf(holder, name) === 'function')
      found += `${found === '' ? '' : ','}"${name}"`;
  }
  return found;
}

/** An object whose methods RPC reaches, though it has no `fetch`. */
function hasMethods(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const names = intact.ownKeys(value);
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index] ?? '';
    const isOther = handlersOf(intact.setPrototypeOf({ [name]: hasMethods }, null)) !== '';
    if (!isOther && typeof intact.ownValue(value, name) === 'function') return true;
  }
  return false;
}

/** An export that other functions may bind to by its name. */
function isNamedEntrypoint(value: unknown): boolean {
  return isEntrypoint(value) || typeof propertyOf(value, 'fetch') === 'function';
}

function namedEntrypoints(user: Namespace): string {
  const names = intact.keysOf(user);
  let found = '';
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index] ?? '';
    if (name !== 'default' && isNamedEntrypoint(user[name]))
      found += `${found === '' ? '' : ','}${intact.quoted(name)}`;
  }
  return found;
}

/** What workerd serves where there is no default export: it has no `fetch`, and says so. */
class Nothing extends WorkerEntrypoint {}

export function wrapModule(user: Namespace): unknown {
  const main = defaultExportOf(user);
  if (isEntrypoint(main)) return wrapClass(main);
  if (main === undefined) {
    if (namedEntrypoints(user) !== '') return wrapClass(Nothing as unknown as EntrypointClass);
    throw new intact.NativeTypeError(
      'The module has no default export. Write `export default { fetch(request, env, ctx) { … } }`, or set "style": "event" and export `handler`; a script that calls `addEventListener("fetch", …)` has "style": "service-worker".',
    );
  }
  const fetchHandler = propertyOf(main, 'fetch');
  if (typeof fetchHandler === 'function') return wrapObject(main as object, fetchHandler as Method);
  if (hasMethods(main)) return wrapObject(main as object, undefined);
  const others = handlersOf(main);
  throw new intact.NativeTypeError(
    others === ''
      ? 'The default export has no `fetch` method. Write `export default { fetch(request, env, ctx) { … } }`, or a class that extends WorkerEntrypoint.'
      : `The default export has no \`fetch\` method, and nothing on this platform calls what it has: ${others}. Write \`export default { fetch(request, env, ctx) { … } }\`.`,
  );
}

/** One that the version lists in `entrypoints`, or that its trial start found. */
export function wrapEntrypoint(user: Namespace, name: string): unknown {
  const main = user[name];
  if (isEntrypoint(main)) return wrapClass(main);
  if (!isNamedEntrypoint(main) && !hasMethods(main))
    throw new intact.NativeTypeError(
      `The entrypoint ${name} is listed in the configuration, but the module exports no class of that name that extends WorkerEntrypoint, and no object with methods.`,
    );
  return wrapObject(main as object, propertyOf(main, 'fetch') as Method | undefined);
}

export { wrapScript };

/** Tells the agent what there is to bind to, and what nobody will call. */
export function tellExports(user: Namespace): void {
  logExports(`{"entrypoints":[${namedEntrypoints(user)}],"handlers":[${handlersOf(defaultExportOf(user))}]}`);
}

export function wrapEvent(user: Namespace, identity: FunctionIdentity): unknown {
  const exported = user['handler'] ?? propertyOf(defaultExportOf(user), 'handler');
  if (typeof exported !== 'function')
    throw new intact.NativeTypeError(
      'The module exports no `handler` function. Write `export const handler = async (event, context) => { … }`, or set "style": "module".',
    );
  return wrapHandler(exported as EventHandler, identity);
}

type Hook = (env: unknown) => unknown;

/** Answered by {@link takeEvents}. A hook that is configured but not exported is refused here, before it takes traffic. */
function hooksOf(user: Namespace, names: readonly string[]): EventTaker {
  const hooks = intact.create(null) as Record<string, Hook | undefined>;
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index] ?? '';
    const exported = user[name] ?? propertyOf(defaultExportOf(user), name);
    if (typeof exported !== 'function')
      throw new intact.NativeTypeError(
        `The module exports no \`${name}\` function, but \`hooks.${name}\` is configured. Write \`export async function ${name}(env) { … }\`, or remove the setting.`,
      );
    hooks[name] = exported as Hook;
  }
  return (event, env) => {
    const name = intact.toText(event['name']);
    const hook = hooks[name];
    if (hook === undefined) throw new intact.NativeTypeError(`the hook ${name} is not configured`);
    return hook(env);
  };
}

/** What the agent may tell the instance of, and the class that takes it. */
export function wrapEvents(
  user: Namespace,
  { hooks }: { readonly hooks: readonly string[] },
  secret: string,
): EntrypointClass {
  const takers = intact.create(null) as Record<string, EventTaker | undefined>;
  takers['hook'] = hooksOf(user, hooks);
  return takeEvents(takers, secret);
}
