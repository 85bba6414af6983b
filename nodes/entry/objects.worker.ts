/** Object entrypoints: `fetch`, and methods and values that RPC reaches, as workerd has them for plain objects. */
import { loud, type Method } from './classes.worker.ts';
import { seen } from './context.worker.ts';
import { guard } from './guard.worker.ts';
import * as intact from './intact.worker.ts';

const define = Object.defineProperty;
const membersOf = Object.getOwnPropertyDescriptors;
const { get } = Reflect;

/** Called with `this` as in the user's module. workerd chooses what to pass by the number of parameters. */
function called(main: object, method: Method): Method {
  const guarded = loud(method);
  const wrapped: Method = (...values) => intact.apply(guarded, main, values);
  define(wrapped, 'length', { value: method.length });
  return wrapped;
}

/** Own members alone: those of a prototype are out of reach for workerd as well. */
export function wrapObject(main: object, fetch: Method): object {
  const wrapped = {};
  for (const [name, { value }] of Object.entries(membersOf(main))) {
    if (name === 'fetch') continue;
    define(
      wrapped,
      name,
      typeof value === 'function'
        ? { value: called(main, value as Method), enumerable: true }
        : { get: () => get(main, name) as unknown, enumerable: true },
    );
  }
  define(wrapped, 'fetch', {
    value: (request: Request, env: unknown, ctx: ExecutionContext) =>
      guard(request, () => intact.apply(fetch, main, [request, env, seen(ctx)])),
    enumerable: true,
  });
  return wrapped;
}
