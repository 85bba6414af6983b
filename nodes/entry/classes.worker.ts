/** Class entrypoints: the same behaviour, in the scope of each request, with failures logged. */
import entrypoints from 'cloudflare-internal:workers';
import { logException } from './console.worker.ts';
import { guard } from './guard.worker.ts';
import * as intact from './intact.worker.ts';
import {
  Called,
  currentScope,
  isPending,
  newRequestId,
  Pending,
  resolvePending,
  runIn,
  type Scope,
} from './scope.worker.ts';
import { seen } from './context.worker.ts';

const { WorkerEntrypoint } = entrypoints;

export type EntrypointClass = new (ctx: ExecutionContext, env: unknown) => object;
export type Method = (...values: unknown[]) => unknown;

export function isEntrypoint(value: unknown): value is EntrypointClass {
  return typeof value === 'function' && intact.hasInstance(WorkerEntrypoint, value.prototype);
}

/** What was logged already: a method that calls another of its class would report the same failure twice. */
const reported = new WeakSet<object>();

function report(thrown: unknown): void {
  if (typeof thrown === 'object' && thrown !== null && intact.seenBefore(reported, thrown)) return;
  logException(thrown);
}

/** By instance: what it logs before its first call belongs to that call. */
const pendings = new WeakMap<object, Pending>();
const pendingOf = pendings.get.bind(pendings);
const remember = pendings.set.bind(pendings);

function begin(instance: unknown, scope: Request | Called): void {
  const pending = pendingOf(instance as object);
  if (pending !== undefined && !pending.isOver) resolvePending(pending, scope);
}

/** A call from outside has no scope yet and gets an id of its own; one from the class itself stays in its own. */
function scopeOf(instance: unknown): Scope {
  const current = currentScope();
  if (current !== undefined && !isPending(current)) return current;
  const called = new Called(newRequestId());
  begin(instance, called);
  return called;
}

/** As the method was, except that what it throws is logged. Synchronous stays synchronous: code may call itself. */
export function loud(method: Method): Method {
  return function (this: unknown, ...values) {
    return runIn(scopeOf(this), () => {
      try {
        const result: unknown = intact.apply(method, this, values);
        if (intact.isPromise(result)) void intact.whenRejected(result, report);
        return result;
      } catch (thrown) {
        report(thrown);
        throw thrown;
      }
    });
  };
}

/** Gives `wrapped` the methods of the class and its ancestors that RPC can reach. Accessors stay what they are. */
function addRpcMethods(wrapped: object, main: EntrypointClass): void {
  for (
    let prototype = main.prototype as object | null;
    prototype !== null && prototype !== WorkerEntrypoint.prototype;
    prototype = intact.getPrototypeOf(prototype) as object | null
  ) {
    const names = intact.ownKeys(prototype);
    for (let index = 0; index < names.length; index += 1) {
      const name = names[index] ?? '';
      const value = intact.ownValue(prototype, name);
      const isRpc = typeof value === 'function' && name !== 'constructor' && name !== 'fetch';
      if (isRpc && !intact.hasOwn(wrapped, name)) set(wrapped, name, loud(value as Method));
    }
  }
}

function guardedFetch(fetch: Method): Method {
  return function (this: unknown, ...values) {
    const request = values[0] as Request;
    begin(this, request);
    return guard(request, () => intact.apply(fetch, this, values));
  };
}

function set(target: object, name: PropertyKey, value: unknown): void {
  intact.define(target, name, { value, writable: true, configurable: true });
}

/** To the user's code it is the class that was written: `this.constructor` and its name are those. */
export function wrapClass(main: EntrypointClass): EntrypointClass {
  // A class could not call super() within the scope.
  const wrapped = function (ctx: ExecutionContext, env: unknown): object {
    const pending = new Pending();
    let instance: object;
    try {
      instance = runIn(pending, () => intact.construct(main, [seen(ctx), env], new.target) as object);
    } catch (thrown) {
      resolvePending(pending, undefined);
      throw thrown;
    }
    remember(instance, pending);
    // `fetch = async () => …` in the class makes it a property of each instance.
    const own = intact.ownValue(instance, 'fetch');
    if (typeof own === 'function') set(instance, 'fetch', guardedFetch(own as Method));
    return instance;
  } as unknown as EntrypointClass;
  intact.setPrototypeOf(wrapped, main);
  wrapped.prototype = intact.create(main.prototype as object) as object;
  addRpcMethods(wrapped.prototype, main);
  const { fetch } = main.prototype as { fetch?: Method };
  if (typeof fetch === 'function') set(wrapped.prototype, 'fetch', guardedFetch(fetch));
  set(wrapped.prototype, 'constructor', main);
  set(wrapped, 'name', main.name);
  return wrapped;
}
