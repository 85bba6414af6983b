/** Modules inside workerd, which only modules of an extension may import (pack.ts). */
declare module 'node-internal:async_hooks' {
  class AsyncLocalStorage<T> {
    getStore(): T | undefined;
    run<R>(store: T, callback: () => R): R;
  }
  const hooks: { readonly AsyncLocalStorage: typeof AsyncLocalStorage };
  export default hooks;
}

declare module 'cloudflare-internal:workers' {
  import type * as workers from 'cloudflare:workers';

  const entrypoints: Pick<typeof workers, 'WorkerEntrypoint'>;
  export default entrypoints;
}

declare module 'cloudflare-internal:sockets' {
  const sockets: object;
  export default sockets;
}

declare module 'cloudflare-internal:env' {
  const environment: { getCurrentEnv(): unknown };
  export default environment;
}
