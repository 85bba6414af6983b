/**
 * A script of the service-worker format as the platform's entry module runs it (nodes/entry/listeners.worker.ts),
 * which miniflare cannot hold.
 */
import type { NamedModule } from './modules.ts';

const GLOBALS = 'isoplane-globals.js';
const ENTRY = 'isoplane-script.js';

/** Evaluated before the script: its bindings are there, and what its listeners throw is seen. */
const GLOBALS_SOURCE = `import { env } from 'cloudflare:workers';
for (const [name, value] of Object.entries(env))
  Object.defineProperty(globalThis, name, { value, writable: true, enumerable: true, configurable: true });
export const failures = new WeakMap();
const wrappers = new WeakMap();
for (const name of ['addEventListener', 'removeEventListener']) {
  const original = globalThis[name];
  globalThis[name] = (type, listener, options) => {
    const isListener = typeof listener === 'function' || (typeof listener === 'object' && listener !== null);
    if (type !== 'fetch' || !isListener) return original.call(globalThis, type, listener, options);
    if (!wrappers.has(listener))
      wrappers.set(listener, function (event) {
        try {
          if (typeof listener === 'function') listener.call(this, event);
          else listener.handleEvent(event);
        } catch (thrown) {
          failures.set(event, { thrown });
          event.stopImmediatePropagation();
        }
      });
    return original.call(globalThis, type, wrappers.get(listener), options);
  };
}
`;

const entrySource = (main: string): string => `import { failures } from './${GLOBALS}';
import ${JSON.stringify(`./${main}`)};
class ServedEvent extends Event {
  #ctx;
  #open = true;
  answer;
  constructor(request, ctx) {
    super('fetch', { cancelable: true });
    this.#ctx = ctx;
    Object.defineProperty(this, 'request', { value: request, enumerable: true });
  }
  respondWith(value) {
    if (!this.#open || this.answer !== undefined)
      throw new DOMException(
        this.#open
          ? 'FetchEvent.respondWith() has already been called; it can only be called once.'
          : 'Too late to call FetchEvent.respondWith(). It must be called synchronously in the event handler.',
        'InvalidStateError',
      );
    this.answer = { value };
  }
  waitUntil(promise) {
    this.#ctx.waitUntil(promise);
  }
  passThroughOnException() {}
  static closed(event) {
    event.#open = false;
    return event.answer;
  }
}
const { closed } = ServedEvent;
Object.setPrototypeOf(ServedEvent.prototype, FetchEvent.prototype);
export default {
  fetch(request, env, ctx) {
    const event = new ServedEvent(request, ctx);
    dispatchEvent(event);
    const answer = closed(event);
    const failure = failures.get(event);
    if (failure !== undefined) throw failure.thrown;
    if (answer === undefined) throw new TypeError('No \`fetch\` listener called event.respondWith().');
    return answer.value;
  },
};
`;

/** The entry module first. */
export function scriptEntry(main: string): readonly NamedModule[] {
  const esm = (name: string, source: string): NamedModule => ({
    name,
    type: 'esm',
    content: new TextEncoder().encode(source),
  });
  return [esm(ENTRY, entrySource(main)), esm(GLOBALS, GLOBALS_SOURCE)];
}
