/**
 * `fetch` of a function, global and of its bindings: tells which request the call belongs to, and rejects where
 * the platform refused or the other function failed, as workerd rejects when what is bound throws.
 *
 * Evaluated before the user's module. A function that never fetches pays nothing for it.
 */
import * as intact from './intact.worker.ts';
import { outbound, towardsBinding, watchMethods } from './open.worker.ts';
import { currentRequestId, REQUEST_ID } from './scope.worker.ts';

const EGRESS_ERROR = 'isoplane-egress-error';
const BINDING_ERROR = 'isoplane-binding-error';
const OUTCOME = 'isoplane-outcome';

type Fetch = (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;

const nativeFetch = globalThis.fetch;

async function reasonOf(response: Response): Promise<string> {
  try {
    const { title, detail } = (await intact.readJson(response)) as { title?: unknown; detail?: unknown };
    return intact.toText(detail ?? title);
  } catch {
    return 'the request could not be made';
  }
}

/** What was given, as a request that carries the id of the current one and no other. */
function tagged(input: RequestInfo | URL, init: RequestInit | undefined): Request {
  const request = new intact.NativeRequest(input, init);
  const id = currentRequestId();
  const headers = intact.headersOf(request);
  if (id === '') intact.deleteHeader(headers, REQUEST_ID);
  else intact.setHeader(headers, REQUEST_ID, id);
  return request;
}

async function reach(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const request = tagged(input, init);
  const response = (await outbound(() => nativeFetch(request))) as Response;
  const code = intact.responseHeader(response, EGRESS_ERROR);
  if (code === null) return response;
  throw new intact.NativeTypeError(`${code}: ${await reasonOf(response)}`);
}

class BindingError extends Error {
  override readonly name = 'BindingError';
  readonly code: string;
  /** As workerd marks what was thrown elsewhere. */
  readonly remote = true;

  constructor(code: string, reason: string) {
    super(`${code}: ${reason}`);
    this.code = code;
  }
}

async function call(
  original: Fetch,
  binding: unknown,
  { input, init }: { readonly input: RequestInfo | URL; readonly init: RequestInit | undefined },
): Promise<Response> {
  const request = tagged(input, init);
  const response = (await towardsBinding(() => intact.apply(original, binding, [request]))) as Response;
  const code = intact.responseHeader(response, BINDING_ERROR);
  if (code !== null) throw new BindingError(code, await reasonOf(response));
  if (intact.statusOf(response) !== 500) return response;
  // From this very isolate (`ctx.exports`): what its entry module says is for the platform alone.
  const outcome = intact.responseHeader(response, OUTCOME);
  if (outcome === null) return response;
  if (outcome === 'function_error') throw new BindingError(outcome, 'the function threw');
  const own = new intact.NativeResponse(intact.bodyOf(response), response);
  intact.deleteHeader(intact.responseHeadersOf(own), OUTCOME);
  return own;
}

let watchesBindings = false;

/** All bindings to workers share one class, which has no global name. @param binding - any of them. */
export function watchBinding(binding: unknown): void {
  // Those of `ctx.exports` can be called, too.
  const isObject = (typeof binding === 'object' && binding !== null) || typeof binding === 'function';
  if (watchesBindings || !isObject) return;
  for (
    let prototype = intact.getPrototypeOf(binding) as { fetch?: Fetch } | null;
    prototype !== null;
    prototype = intact.getPrototypeOf(prototype) as { fetch?: Fetch } | null
  ) {
    const original = intact.ownValue(prototype, 'fetch') as Fetch | undefined;
    if (original === undefined) continue;
    watchesBindings = true;
    // A method of an object has, like the original, the name but neither prototype nor `new`.
    const replacement = {
      fetch(this: unknown, input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
        return call(original, this, { input, init });
      },
    };
    // Refused by the flag `immutable_api_prototypes`.
    intact.define(prototype, 'fetch', intact.ownDescriptor(replacement, 'fetch') ?? {});
    return;
  }
}

/** KV of the platform. All bindings to namespaces share one class, which has no global name. @param binding - any of them. */
export function watchNamespace(binding: unknown): void {
  if (typeof binding !== 'object' || binding === null) return;
  const prototype = intact.getPrototypeOf(binding) as object;
  watchMethods(prototype, intact.ownKeys(prototype));
}

watchMethods(Cache.prototype, ['match', 'put', 'delete']);

Object.assign(globalThis, {
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
    return reach(input, init);
  },
});
