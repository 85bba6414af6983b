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

export type WorkerdBinding =
  | { readonly name: string; readonly kind: 'text'; readonly text: string }
  | { readonly name: string; readonly kind: 'json'; readonly json: string };

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
    }
  | { readonly name: string; readonly kind: 'network'; readonly allow: readonly string[] };

interface WorkerdSocket {
  readonly name: string;
  readonly service: string;
  /** Header that carries `request.cf`; without one workerd fills it with the peer's pid and uid. */
  readonly cfBlobHeader: string;
}

export interface WorkerdConfig {
  readonly services: readonly WorkerdService[];
  readonly sockets: readonly WorkerdSocket[];
  readonly v8Flags: readonly string[];
}
