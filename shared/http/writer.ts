/** Where the response to a client is written. Node's ServerResponse is one; plain/ has another. */
export interface ResponseWriter {
  readonly destroyed: boolean;
  readonly headersSent: boolean;
  /** @param headers - names and values in turn. @throws for bytes that no head may hold. */
  writeHead(status: number, reason: string, headers: string[]): unknown;
  /** Sends the head before there is a body. */
  flushHeaders(): void;
  /** An interim response (102). */
  writeProcessing(): void;
  /** @returns false when the writer should wait for `drain`. */
  write(chunk: Uint8Array): boolean;
  end(): unknown;
  end(chunk: Uint8Array): unknown;
  end(text: string, encoding: 'latin1'): unknown;
  /** Breaks the response off, with its connection. */
  destroy(): unknown;
  /** Runs `listener` when the reader has taken nothing for `ms`. */
  setTimeout(ms: number, listener: () => void): unknown;
  /** `close`: the client has gone, or all is sent. */
  on(event: 'close' | 'drain', listener: () => void): unknown;
  once(event: 'close' | 'drain', listener: () => void): unknown;
  off(event: 'close' | 'drain', listener: () => void): unknown;
}
