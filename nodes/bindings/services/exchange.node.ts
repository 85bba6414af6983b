/** One request from a function to an instance of another, and the response back; bodies stream. */
import {
  request as httpRequest,
  type Agent,
  type ClientRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { Duplex } from 'node:stream';
import type { FunctionLimits } from '#shared/contracts/config.ts';
import { REQUEST_ID } from '#shared/contracts/invoke.ts';
import { nextReportMs, SLOW_MS, type Watch, type Watched } from '#shared/leases/watch.ts';
import { isFunctionError, passing } from './headers.ts';

export type ExchangeOutcome =
  /** A head reached the caller, whatever came of the body. */
  | { readonly kind: 'answered' | 'function_error' | 'caller_gone' | 'body_too_large' }
  /** Nothing was sent: the instance does not listen any more, or its queue of connections is full. */
  | { readonly kind: 'unreachable' | 'busy' }
  /** The instance closed before a response head. */
  | { readonly kind: 'reset'; readonly replayable: boolean }
  | { readonly kind: 'timeout'; readonly ageMs: number };

export interface ExchangePlan {
  readonly socketPath: string;
  readonly connections: Agent;
  readonly requestId: string;
  /** Names and values in turn, added to the caller's own. */
  readonly headers: readonly string[];
  readonly limits: FunctionLimits;
  readonly watch: Watch;
  readonly onSlow: (ageMs: number) => void;
}

/** Where the response goes: a response object, or the bare connection of an upgrade. */
export interface Inbound {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse | undefined;
  readonly upgrade: { readonly socket: Duplex; readonly head: Buffer } | undefined;
}

const UPGRADE = ['connection', 'Upgrade', 'upgrade', 'websocket'] as const;

function hasBody(incoming: IncomingMessage): boolean {
  const length = incoming.headers['content-length'];
  return incoming.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

export function exchange(inbound: Inbound, plan: ExchangePlan): Promise<ExchangeOutcome> {
  return new Promise((resolve) => new Exchange(inbound, plan, resolve).start());
}

class Exchange implements Watched {
  readonly #inbound: Inbound;
  readonly #plan: ExchangePlan;
  readonly #settle: (outcome: ExchangeOutcome) => void;
  readonly #hasBody: boolean;
  #request: ClientRequest | undefined;
  #response: IncomingMessage | undefined;
  #instance: Duplex | undefined;
  #startedMs = 0;
  #lastActiveMs = 0;
  #reportAtMs = SLOW_MS;
  #bodyBegun = false;
  #bodyBytes = 0;
  #answered = false;
  #over = false;

  constructor(inbound: Inbound, plan: ExchangePlan, settle: (outcome: ExchangeOutcome) => void) {
    this.#inbound = inbound;
    this.#plan = plan;
    this.#settle = settle;
    this.#hasBody = inbound.upgrade === undefined && hasBody(inbound.incoming);
  }

  start(): void {
    const { incoming, outgoing, upgrade } = this.#inbound;
    const gone = upgrade?.socket ?? outgoing;
    if (gone === undefined || gone.destroyed) return this.#settle({ kind: 'caller_gone' });
    gone.on('close', this.#callerClosed);
    this.#startedMs = this.#plan.watch.add(this);
    const framed = this.#hasBody && incoming.headers['content-length'] === undefined;
    const request = httpRequest({
      socketPath: this.#plan.socketPath,
      method: incoming.method,
      path: incoming.url,
      headers: passing(incoming.rawHeaders, [
        ...this.#plan.headers,
        ...(upgrade === undefined ? [] : UPGRADE),
        ...(framed ? ['transfer-encoding', 'chunked'] : []),
      ]),
      setHost: false,
      agent: upgrade === undefined ? this.#plan.connections : false,
    });
    this.#request = request;
    request.on('response', (response) => this.#respond(response));
    request.on('upgrade', (response, connection, rest) => this.#join(response, connection, rest));
    request.on('error', (error: NodeJS.ErrnoException) => this.#failed(error));
    if (!this.#hasBody) return void request.end();
    // Only once it is connected: until then the body is whole and may go to another instance.
    request.on('socket', (socket) => {
      if (socket.connecting) socket.once('connect', () => this.#sendBody());
      else this.#sendBody();
    });
  }

  tick(nowMs: number): void {
    const { limits, onSlow } = this.#plan;
    if (this.#answered) {
      if (nowMs - this.#lastActiveMs >= limits.streamIdleMs) this.#cut();
      return;
    }
    const ageMs = nowMs - this.#startedMs;
    if (ageMs >= this.#reportAtMs) {
      this.#reportAtMs = nextReportMs(ageMs, limits.cpuMs);
      onSlow(ageMs);
    }
    if (ageMs >= limits.timeoutMs) this.#finish({ kind: 'timeout', ageMs });
  }

  #sendBody(): void {
    if (this.#over || this.#request === undefined) return;
    this.#bodyBegun = true;
    this.#inbound.incoming.on('data', this.#bodyChunk);
    this.#inbound.incoming.pipe(this.#request);
  }

  #respond(response: IncomingMessage): void {
    this.#response = response;
    const { outgoing, upgrade } = this.#inbound;
    const status = response.statusCode ?? 502;
    if (isFunctionError(status, response.rawHeaders)) {
      response.resume();
      return this.#finish({ kind: 'function_error' });
    }
    this.#begin();
    const headers = passing(response.rawHeaders, [REQUEST_ID, this.#plan.requestId]);
    response.on('data', this.#active);
    response.on('error', () => this.#cut());
    response.on('aborted', () => this.#cut());
    if (upgrade !== undefined) {
      // The function declined: its plain answer goes out, and the connection ends with it.
      upgrade.socket.write(
        headText(status, response.statusMessage ?? '', [...headers, 'connection', 'close']),
      );
      response.on('end', () => this.#finish({ kind: 'answered' }));
      response.pipe(upgrade.socket);
      return;
    }
    outgoing?.writeHead(status, response.statusMessage ?? '', headers);
    outgoing?.flushHeaders();
    outgoing?.once('finish', () => this.#finish({ kind: 'answered' }));
    if (outgoing !== undefined) response.pipe(outgoing);
  }

  #join(response: IncomingMessage, connection: Duplex, rest: Buffer): void {
    const { upgrade } = this.#inbound;
    if (this.#over || upgrade === undefined) return void connection.destroy();
    this.#begin();
    this.#instance = connection;
    const { socket, head } = upgrade;
    const headers = passing(response.rawHeaders, [REQUEST_ID, this.#plan.requestId, ...UPGRADE]);
    socket.write(headText(101, 'Switching Protocols', headers), 'latin1');
    if (rest.byteLength > 0) socket.write(rest);
    if (head.byteLength > 0) connection.write(head);
    socket.on('data', this.#active);
    connection.on('data', this.#active);
    connection.on('error', () => socket.destroy());
    connection.on('close', () => socket.end(() => socket.destroy()));
    socket.pipe(connection);
    connection.pipe(socket);
  }

  #begin(): void {
    this.#answered = true;
    this.#lastActiveMs = this.#plan.watch.coarseMs;
  }

  readonly #active = (): void => {
    this.#lastActiveMs = this.#plan.watch.coarseMs;
  };

  readonly #bodyChunk = (chunk: Uint8Array): void => {
    this.#active();
    this.#bodyBytes += chunk.byteLength;
    if (this.#bodyBytes <= this.#plan.limits.requestBodyBytes) return;
    if (this.#answered) this.#cut();
    else this.#finish({ kind: 'body_too_large' });
  };

  #failed(error: NodeJS.ErrnoException): void {
    if (this.#answered) return this.#cut();
    if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT')
      return this.#finish({ kind: 'unreachable' });
    if (error.code === 'EAGAIN') return this.#finish({ kind: 'busy' });
    this.#finish({ kind: 'reset', replayable: !this.#bodyBegun });
  }

  readonly #callerClosed = (): void => {
    this.#finish({ kind: this.#answered ? 'answered' : 'caller_gone' });
  };

  /** The head is out: all that can be said is that the rest is missing. */
  #cut(): void {
    if (this.#over) return;
    (this.#inbound.upgrade?.socket ?? this.#inbound.outgoing)?.destroy();
    this.#finish({ kind: 'answered' });
  }

  #finish(outcome: ExchangeOutcome): void {
    if (this.#over) return;
    this.#over = true;
    const { incoming, outgoing, upgrade } = this.#inbound;
    this.#plan.watch.delete(this);
    (upgrade?.socket ?? outgoing)?.off('close', this.#callerClosed);
    incoming.off('data', this.#bodyChunk);
    if (this.#request !== undefined) incoming.unpipe(this.#request);
    this.#instance?.destroy();
    // A response that was read to its end leaves a connection that may carry the next request.
    if (this.#response?.complete !== true || this.#request?.writableEnded !== true) this.#request?.destroy();
    this.#settle(outcome);
  }
}

/** Values come from parsed messages, so they hold no line breaks. */
export function headText(status: number, reason: string, headers: readonly string[]): string {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let index = 0; index < headers.length; index += 2)
    text += `${headers[index] ?? ''}: ${headers[index + 1] ?? ''}\r\n`;
  return `${text}\r\n`;
}
