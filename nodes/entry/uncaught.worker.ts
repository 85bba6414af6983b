/**
 * What workerd tells nobody but its inspector: rejections that nobody handles, reported errors, throws from
 * timers and from work after the answer. Each goes to the function's log instead.
 *
 * Evaluated before the user's module, which may change every global.
 */
import { logException } from './console.worker.ts';
import * as intact from './intact.worker.ts';

type Callback = (...values: unknown[]) => unknown;
type Timer = (...values: unknown[]) => unknown;

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
    const timer: Timer = (...values) => {
      if (typeof values[0] === 'function') values[0] = reporting(values[0] as Callback);
      return intact.apply(original, undefined, values);
    };
    // Among others the symbol by which util.promisify() knows what a timer is.
    target[name] = Object.defineProperties(timer, Object.getOwnPropertyDescriptors(original));
  }
}

/** What work after the answer throws. @param ctx - any context: `waitUntil` of its class is replaced. */
export function watchContext(ctx: ExecutionContext): void {
  const prototype = intact.getPrototypeOf(ctx) as ExecutionContext;
  const original = intact.getOf(prototype, 'waitUntil') as Callback;
  const waitUntil = function (this: ExecutionContext, promise: Promise<unknown>): void {
    intact.apply(original, this, [promise]);
    // Of values that are no promises, `then` might be anything.
    if (intact.isPromise(promise)) void intact.whenRejected(promise, logException);
  };
  // Refused by the flag `immutable_api_prototypes`.
  intact.define(prototype, 'waitUntil', { value: waitUntil, writable: true, configurable: true });
}

const later = queueMicrotask;

/**
 * The user's listeners come after ours, and may prevent what would follow. workerd's events are not cancelable,
 * so `preventDefault` alone leaves no trace on them; it is heard here.
 */
function afterListeners(event: Event, thrown: () => unknown): void {
  let prevented = false;
  intact.define(event, 'preventDefault', {
    configurable: true,
    value: () => {
      prevented = true;
    },
  });
  intact.define(event, 'defaultPrevented', { configurable: true, get: () => prevented });
  later(() => {
    if (!prevented) logException(thrown());
  });
}

(addEventListener as (type: string, listen: (event: ErrorEvent) => void) => void)('error', (event) =>
  afterListeners(event, () => (event.error as unknown) ?? event.message),
);
addEventListener('unhandledrejection', (event) => afterListeners(event, () => event.reason));
watchTimers();
