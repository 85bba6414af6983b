/**
 * Which request the running code belongs to: its log lines, its outbound requests and its calls through bindings
 * carry that request's id.
 *
 * User code may replace every global and poison every prototype, and still no id is read from what it wrote: the
 * header is read by the original getters, and only of requests that arrived.
 */
import hooks from 'node-internal:async_hooks';
import * as intact from './intact.worker.ts';

export const REQUEST_ID = 'isoplane-request-id';

/** What an entrypoint's constructor logs, before it is known which request it was made for. */
export class Pending {
  scope: Request | string | undefined = undefined;
  /** Called once the request is known. No array: its methods and setters can be poisoned. */
  waiting: ((id: string) => void) | undefined = undefined;
}

/** A request, whose id is read only when something is logged, or the id itself. */
export type Scope = Request | string | Pending;

const storage = new hooks.AsyncLocalStorage<Scope>();
const getStore = storage.getStore.bind(storage);
const run = storage.run.bind(storage);

export const currentScope = (): Scope | undefined => getStore();
export const runIn = run;

const BREAKS_ID = /[ \n]/;

function idOf(scope: Scope | undefined): string {
  if (scope === undefined || typeof scope === 'string') return scope ?? '';
  if (scope instanceof Pending) return idOf(scope.scope);
  // It must hold no space, or the line would be read as another request's.
  const id = intact.requestHeader(scope, REQUEST_ID);
  return id !== null && intact.match(BREAKS_ID, id) === null ? id : '';
}

/** Empty outside a request. */
export const currentRequestId = (): string => idOf(getStore());

/** Runs with the id of the current scope, at once unless the scope does not know its request yet. */
export function withRequestId(work: (id: string) => void): void {
  const scope = getStore();
  if (!(scope instanceof Pending) || scope.scope !== undefined) return work(idOf(scope));
  const before = scope.waiting;
  scope.waiting = (id) => {
    before?.(id);
    work(id);
  };
}

/** @param scope - undefined: there will be no request, for example because the constructor threw. */
export function resolvePending(pending: Pending, scope: Request | string | undefined): void {
  pending.scope = scope ?? '';
  const { waiting } = pending;
  pending.waiting = undefined;
  waiting?.(idOf(pending.scope));
}

export const newRequestId = crypto.randomUUID.bind(crypto);
