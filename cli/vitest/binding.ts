/**
 * A worker of miniflare between a function and one that it is bound to: it says who calls, as the node of a deployed
 * function does, and lets RPC through as it is.
 */
import type { WorkerOptions } from 'miniflare';
import { HEADER_PREFIX, PRINCIPAL, REQUEST_ID } from '#shared/contracts/invoke.ts';

/** RPC asks an entrypoint for names that it has; the proxy has those of its target. */
const SCRIPT = `import { WorkerEntrypoint } from 'cloudflare:workers';
export default class extends WorkerEntrypoint {
  constructor(ctx, env) {
    super(ctx, env);
    return new Proxy(this, {
      get: (self, name) => Reflect.has(self, name) ? Reflect.get(self, name) : env.TARGET[name],
    });
  }
  fetch(request) {
    const headers = new Headers(request.headers);
    for (const name of [...headers.keys()]) if (name.startsWith('${HEADER_PREFIX}')) headers.delete(name);
    headers.set('${REQUEST_ID}', crypto.randomUUID());
    headers.set('${PRINCIPAL}', this.env.CALLER);
    return this.env.TARGET.fetch(new Request(request, { headers }));
  }
}`;

export interface TestBinding {
  readonly caller: string;
  readonly compatibilityDate: string;
  readonly binding: string;
  readonly target: string | { readonly name: string; readonly entrypoint: string };
}

export const bindingWorkerName = ({ caller, binding }: Pick<TestBinding, 'caller' | 'binding'>): string =>
  `isoplane-binding-${caller}-${binding}`;

export function bindingWorker(options: TestBinding): WorkerOptions {
  return {
    name: bindingWorkerName(options),
    modules: true,
    script: SCRIPT,
    compatibilityDate: options.compatibilityDate,
    bindings: { CALLER: `function:default/${options.caller}` },
    serviceBindings: { TARGET: options.target },
  };
}
