/**
 * HTTP/1.1 towards an instance: the port of the hot path, with one suite for every implementation
 * (upstream.suite.ts).
 *
 * Conversation: `send` → `onReady` once, when the instance listens and takes a body → `onHead` →
 * `onData`* → `onEnd`; or `onFailure` once, at any point. After `abort` nothing more is called. All
 * callbacks come after `send` has returned. After `onEnd` and `onFailure` the exchange must not be touched:
 * its connection may already carry another request.
 */

import type { Address } from '../contracts/address.ts';

export interface UpstreamRequest {
  readonly address: Address;
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** Names and values in turn; framing headers (content-length, transfer-encoding, connection) are the client's. */
  readonly headers: readonly string[];
  /** 0: no body; undefined: unknown, sent chunked. */
  readonly bodyBytes: number | undefined;
}

/** `unreachable`: nothing was sent. `reset`: the connection ended early. `malformed`: not HTTP. */
export type UpstreamFailure = 'unreachable' | 'reset' | 'malformed';

export interface UpstreamHandler {
  onReady(): void;
  /** More of the body may be written. */
  onDrain(): void;
  /** @param headers - names and values in turn, as received. */
  onHead(status: number, reason: string, headers: readonly string[]): void;
  /** @returns false to stop until {@link UpstreamExchange.resume}. */
  onData(chunk: Buffer): boolean;
  onEnd(): void;
  onFailure(failure: UpstreamFailure, error: unknown): void;
}

export interface UpstreamExchange {
  /** @returns false when the caller should wait for `onDrain`. */
  write(chunk: Uint8Array): boolean;
  end(): void;
  resume(): void;
  abort(): void;
}

export interface UpstreamClient {
  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamExchange;
  close(): Promise<void>;
}
