/**
 * Sockets that the code opens by itself, through `connect()` or `WebSocket`: counted by request as calls are
 * (open.worker.ts), but one too many is refused, since nobody knows when another will close.
 */
import native from 'cloudflare-internal:sockets';
import * as intact from './intact.worker.ts';
import { currentScope } from './scope.worker.ts';

interface Count {
  open: number;
}

const counts = new WeakMap<object, Count>();
const countOf = counts.get.bind(counts);
const remember = counts.set.bind(counts);

/** Above `limits.connections`, so that the proxy says what is too much. */
const EXTRA = 64;
let socketsMax = EXTRA;

/** @param connections - the version's limit. */
export function limitSockets(connections: number): void {
  socketsMax = connections + EXTRA;
}

/** @returns what ends the count, once. */
function take(): () => void {
  const scope = currentScope();
  if (scope === undefined) return () => undefined;
  let count = countOf(scope);
  if (count === undefined) {
    count = { open: 0 };
    remember(scope, count);
  }
  if (count.open >= socketsMax)
    throw new intact.NativeError(
      `connections_exceeded: the request has ${socketsMax} sockets open, and the instance may have fewer connections (limits.connections)`,
    );
  const counted = count;
  counted.open += 1;
  let isOver = false;
  return () => {
    if (!isOver) counted.open -= 1;
    isOver = true;
  };
}

/** `connect()` of cloudflare:sockets, and what node:net and node:tls are made of. */
function watchConnect(): void {
  const prototype = intact.getPrototypeOf(native) as object;
  const original = intact.ownValue(prototype, 'connect') as (...values: unknown[]) => { closed: unknown };
  const connect = function (this: unknown, ...values: unknown[]): unknown {
    const free = take();
    try {
      const socket = intact.apply(original, this, values);
      const { closed } = socket;
      if (intact.isPromise(closed)) void intact.whenSettled(closed, free);
      return socket;
    } catch (thrown) {
      free();
      throw thrown;
    }
  };
  intact.define(prototype, 'connect', { value: connect, writable: true, configurable: true });
}

function watchWebSocket(): void {
  const original = WebSocket;
  const watched = new Proxy(original, {
    // Nothing that the user puts on `Object.prototype` is a trap.
    __proto__: null,
    construct(target: object, values: unknown[], newTarget: object) {
      const free = take();
      try {
        const socket = intact.construct<unknown[], WebSocket>(target as never, values, newTarget as never);
        intact.listen(socket, 'close', free);
        intact.listen(socket, 'error', free);
        return socket;
      } catch (thrown) {
        free();
        throw thrown;
      }
    },
  } as ProxyHandler<typeof WebSocket>);
  intact.define(original.prototype, 'constructor', { value: watched, writable: true, configurable: true });
  intact.define(globalThis, 'WebSocket', { value: watched, writable: true, configurable: true });
}

watchConnect();
watchWebSocket();
