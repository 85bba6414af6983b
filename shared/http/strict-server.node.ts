/**
 * Node's HTTP server for callers that nobody knows: strict parsing, bounds on connections, refusals as problem
 * documents also below HTTP, clients that end their side after the request.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { PlatformError, problemResponse, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { closeServer } from '../runtime/transport.node.ts';
import { answer, refuseOn, responseOn } from './answer.node.ts';
import { askWhetherGone } from './gone.node.ts';
import type { Shares } from '../shares.ts';
import { holderOf } from './connections.ts';

export interface StrictServerOptions {
  readonly onRequest: (incoming: IncomingMessage, outgoing: ServerResponse) => void;
  /** Absent: upgrades are not offered, and the request is handled as if it had not asked for one. */
  readonly onUpgrade?: (incoming: IncomingMessage, socket: Duplex, head: Buffer) => void;
  readonly newRequestId: () => string;
  /** By addresses of clients. */
  readonly connections: Shares;
  /** Of an address that many clients share: its connections are held to no share of their own. */
  readonly isProxy?: (address: string) => boolean;
  /** From the first byte of a request to the last. */
  readonly requestMsMax: number;
  /** Of a body that nobody reads yet, beside one read of the network. Default: Node's 64 KiB. */
  readonly unreadBytesMax?: number;
  /** How long a client has for a request head. */
  readonly headMsMax?: number;
  /** Reads connections first, and gives over what it does not take. */
  readonly front?: (http: HttpSide) => Front;
}

/** What stands behind a front. */
export interface HttpSide {
  readonly server: Server;
  readonly headMsMax: number;
  readonly keepAliveMs: number;
  /** Serves a connection of which everything is still to be read. */
  take(socket: Socket): void;
}

export interface Front {
  /** A new connection, whose place is held until it closes. */
  accept(socket: Socket): void;
  /** Connections end when they are idle, those in use with what is under way or after `graceMs`. */
  close(graceMs: number): void;
}

export interface StrictServer {
  readonly server: Server;
  /** Lets what is in flight finish for `graceMs`; open WebSockets end then. */
  close(graceMs: number): Promise<void>;
}

const HEAD_MS_MAX = 30_000;
const KEEP_ALIVE_MS_MAX = 65_000;
/** How often Node looks for requests that are late. */
const LATE_CHECK_MS = 5_000;
const REQUEST_LINE_EXTRA_BYTES = 64;
const BUSY_RETRY_MS = 1_000;

/** The parser's own complaints; everything else it finds is a malformed request. */
const PARSER_CODES: Readonly<Record<string, ErrorCode>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
  HPE_INVALID_URL: 'target_invalid',
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  HPE_INVALID_HEADER_TOKEN: 'header_invalid',
  HPE_INVALID_CONTENT_LENGTH: 'header_invalid',
  HPE_UNEXPECTED_CONTENT_LENGTH: 'header_invalid',
  HPE_INVALID_TRANSFER_ENCODING: 'header_invalid',
  HPE_LF_EXPECTED: 'header_invalid',
  HPE_CR_EXPECTED: 'header_invalid',
  HPE_UNEXPECTED_SPACE: 'header_invalid',
  HPE_STRICT: 'header_invalid',
};
const GONE = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED']);

export function createStrictServer(options: StrictServerOptions): StrictServer {
  const { onRequest, onUpgrade, newRequestId } = options;
  const server = createServer(
    {
      insecureHTTPParser: false,
      // A missing Host is refused as a problem document (head.ts).
      requireHostHeader: false,
      // The header bound proper is checked on the parsed head; this one stops the parser.
      maxHeaderSize: LIMITS.headerBytesMax + LIMITS.urlBytesMax + REQUEST_LINE_EXTRA_BYTES,
      headersTimeout: options.headMsMax ?? HEAD_MS_MAX,
      keepAliveTimeout: KEEP_ALIVE_MS_MAX,
      requestTimeout: options.requestMsMax,
      ...(options.unreadBytesMax === undefined ? {} : { highWaterMark: options.unreadBytesMax }),
      connectionsCheckingInterval: Math.min(LATE_CHECK_MS, options.headMsMax ?? LATE_CHECK_MS),
      // Other protocols in Upgrade are ignored, as RFC 9110 section 7.8 allows.
      shouldUpgradeCallback: (request) =>
        onUpgrade !== undefined && request.headers.upgrade?.toLowerCase() === 'websocket',
    },
    onRequest,
  );
  // Node drops headers beyond its default of 2,000 in silence; the bound in bytes is enough.
  server.maxHeadersCount = 0;
  // RFC 9112 section 9.6: a client may end its side after its last request and still wants the answer.
  Object.assign(server, { httpAllowHalfOpen: true });
  // The app decides when the client may send its body: not before it was let in.
  server.on('checkContinue', onRequest);
  server.on('checkExpectation', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const error = new PlatformError('expectation_failed', 'an Expect other than 100-continue');
    void answer(incoming, outgoing, problemResponse(error, newRequestId()));
  });
  server.on('connect', (_incoming, socket) =>
    refuseOn(socket, new PlatformError('method_not_allowed', 'CONNECT'), newRequestId()),
  );
  server.on('clientError', (error: ParserError, socket) => {
    // A response that has begun cannot be followed by a refusal.
    if (!socket.writable || GONE.has(error.code ?? '') || responseOn(socket)?.headersSent === true)
      return void socket.destroy();
    refuseOn(socket, parserError(error), newRequestId());
  });
  const http = httpSide(server);
  const front = options.front?.(http);
  let proxied = 0;
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    const holder = options.isProxy?.(address) === true ? `proxied ${(proxied += 1)}` : holderOf(address);
    if (!options.connections.take(holder, 1)) return refuseConnection(socket, newRequestId());
    socket.once('close', () => options.connections.give(holder, 1));
    if (front === undefined) http.take(socket);
    else front.accept(socket);
  });
  const upgraded = keepUpgraded(server, onUpgrade);
  return {
    server,
    close: async (graceMs) => {
      const force = setTimeout(() => {
        for (const socket of upgraded) socket.destroy();
      }, graceMs);
      front?.close(graceMs);
      await closeServer(server, graceMs);
      clearTimeout(force);
    },
  };
}

/**
 * Node's own listener to 'connection' is what makes one its: whoever is refused never gets there, and a front calls it
 * later.
 */
function httpSide(server: Server): HttpSide {
  const listeners = server.listeners('connection') as ((this: Server, socket: Socket) => void)[];
  server.removeAllListeners('connection');
  return {
    server,
    headMsMax: server.headersTimeout,
    keepAliveMs: server.keepAliveTimeout,
    take: (socket) => {
      for (const listener of listeners) listener.call(server, socket);
      socket.on('end', () => {
        const response = responseOn(socket);
        if (response?.req.httpVersion === '1.1') askWhetherGone(socket, response);
      });
    },
  };
}

/** Node forgets a connection once it is upgraded, and still waits for its end when it closes. */
function keepUpgraded(server: Server, onUpgrade: StrictServerOptions['onUpgrade']): ReadonlySet<Duplex> {
  const upgraded = new Set<Duplex>();
  if (onUpgrade === undefined) return upgraded;
  server.on('upgrade', (incoming, socket, head) => {
    upgraded.add(socket);
    // Resets are the tunnel's business through 'close'; without a listener they would end the process.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => upgraded.delete(socket));
    onUpgrade(incoming, socket, head);
  });
  return upgraded;
}

function refuseConnection(socket: Socket, requestId: string): void {
  socket.on('error', () => socket.destroy());
  // Nobody waits long for someone who was refused: his request is not read.
  socket.pause();
  socket.setTimeout(BUSY_RETRY_MS, () => socket.destroy());
  const error = new PlatformError('too_many_connections', 'over the bound of connections', {
    retryAfterMs: BUSY_RETRY_MS,
  });
  socket.once('finish', () => socket.destroySoon());
  refuseOn(socket, error, requestId);
}

type ParserError = NodeJS.ErrnoException & { readonly rawPacket?: Buffer; readonly bytesParsed?: number };

function parserError(error: ParserError): PlatformError {
  const packet = error.rawPacket ?? Buffer.alloc(0);
  const code = PARSER_CODES[error.code ?? ''] ?? lineCode(error, packet);
  const lineEnd = packet.indexOf('\r\n');
  // The packet begins with a request line, and it is this line that is too long.
  const inUrl =
    code === 'headers_too_large' &&
    (lineEnd < 0 || lineEnd > LIMITS.urlBytesMax) &&
    /^[A-Z]+ /.test(packet.toString('latin1', 0, 16));
  return new PlatformError(inUrl ? 'url_too_long' : code, 'the parser refused the request', { cause: error });
}

/** A request line in the right form with a method or version that the parser does not know. */
function lineCode(error: ParserError, packet: Buffer): ErrorCode {
  if (error.code !== 'HPE_INVALID_METHOD' && error.code !== 'HPE_INVALID_VERSION') return 'bad_request';
  const line = lineAround(packet, error.bytesParsed ?? 0);
  const parts = /^([!#$%&'*+.^_`|~\w-]+) [\u0021-\u007e\u0080-\u00ff]+ HTTP\/(\d\.\d)$/.exec(line);
  if (parts === null) return 'bad_request';
  return error.code === 'HPE_INVALID_METHOD' ? 'not_implemented' : 'version_not_supported';
}

function lineAround(packet: Buffer, at: number): string {
  const begin = at === 0 ? 0 : packet.lastIndexOf('\n', at - 1) + 1;
  const end = packet.indexOf('\r\n', begin);
  return packet.toString('latin1', begin, Math.min(end < 0 ? packet.byteLength : end, begin + 512));
}

/**
 * @returns the port that was bound. A taken one is `port_in_use`, and `advice` says how to choose another; what the
 *   machine does not have or the user may not use is `address_unusable`.
 */
export async function listenOn(
  server: Server,
  where: { readonly host: string; readonly port: number; readonly reusePort?: boolean },
  advice: string,
): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? new PlatformError('port_in_use', `port ${where.port} on ${where.host} is in use`, {
              cause: error,
              publicDetail: `Port ${where.port} on ${where.host}; ${advice}`,
            })
          : new PlatformError('address_unusable', `${where.host}:${where.port}: ${error.message}`, {
              cause: error,
            }),
      ),
    );
    server.listen({ host: where.host, port: where.port, reusePort: where.reusePort ?? false }, resolve);
  });
  return (server.address() as AddressInfo).port;
}
