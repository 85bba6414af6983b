/**
 * Service-worker format: a script that listens to `fetch` and finds its bindings as globals. It runs as a module;
 * each request becomes an event on the global scope, which is workerd's own event target.
 */
import environment from 'cloudflare-internal:env';
import { seen } from './context.worker.ts';
import { guard } from './guard.worker.ts';
import * as intact from './intact.worker.ts';

type Listener = (event: unknown) => unknown;

interface State {
  readonly ctx: ExecutionContext;
  answer: { readonly value: unknown } | undefined;
  failure: { readonly thrown: unknown } | undefined;
  /** Listeners run: a response can still be given. */
  open: boolean;
}

const NativeEvent = Event;
const InvalidState = DOMException;
const dispatch = dispatchEvent as (event: Event) => boolean;
const { FetchEvent: NativeFetchEvent } = globalThis as unknown as { FetchEvent: { prototype: object } };

const refusal = (words: string): Error => new InvalidState(words, 'InvalidStateError');

/** Undefined: an event that the code itself made. */
let stateOf: (event: unknown) => State | undefined;

/** To `instanceof` and by its name it is workerd's, which nobody else can make. */
class ServedEvent extends NativeEvent {
  readonly #state: State;

  constructor(request: Request, state: State) {
    super('fetch', { __proto__: null, cancelable: true } as unknown as EventInit);
    this.#state = state;
    intact.define(this, 'request', { value: request, enumerable: true });
  }

  static {
    stateOf = (event) =>
      typeof event === 'object' && event !== null && #state in event ? event.#state : undefined;
  }

  respondWith(value: unknown): void {
    const state = this.#state;
    if (!state.open)
      throw refusal(
        'Too late to call FetchEvent.respondWith(). It must be called synchronously in the event handler.',
      );
    if (state.answer !== undefined)
      throw refusal('FetchEvent.respondWith() has already been called; it can only be called once.');
    state.answer = { value };
  }

  waitUntil(promise: Promise<unknown>): void {
    this.#state.ctx.waitUntil(promise);
  }

  /** There is no origin server behind a function. */
  passThroughOnException(): void {
    void this.#state;
  }
}
Object.setPrototypeOf(ServedEvent.prototype, NativeFetchEvent.prototype);
Object.defineProperty(ServedEvent.prototype, 'constructor', { value: NativeFetchEvent });

const wrappers = new WeakMap<object, Listener>();
const wrapperOf = wrappers.get.bind(wrappers);
const setWrapper = wrappers.set.bind(wrappers);

/** What a listener throws ends the request; workerd would report it to where nobody knows which request it was. */
function wrapperFor(listener: object): Listener {
  const present = wrapperOf(listener);
  if (present !== undefined) return present;
  const wrapper = function (this: unknown, event: unknown): void {
    try {
      if (typeof listener === 'function') intact.apply(listener as Listener, this, [event]);
      else (listener as { handleEvent: Listener }).handleEvent(event);
    } catch (thrown) {
      const state = stateOf(event);
      if (state === undefined) throw thrown;
      state.failure = { thrown };
      intact.stopEvent(event as Event);
    }
  };
  setWrapper(listener, wrapper);
  return wrapper;
}

/** Types of events that workerd dispatches to a script and that somebody listens to. */
const heard = Object.create(null) as Record<string, boolean>;
const SERVED = 'fetch';

type Registration = (type: string, listener: unknown, options?: unknown) => void;

function instead(original: Registration): Registration {
  return function (this: unknown, ...values: unknown[]) {
    const listener = values[1];
    const type = intact.toText(values[0]);
    heard[type] = true;
    const isListener = typeof listener === 'function' || (typeof listener === 'object' && listener !== null);
    if (type === SERVED && isListener) values[1] = wrapperFor(listener);
    return intact.apply(original, globalThis, values) as void;
  };
}

/** Before the script runs: its bindings are globals, and its listeners are known. */
export function prepareScript(): void {
  const scope = globalThis as unknown as Record<string, Registration>;
  for (const name of ['addEventListener', 'removeEventListener']) {
    const original = scope[name];
    if (original === undefined) continue;
    Object.defineProperty(scope, name, { value: instead(original), writable: true, configurable: true });
  }
  const bindings = (environment.getCurrentEnv() ?? {}) as Record<string, unknown>;
  for (const name of Object.keys(bindings))
    Object.defineProperty(scope, name, {
      value: bindings[name],
      writable: true,
      enumerable: true,
      configurable: true,
    });
}

/** Events that nothing on the platform sends. */
export const listensTo = (type: string): boolean => heard[type] === true;

function serve(request: Request, ctx: ExecutionContext): unknown {
  const state: State = { ctx, answer: undefined, failure: undefined, open: true };
  dispatch(new ServedEvent(request, state));
  state.open = false;
  const { answer, failure } = state;
  if (failure !== undefined) throw failure.thrown;
  if (answer !== undefined) return answer.value;
  throw new intact.NativeTypeError(
    'No `fetch` listener called event.respondWith(). There is no origin server behind a function to which the request could go on.',
  );
}

export function wrapScript(): object {
  if (!listensTo(SERVED))
    throw new intact.NativeTypeError(
      listensTo('scheduled')
        ? 'The script listens to `scheduled` alone, which nothing on this platform calls yet. Write `addEventListener("fetch", (event) => event.respondWith(…))`.'
        : 'The script adds no `fetch` listener. Write `addEventListener("fetch", (event) => event.respondWith(…))`, or set "style": "module" and export a handler.',
    );
  return {
    fetch: (request: Request, _env: unknown, ctx: ExecutionContext) =>
      guard(request, () => serve(request, seen(ctx))),
  };
}
