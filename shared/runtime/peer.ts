/** Another plane, as a plane calls it. Where it is and how it is reached: transport.node.ts. */
import type { z } from 'zod';

export interface CallOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly body?: unknown;
  readonly signal?: AbortSignal;
  /** Of {@link Peer.lines}: something came, if not yet a whole line. */
  readonly onBytes?: () => void;
}

/** Failures to reach it are `internal` errors with the cause kept. */
export interface Peer {
  /** JSON call. A problem document is rethrown as the PlatformError it describes. */
  call<S extends z.ZodType>(path: string, schema: S, options?: CallOptions): Promise<z.infer<S>>;
  /** Bytes of a response, at most `bytesMax`. */
  bytes(path: string, bytesMax: number, options?: CallOptions): Promise<Uint8Array>;
  /** Lines of an NDJSON response, parsed; ends when the peer ends or `signal` fires. */
  lines<S extends z.ZodType>(path: string, schema: S, options?: CallOptions): AsyncGenerator<z.infer<S>>;
  close(): Promise<void>;
}
