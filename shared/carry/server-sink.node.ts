/** {@link ResponseSink} over the response of an HTTP server. */
import type { ResponseWriter } from '../http/writer.ts';
import type { ResponseSink, SinkListener } from './ports.ts';

const ONE_WRITE_BYTES_MAX = 16_384;

interface Asked {
  /** Of the client. */
  readonly socket: { readonly readableEnded: boolean };
}

export class ServerSink implements ResponseSink {
  readonly #incoming: Asked;
  readonly #outgoing: ResponseWriter;
  #listener: SinkListener | undefined;
  /** True until the read that brought the response head has been worked off: a body that came with it goes out with it. */
  #headFresh = false;
  /** Body bytes from that read. */
  #firstChunk: Buffer | undefined;

  constructor(incoming: Asked, outgoing: ResponseWriter) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  get gone(): boolean {
    return this.#outgoing.destroyed;
  }

  get ended(): boolean {
    return this.#incoming.socket.readableEnded;
  }

  listen(listener: SinkListener | undefined): void {
    if (this.#listener === undefined && listener !== undefined) this.#outgoing.on('close', this.#closed);
    if (this.#listener !== undefined && listener === undefined) this.#outgoing.off('close', this.#closed);
    this.#listener = listener;
  }

  head(status: number, reason: string, headers: string[]): void {
    this.#outgoing.writeHead(status, reason, headers);
    this.#headFresh = true;
    queueMicrotask(this.#flush);
  }

  write(chunk: Buffer): boolean {
    if (this.#headFresh && this.#firstChunk === undefined) {
      this.#firstChunk = chunk;
      return true;
    }
    this.#flush();
    if (this.#outgoing.write(chunk)) return true;
    this.#outgoing.once('drain', this.#drained);
    return false;
  }

  end(): void {
    // From here on nothing is to be told: whoever waits for the reader costs a writer more.
    this.listen(undefined);
    const first = this.#firstChunk;
    this.#firstChunk = undefined;
    this.#headFresh = false;
    if (first === undefined) this.#outgoing.end();
    // Node joins a head and a text into one write; a head and a buffer cost it half as much again.
    else if (first.byteLength <= ONE_WRITE_BYTES_MAX) this.#outgoing.end(first.toString('latin1'), 'latin1');
    else this.#outgoing.end(first);
  }

  cut(): void {
    this.#headFresh = false;
    this.#outgoing.destroy();
  }

  /** Without a body in the same read the client gets the head now. */
  readonly #flush = (): void => {
    if (!this.#headFresh) return;
    this.#headFresh = false;
    const first = this.#firstChunk;
    this.#firstChunk = undefined;
    if (first === undefined) this.#outgoing.flushHeaders();
    else this.#outgoing.write(first);
  };

  readonly #drained = (): void => this.#listener?.onReceiverReady();

  readonly #closed = (): void => this.#listener?.onReceiverGone();
}
