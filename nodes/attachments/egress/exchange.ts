/** One request over one connection: streamed both ways, nothing is kept, nothing is followed. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { PassThrough } from 'node:stream';
import { errors, type Dispatcher } from 'undici';
import { PlatformError } from '#shared/errors.ts';
import type { Connection } from './connections.ts';
import { responseHeaders } from './headers.ts';
import { refusal } from './refusal.ts';

interface ExchangeTimes {
  readonly headMs: number;
  /** Longest silence inside a body. */
  readonly idleMs: number;
}

export interface ExchangeOptions extends ExchangeTimes {
  readonly path: string;
  readonly headers: string[];
  readonly countBytes: (bytes: number) => void;
}

/**
 * `reused`: the connection was closed by the target before it said anything, which keep-alive allows it to
 * do at any time; whoever may repeat the request does.
 */
export type ExchangeEnd =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly error: PlatformError; readonly reused: boolean };

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Between the two sockets, so that the end of one side does not tear down the other unasked. */
function bodyOf(
  incoming: IncomingMessage,
  { countBytes, idleMs }: Pick<ExchangeOptions, 'countBytes' | 'idleMs'>,
): PassThrough | null {
  if (!hasBody(incoming)) return null;
  const body = new PassThrough();
  incoming.on('data', (chunk: Buffer) => countBytes(chunk.byteLength));
  incoming.once('close', () => {
    if (!incoming.complete) body.destroy(new Error('the function took its request back'));
  });
  const onSilence = (): void =>
    void body.destroy(refusal('egress_timeout', 'the function stopped sending the body of its request'));
  incoming.setTimeout(idleMs, onSilence);
  // The request is destroyed by undici when it fails; what is still to come is read and dropped.
  body.once('close', () => {
    incoming.setTimeout(0);
    incoming.unpipe(body);
    incoming.resume();
  });
  body.on('error', () => undefined);
  incoming.pipe(body);
  return body;
}

function failureOf(error: Error, host: string): PlatformError {
  if (error instanceof PlatformError) return error;
  if (error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError)
    return refusal('egress_timeout', `${host} did not answer in time`, error);
  if (error instanceof errors.HeadersOverflowError)
    return refusal('egress_failed', `${host} sent headers that are too large`, error);
  return refusal('egress_failed', `the connection to ${host} failed before the answer was complete`, error);
}

/** Texts of status lines come from strangers; Node refuses what HTTP does not allow. */
const safeStatusText = (text: string): string => (/^[\t\x20-\x7e]*$/.test(text) ? text : '');

function textsOf(raw: unknown): string[] {
  return Array.isArray(raw)
    ? raw.map((value: unknown) => (Buffer.isBuffer(value) ? value.toString('latin1') : String(value)))
    : [];
}

export class Exchange implements Dispatcher.DispatchHandler {
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  readonly #connection: Connection;
  readonly #options: ExchangeOptions;
  readonly #ended = Promise.withResolvers<ExchangeEnd>();
  #controller: Dispatcher.DispatchController | undefined;
  #bodyBegun = false;
  readonly #onClose = (): void => this.#controller?.abort(new Error('the function has gone'));

  private constructor(
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    connection: Connection,
    options: ExchangeOptions,
  ) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#connection = connection;
    this.#options = options;
  }

  static run(
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    connection: Connection,
    options: ExchangeOptions,
  ): Promise<ExchangeEnd> {
    return new Exchange(incoming, outgoing, connection, options).#run();
  }

  #run(): Promise<ExchangeEnd> {
    const { path, headers, headMs, idleMs } = this.#options;
    this.#outgoing.once('close', this.#onClose);
    this.#connection.client.dispatch(
      {
        path,
        method: this.#incoming.method ?? 'GET',
        headers,
        body: bodyOf(this.#incoming, this.#options),
        headersTimeout: headMs,
        bodyTimeout: idleMs,
      },
      this,
    );
    return this.#ended.promise;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#outgoing.destroyed) this.#onClose();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    statusCode: number,
    _headers: unknown,
    statusMessage = '',
  ): void {
    // 103 and its like: the final answer follows.
    if (statusCode < 200) return;
    this.#outgoing.writeHead(
      statusCode,
      safeStatusText(statusMessage),
      responseHeaders(textsOf(controller.rawHeaders)),
    );
    // With the first of the body when that is here already: one system call less for each small answer.
    setImmediate(() => {
      if (!this.#bodyBegun && !this.#outgoing.destroyed) this.#outgoing.flushHeaders();
    });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#options.countBytes(chunk.byteLength);
    this.#bodyBegun = true;
    if (this.#outgoing.write(chunk)) return;
    controller.pause();
    this.#outgoing.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    this.#outgoing.off('close', this.#onClose);
    this.#bodyBegun = true;
    this.#outgoing.end();
    this.#ended.resolve({ kind: 'done' });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#outgoing.off('close', this.#onClose);
    const { headersSent } = this.#outgoing;
    this.#ended.resolve({
      kind: 'failed',
      error: failureOf(error, new URL(this.#connection.origin).hostname),
      reused:
        this.#connection.used &&
        !headersSent &&
        (error instanceof errors.SocketError || (error as NodeJS.ErrnoException).code === 'ECONNRESET'),
    });
  }
}
