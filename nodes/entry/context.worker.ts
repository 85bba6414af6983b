/** The first context of all shows two classes that have no global name. */
import { watchBinding } from './fetch.worker.ts';
import { watchContext } from './uncaught.worker.ts';

let isKnown = false;

export function seen(ctx: ExecutionContext): ExecutionContext {
  if (isKnown) return ctx;
  isKnown = true;
  watchContext(ctx);
  const { exports } = ctx as { readonly exports?: Readonly<Record<string, unknown>> };
  watchBinding(exports?.['default']);
  return ctx;
}
