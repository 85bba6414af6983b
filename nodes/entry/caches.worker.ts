/**
 * `caches` of a function, which workerd refuses without a service behind it: an answer for every call, and it is
 * always "not there". Code that asks a cache first works as on its first request.
 */
import * as intact from './intact.worker.ts';

const CachePrototype = Object.getPrototypeOf(caches.default) as object;
const NativeRequest = Request;

const methods = {
  match(input: RequestInfo | URL): Promise<undefined> {
    return settled(() => void new NativeRequest(input));
  },
  put(input: RequestInfo | URL, response: Response): Promise<undefined> {
    return settled(() => {
      if (intact.methodOf(new NativeRequest(input)) !== 'GET')
        throw new TypeError('Cannot cache response to non-GET request.');
      if (intact.statusOf(response) === 206)
        throw new TypeError('Cannot cache response to a range request (206 Partial Content).');
      // What nobody reads must not be held back.
      const body = intact.bodyOf(response);
      if (body !== null && !body.locked) intact.whenRejected(body.cancel(), () => undefined);
    });
  },
  async delete(input: RequestInfo | URL): Promise<boolean> {
    await settled(() => void new NativeRequest(input));
    return false;
  },
};

/** A throw becomes a rejection. */
function settled(work: () => void): Promise<undefined> {
  return new Promise((resolve) => {
    work();
    resolve(undefined);
  });
}

for (const [name, value] of Object.entries(methods))
  Reflect.defineProperty(CachePrototype, name, { value, writable: true, configurable: true });
