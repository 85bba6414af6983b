/** Object entrypoints: `fetch`, and methods and values that RPC reaches, as workerd has them for plain objects. */
import { loud, type Method } from './classes.worker.ts';
import { seen } from './context.worker.ts';
import { guard } from './guard.worker.ts';
import * as intact from './intact.worker.ts';

/** Called with `this` as in the user's module. workerd chooses what to pass by the number of parameters. */
function called(main: object, method: Method): Method {
  const guarded = loud(method);
  const wrapped: Method = (...values) => intact.apply(guarded, main, values);
  intact.define(wrapped, 'length', { value: method.length });
  return wrapped;
}

/** Own members alone: those of a prototype are out of reach for workerd as well. */
export function wrapObject(main: object, fetch: Method | undefined): object {
  const wrapped = {};
  const names = intact.ownKeys(main);
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index] ?? '';
    if (name === 'fetch' || typeof name === 'symbol') continue;
    const value = intact.ownValue(main, name);
    intact.define(
      wrapped,
      name,
      typeof value === 'function'
        ? { value: called(main, value as Method), enumerable: true }
        : { get: () => intact.getOf(main, name) as unknown, enumerable: true },
    );
  }
  if (fetch !== undefined)
    intact.define(wrapped, 'fetch', {
      value: (request: Request, env: unknown, ctx: ExecutionContext) =>
        guard(request, () => intact.apply(fetch, main, [request, env, seen(ctx)])),
      enumerable: true,
    });
  return wrapped;
}
