/**
 * What workerd tells nobody but its inspector: rejections that nobody handles, reported errors, throws from
 * timers and from work after the answer. Each goes to the function's log instead.
 *
 * Evaluated before the user's module, which may change every global.
 */
import { logException } from './console.worker.ts';
import * as intact from './intact.worker.ts';

type Callback = (...values: unknown[]) => unknown;
type Timer = (callback: unknown, ...rest: unknown[]) => unknown;

function reporting(callback: Callback): Callback {
  return function (this: unknown, ...values) {
    try {
      return intact.apply(callback, this, values);
    } catch (thrown) {
      logException(thrown);
      throw thrown;
    }
  };
}

function watchTimers(): void {
  const target = globalThis as unknown as Record<string, Timer>;
  for (const name of ['setTimeout', 'setInterval', 'setImmediate']) {
    const original = target[name];
    if (typeof original !== 'function') continue;
    const timer: Timer = (callback, ...rest) =>
      original(typeof callback === 'function' ? reporting(callback as Callback) : callback, ...rest);
    // Among others the symbol by which util.promisify() knows what a timer is.
    target[name] = Object.defineProperties(timer, Object.getOwnPropertyDescriptors(original));
  }
}

let watchesContext = false;

/** The class of contexts has no global name, so its `waitUntil` is replaced when the first one is seen. */
export function watched(ctx: ExecutionContext): ExecutionContext {
  if (watchesContext) return ctx;
  watchesContext = true;
  const prototype = Object.getPrototypeOf(ctx) as ExecutionContext;
  const original = Reflect.get(prototype, 'waitUntil') as Callback;
  prototype.waitUntil = function (this: ExecutionContext, promise) {
    intact.apply(original, this, [promise]);
    // Of values that are no promises, `then` might be anything.
    if (intact.isPromise(promise)) intact.whenRejected(promise, logException);
  };
  return ctx;
}

const later = queueMicrotask;

/** The user's listeners come after ours, and may prevent what would follow. */
function afterListeners(event: Event, thrown: () => unknown): void {
  later(() => {
    if (!event.defaultPrevented) logException(thrown());
  });
}

addEventListener('error', (event) => afterListeners(event, () => event.error ?? event.message));
addEventListener('unhandledrejection', (event) => afterListeners(event, () => event.reason));
watchTimers();
