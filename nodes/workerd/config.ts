/**
 * The part of workerd's configuration that Isoplane uses, as plain values. `encode.ts` turns it into the
 * bytes that `workerd serve --binary` reads; the schema is in the npm package (workerd.capnp).
 */
import type { ModuleType } from '#shared/contracts/modules.ts';

export interface WorkerdModule {
  readonly name: string;
  readonly type: ModuleType;
  /** UTF-8 for the text types. */
  readonly content: Uint8Array;
}

/** Part of workerd to the worker: internal ones can be imported by other modules of workerd alone. */
export interface WorkerdExtensionModule {
  readonly name: string;
  readonly internal: boolean;
  readonly source: string;
}

/** A service, or an exported class of the worker that it names. */
export interface ServiceRef {
  readonly service: string;
  readonly entrypoint?: string;
}

export type WorkerdBinding =
  | { readonly name: string; readonly kind: 'text'; readonly text: string }
  | { readonly name: string; readonly kind: 'json'; readonly json: string }
  | ({ readonly name: string; readonly kind: 'service' } & ServiceRef)
  | ({ readonly name: string; readonly kind: 'kvNamespace' } & ServiceRef)
  /** What an internal module of the extension makes of the service, which it gets as `{ agent }`. */
  | { readonly name: string; readonly kind: 'wrapped'; readonly module: string; readonly agent: ServiceRef };

export type WorkerdService =
  | {
      readonly name: string;
      readonly kind: 'worker';
      /** The first module is the entry point. */
      readonly modules: readonly WorkerdModule[];
      readonly compatibilityDate: string;
      readonly compatibilityFlags: readonly string[];
      readonly bindings: readonly WorkerdBinding[];
      /** Service that `fetch()` reaches. */
      readonly globalOutbound: string;
      /** Service that `caches` asks. Without one workerd refuses it. */
      readonly cacheApiOutbound?: string;
    }
  | { readonly name: string; readonly kind: 'network'; readonly allow: readonly string[] }
  | {
      readonly name: string;
      readonly kind: 'external';
      /** A socket file in the slot's folder, where the process runs. */
      readonly socketName: string;
      /** `proxy`: requests arrive with absolute URLs and CONNECT; `host`: as the code wrote them. */
      readonly style: 'host' | 'proxy';
      /** RPC begins as CONNECT to this name; without one the service takes no RPC. */
      readonly capnpConnectHost?: string;
      /** Header that tells the service the scheme of the URL that the code fetched. */
      readonly schemeHeader?: string;
    };

export interface WorkerdSocket extends ServiceRef {
  /** Name on workerd's command line. */
  readonly name: string;
  /** File in the slot's folder. Absent: given on the command line. */
  readonly socketName?: string;
  /** Header that carries `request.cf`; without one workerd fills it with the peer's pid and uid. */
  readonly cfBlobHeader: string;
  /** Header whose scheme request.url gets; absent from a request, it is http. Code does not see it. */
  readonly schemeHeader?: string;
  readonly capnpConnectHost?: string;
}

export interface WorkerdConfig {
  readonly services: readonly WorkerdService[];
  readonly sockets: readonly WorkerdSocket[];
  readonly extension?: readonly WorkerdExtensionModule[];
  readonly v8Flags: readonly string[];
}
