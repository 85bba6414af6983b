/**
 * {@link UpstreamClient} made for one purpose: HTTP/1.1 with kept-alive connections to Unix sockets.
 *
 * Own code because the upstream client is the largest part of what a request costs in the gateway
 * (measured in docs/SPECIFICATION.md). It does no more than the port asks: one request at a time per
 * connection, no pipelining, no redirects, no decoding.
 *
 * Connections are bounded by the slots of the leases, idle ones by IDLE_MAX per instance. An idle
 * connection is dropped before workerd would close it (5 s), so that a request does not meet a
 * connection that is just being closed.
 */
import type { Socket } from 'node:net';
import type { Address } from '../contracts/address.ts';
import type { Clock } from '../runtime/clock.ts';
import { connectReading, keyOf } from '../runtime/transport.node.ts';
import { MalformedResponse, ResponseParser, type ParserSink } from './response-parser.ts';
import type {
  UpstreamClient,
  UpstreamExchange,
  UpstreamFailure,
  UpstreamHandler,
  UpstreamRequest,
} from './upstream.ts';

const IDLE_MAX = 256;
const IDLE_MS_MAX = 3_000;

function headOf(request: UpstreamRequest): string {
  const { method, target, headers, bodyBytes } = request;
  let head = `${method} ${target} HTTP/1.1\r\n`;
  for (let index = 0; index < headers.length; index += 2)
    head += `${headers[index] ?? ''}: ${headers[index + 1] ?? ''}\r\n`;
  if (bodyBytes === undefined) head += 'transfer-encoding: chunked\r\n';
  // A length of 0 is said where a body is usual, so that the function sees what the client sent.
  else if (bodyBytes > 0 || method === 'POST' || method === 'PUT' || method === 'PATCH')
    head += `content-length: ${bodyBytes}\r\n`;
  return `${head}\r\n`;
}

/** Of Node's streams, beside their public face. */
interface StreamState {
  autoDestroy: boolean;
  errored: Error | null;
}

function statesOf(socket: Socket): { readonly readable: StreamState; readonly writable: StreamState } {
  const { _readableState: readable, _writableState: writable } = socket as unknown as Record<
    '_readableState' | '_writableState',
    StreamState
  >;
  return { readable, writable };
}

/**
 * A function may answer without reading the body, after which workerd closes: our write fails while the
 * answer is still to be read. Node then destroys the socket with all that was received; there is no public
 * way to have it read on. Whatever happens, the end of the connection or a failed read comes after it.
 */
function surviveFailedWrites(socket: Socket): void {
  const { readable, writable } = statesOf(socket);
  readable.autoDestroy = false;
  writable.autoDestroy = false;
}

interface Idle {
  readonly connections: Connection[];
}

class Connection implements ParserSink, UpstreamExchange {
  readonly #socket: Socket;
  readonly #owner: SocketClient;
  readonly #key: string;
  readonly #parser = new ResponseParser();
  #handler: UpstreamHandler | undefined;
  #connected = false;
  #chunked = false;
  #requestEnded = true;
  #headHeld = false;
  #wantsDrain = false;
  #reusable = false;
  #ended = false;
  #writeFailed = false;
  idleSinceMs = 0;

  constructor(owner: SocketClient, address: Address) {
    this.#owner = owner;
    this.#key = keyOf(address);
    const socket = connectReading(address, (chunk) => this.#received(chunk));
    this.#socket = socket;
    surviveFailedWrites(socket);
    socket.on('connect', () => {
      this.#connected = true;
      this.#handler?.onReady();
      setImmediate(() => this.#releaseHead());
    });
    socket.on('drain', () => {
      if (!this.#wantsDrain) return;
      this.#wantsDrain = false;
      this.#handler?.onDrain();
    });
    socket.on('end', () => this.#remoteEnded());
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.syscall !== 'write' || this.#handler === undefined) return this.#failed(error);
      this.#writeFailed = true;
      statesOf(socket).readable.errored = null;
    });
    socket.on('close', () => this.#failed(new Error('connection closed')));
  }

  begin(request: UpstreamRequest, handler: UpstreamHandler): void {
    this.#handler = handler;
    this.#chunked = request.bodyBytes === undefined;
    this.#requestEnded = request.bodyBytes === 0;
    this.#wantsDrain = false;
    this.#ended = false;
    this.#parser.start(this, request.method);
    if (!this.#requestEnded) this.#holdHead();
    // Before the connection stands the head waits in the socket, so nothing is lost and nothing was sent.
    this.#socket.write(headOf(request), 'latin1');
    if (this.#connected && !this.#requestEnded)
      queueMicrotask(() => {
        if (this.#handler === handler) handler.onReady();
      });
  }

  /**
   * The head goes out with the first of its body: workerd closes a connection whose request was answered
   * without its body, and writing to it then would lose the answer.
   */
  #holdHead(): void {
    this.#headHeld = true;
    this.#socket.cork();
    if (this.#connected) setImmediate(() => this.#releaseHead());
  }

  #releaseHead(): void {
    if (!this.#headHeld) return;
    this.#headHeld = false;
    this.#socket.uncork();
  }

  write(chunk: Uint8Array): boolean {
    if (this.#writeFailed) return true;
    const room = this.#write(chunk);
    this.#releaseHead();
    return room;
  }

  #write(chunk: Uint8Array): boolean {
    if (chunk.byteLength === 0) return true;
    const socket = this.#socket;
    let room: boolean;
    if (this.#chunked) {
      socket.cork();
      socket.write(`${chunk.byteLength.toString(16)}\r\n`, 'latin1');
      socket.write(chunk);
      room = socket.write('\r\n', 'latin1');
      socket.uncork();
    } else room = socket.write(chunk);
    if (!room) this.#wantsDrain = true;
    return room;
  }

  end(): void {
    if (this.#requestEnded || this.#writeFailed) return;
    this.#requestEnded = true;
    if (this.#chunked) this.#socket.write('0\r\n\r\n', 'latin1');
    this.#releaseHead();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Also how an idle connection ends. */
  abort(): void {
    this.#handler = undefined;
    this.#socket.destroy();
  }

  onHead(status: number, reason: string, headers: string[]): void {
    this.#handler?.onHead(status, reason, headers);
  }

  onBody(chunk: Buffer): void {
    if (this.#handler?.onData(chunk) === false) this.#socket.pause();
  }

  onComplete(reusable: boolean): void {
    this.#ended = true;
    this.#reusable = reusable;
  }

  #received(chunk: Buffer): void {
    if (this.#handler === undefined) {
      // An instance that speaks unasked cannot be trusted with the next request.
      this.#socket.destroy();
      return;
    }
    try {
      this.#parser.feed(chunk);
    } catch (thrown) {
      return this.#failed(thrown);
    }
    if (this.#ended) this.#complete();
  }

  #complete(): void {
    const handler = this.#handler;
    if (handler === undefined) return;
    this.#handler = undefined;
    // A response before the end of the request leaves the rest of the body on the connection.
    if (this.#reusable && this.#requestEnded && !this.#writeFailed && this.#socket.writable) {
      if (this.#socket.isPaused()) this.#socket.resume();
      this.#owner.release(this.#key, this);
    } else this.#socket.destroy();
    handler.onEnd();
  }

  #remoteEnded(): void {
    if (this.#parser.end()) this.#complete();
    this.#failed(new Error('connection ended'));
  }

  #failed(error: unknown): void {
    this.#owner.forget(this.#key, this);
    const handler = this.#handler;
    this.#handler = undefined;
    this.#socket.destroy();
    if (handler === undefined) return;
    let failure: UpstreamFailure = this.#connected ? 'reset' : 'unreachable';
    if (error instanceof MalformedResponse) failure = 'malformed';
    handler.onFailure(failure, error);
  }
}

export class SocketClient implements UpstreamClient {
  readonly #clock: Clock;
  readonly #idle = new Map<string, Idle>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamExchange {
    const { address } = request;
    const connection = this.#take(keyOf(address)) ?? new Connection(this, address);
    connection.begin(request, handler);
    return connection;
  }

  close(): Promise<void> {
    for (const { connections } of this.#idle.values())
      for (const connection of connections.splice(0)) connection.abort();
    this.#idle.clear();
    return Promise.resolve();
  }

  /** The youngest first: the others grow old and are dropped. */
  #take(key: string): Connection | undefined {
    const idle = this.#idle.get(key)?.connections;
    const connection = idle?.pop();
    if (idle === undefined || connection === undefined) return undefined;
    const oldestMs = this.#clock.monotonicMs() - IDLE_MS_MAX;
    if (connection.idleSinceMs >= oldestMs) {
      const [oldest] = idle;
      if (oldest !== undefined && oldest.idleSinceMs < oldestMs) idle.shift()?.abort();
      return connection;
    }
    // The youngest is too old, so all are.
    this.#idle.delete(key);
    connection.abort();
    for (const other of idle) other.abort();
    return undefined;
  }

  release(key: string, connection: Connection): void {
    let idle = this.#idle.get(key);
    if (idle === undefined) {
      idle = { connections: [] };
      this.#idle.set(key, idle);
    }
    if (idle.connections.length >= IDLE_MAX) return connection.abort();
    connection.idleSinceMs = this.#clock.monotonicMs();
    idle.connections.push(connection);
  }

  forget(key: string, connection: Connection): void {
    const idle = this.#idle.get(key);
    if (idle === undefined) return;
    const at = idle.connections.indexOf(connection);
    if (at >= 0) idle.connections.splice(at, 1);
    if (idle.connections.length === 0) this.#idle.delete(key);
  }
}
