/**
 * `fetch` of a function: tells the node's proxy which request an outbound one belongs to, and rejects where
 * the proxy refused.
 *
 * Evaluated before the user's module. A function that never fetches pays nothing for it.
 */
import { scopes } from './console.worker.ts';

const REQUEST_ID = 'isoplane-request-id';
const EGRESS_ERROR = 'isoplane-egress-error';

const outbound = globalThis.fetch;
/** Kept: polyfills of the user may replace it, and the original `fetch` takes none of theirs. */
const NativeRequest = Request;

async function reasonOf(response: Response): Promise<string> {
  try {
    const { title, detail } = await response.json<{ title?: unknown; detail?: unknown }>();
    return String(detail ?? title);
  } catch {
    return 'the request could not be made';
  }
}

async function tagged(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const request = new NativeRequest(input, init);
  const id = scopes.getStore()?.headers.get(REQUEST_ID) ?? undefined;
  if (id === undefined) request.headers.delete(REQUEST_ID);
  else request.headers.set(REQUEST_ID, id);
  const response = await outbound(request);
  const code = response.headers.get(EGRESS_ERROR);
  if (code === null) return response;
  throw new TypeError(`${code}: ${await reasonOf(response)}`);
}

// A method of an object has, like the original, the name but neither prototype nor `new`.
Object.assign(globalThis, {
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
    return tagged(input, init);
  },
});
