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
  scope: Request | Called | undefined = undefined;
  /** There will be no request, for example because the constructor threw. */
  isOver = false;
  /** Called once the request is known. No array: its methods and setters can be poisoned. */
  waiting: ((id: string) => void) | undefined = undefined;
}

/** A call of a method. */
export class Called {
  readonly id: string;

  constructor(id: string) {
    this.id = id;
  }
}

/** A request, whose id is read only when something is logged, or what has the id. */
export type Scope = Request | Called | Pending;

const storage = new hooks.AsyncLocalStorage<Scope>();
const getStore = storage.getStore.bind(storage);
const run = storage.run.bind(storage);

export const currentScope = (): Scope | undefined => getStore();
export const runIn = run;

export const isPending = (scope: Scope): scope is Pending => intact.hasInstance(Pending, scope);
const isCalled = (scope: Scope): scope is Called => intact.hasInstance(Called, scope);

const BREAKS_ID = /[ \n]/;

function idOf(scope: Scope | undefined): string {
  if (scope === undefined) return '';
  if (isCalled(scope)) return scope.id;
  if (isPending(scope)) return idOf(scope.scope);
  // It must hold no space, or the line would be read as another request's.
  const id = intact.requestHeader(scope, REQUEST_ID);
  return id !== null && intact.match(BREAKS_ID, id) === null ? id : '';
}

/** Empty outside a request. */
export const currentRequestId = (): string => idOf(getStore());

/** Runs with the id of the current scope, at once unless the scope does not know its request yet. */
export function withRequestId(work: (id: string) => void): void {
  const scope = getStore();
  if (scope === undefined || !isPending(scope) || scope.isOver || scope.scope !== undefined)
    return work(idOf(scope));
  const before = scope.waiting;
  scope.waiting = (id) => {
    before?.(id);
    work(id);
  };
}

/** @param scope - undefined: there will be none. */
export function resolvePending(pending: Pending, scope: Request | Called | undefined): void {
  pending.scope = scope;
  pending.isOver = true;
  const { waiting } = pending;
  pending.waiting = undefined;
  waiting?.(idOf(pending.scope));
}

export const newRequestId = crypto.randomUUID.bind(crypto);
