/** The gateway on Node: HTTP server, strict parsing, upgrades, and refusals below the app. */
import { createServer, STATUS_CODES, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener } from '@hono/node-server';
import type { Context, Hono } from 'hono';
import { PlatformError, problemResponse, type ErrorCode } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Shares } from '#shared/shares.ts';
import { closeServer } from '#shared/runtime/unix-http.node.ts';
import { checkRequestHeaders } from './forward/headers.ts';
import { NodeCall, type NodeBindings, type NodeRuntime } from './forward/node-call.node.ts';
import { headText } from './forward/tunnel.node.ts';
import type { Call } from './ports.ts';

export interface NodeEnv {
  Bindings: NodeBindings;
}

const HEADERS_TIMEOUT_MS = 30_000;
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
const REQUEST_LINE_EXTRA_BYTES = 64;

/** The parser's own complaints; everything else it finds is a malformed request. */
const PARSER_CODES: Readonly<Record<string, ErrorCode>> = {
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

/** Refuses heads that two readers could understand differently, and those over the bounds. */
export function nodeCallOf(runtime: NodeRuntime): (context: Context<NodeEnv>) => Call {
  return (context) => {
    const { incoming } = context.env;
    const url = incoming.url ?? '';
    if (url.length > LIMITS.urlBytesMax)
      throw new PlatformError('url_too_long', `${url.length} bytes`, {
        publicDetail: `At most ${LIMITS.urlBytesMax} bytes.`,
      });
    const refused = checkRequestHeaders(incoming.rawHeaders);
    if (refused !== undefined)
      throw new PlatformError(refused.code, refused.reason, { publicDetail: refused.reason });
    if (!url.startsWith('/')) checkAbsolute(url, incoming.headers.host);
    return new NodeCall(runtime, context.env, context.req.url);
  };
}

/** `GET http://host/path`: RFC 9112 lets the target's host win, so a Host that differs is an ambiguity. */
function checkAbsolute(url: string, host: string | undefined): void {
  const authority = /^https?:\/\/([^/?#]*)/i.exec(url)?.[1];
  if (authority?.toLowerCase() !== host?.toLowerCase())
    throw new PlatformError('header_invalid', 'the request target names another host than the Host header');
}

export interface NodeServer {
  readonly server: Server;
  /** Lets what is in flight finish for `graceMs`; open WebSockets end then. */
  close(graceMs: number): Promise<void>;
}

/** One address must not take all connections. One too many is closed: it has not asked anything yet. */
function shareConnections(server: Server, connections: Shares): void {
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    if (!connections.take(address, 1)) return void socket.destroy();
    socket.once('close', () => connections.give(address, 1));
  });
}

export function createNodeServer(
  app: Hono<NodeEnv>,
  newRequestId: () => string,
  connections: Shares,
): NodeServer {
  const listener = getRequestListener((request, env) => app.fetch(request, env), {
    overrideGlobalObjects: false,
    // Raised before the app is reached: no usable Host or target.
    errorHandler: () =>
      problemResponse(new PlatformError('header_invalid', 'unusable host or target'), newRequestId()),
  });
  const server = createServer(
    {
      insecureHTTPParser: false,
      // A missing Host is refused as a problem document, by the listener.
      requireHostHeader: false,
      // The header bound proper is checked on the parsed head; this one stops the parser.
      maxHeaderSize: LIMITS.headerBytesMax + LIMITS.urlBytesMax + REQUEST_LINE_EXTRA_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      // Uploads may take as long as the longest function; slow heads are bounded above.
      requestTimeout: LIMITS.timeoutMsMax,
      // Other protocols in Upgrade are ignored, as RFC 9110 section 7.8 allows.
      shouldUpgradeCallback: (request) => request.headers.upgrade?.toLowerCase() === 'websocket',
    },
    (incoming, outgoing) => void listener(incoming, outgoing),
  );
  shareConnections(server, connections);
  // Node drops headers beyond its default of 2,000 in silence; the bound in bytes is enough.
  server.maxHeadersCount = 0;
  // The app decides when the client may send its body: not before it was let in.
  server.on('checkContinue', (incoming, outgoing) => void listener(incoming, outgoing));
  // Node forgets a connection once it is upgraded, and still waits for its end when it closes.
  const upgraded = new Set<Duplex>();
  server.on('upgrade', (incoming, socket, head) => {
    upgraded.add(socket);
    socket.on('close', () => upgraded.delete(socket));
    void upgrade(app, newRequestId(), { incoming, socket, head });
  });
  server.on('connect', (_incoming, socket) =>
    refuseOn(socket, new PlatformError('method_not_allowed', 'CONNECT'), newRequestId()),
  );
  server.on('clientError', (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket) => {
    // A response that has begun cannot be followed by a refusal.
    if (!socket.writable || error.code === 'ECONNRESET' || hasResponse(socket)) return void socket.destroy();
    refuseOn(socket, parserError(error), newRequestId());
  });
  return {
    server,
    close: async (graceMs) => {
      const force = setTimeout(() => {
        for (const socket of upgraded) socket.destroy();
      }, graceMs);
      await closeServer(server, graceMs);
      clearTimeout(force);
    },
  };
}

/** Node keeps the response under way on its socket, and does so for clientError handlers. */
function hasResponse(socket: Duplex): boolean {
  const message: unknown = '_httpMessage' in socket ? socket._httpMessage : undefined;
  return (
    typeof message === 'object' &&
    message !== null &&
    'headersSent' in message &&
    message.headersSent === true
  );
}

function parserError(error: NodeJS.ErrnoException & { rawPacket?: Buffer }): PlatformError {
  const code = PARSER_CODES[error.code ?? ''] ?? 'bad_request';
  const packet = error.rawPacket ?? Buffer.alloc(0);
  const lineEnd = packet.indexOf('\r\n');
  // The packet begins with a request line, and it is this line that is too long.
  const inUrl =
    code === 'headers_too_large' &&
    (lineEnd < 0 || lineEnd > LIMITS.urlBytesMax) &&
    /^[A-Z]+ /.test(packet.toString('latin1', 0, 16));
  return new PlatformError(inUrl ? 'url_too_long' : code, 'the parser refused the request', { cause: error });
}

async function upgrade(
  app: Hono<NodeEnv>,
  requestId: string,
  { incoming, socket, head }: { incoming: IncomingMessage; socket: Duplex; head: Buffer },
): Promise<void> {
  // Resets are the tunnel's business through 'close'; without a listener they would end the process.
  socket.on('error', () => socket.destroy());
  let response: Response;
  try {
    const url = new URL(incoming.url ?? '/', `http://${incoming.headers.host ?? ''}`);
    response = await app.fetch(new Request(url), {
      incoming,
      outgoing: undefined,
      upgrade: { socket, head },
    });
  } catch {
    return refuseOn(socket, new PlatformError('header_invalid', 'unusable host or target'), requestId);
  }
  if (!response.headers.has('x-hono-already-sent')) await writeResponse(socket, response);
}

function refuseOn(socket: Duplex, error: PlatformError, requestId: string): void {
  void writeResponse(socket, problemResponse(error, requestId));
}

async function writeResponse(socket: Duplex, response: Response): Promise<void> {
  const body = Buffer.from(await response.arrayBuffer());
  if (!socket.writable) return void socket.destroy();
  const headers = [...response.headers].flat();
  socket.end(
    Buffer.concat([
      Buffer.from(
        headText(response.status, STATUS_CODES[response.status] ?? '', [
          ...headers,
          'content-length',
          String(body.byteLength),
          'connection',
          'close',
        ]),
        'latin1',
      ),
      body,
    ]),
  );
}

/** @returns the port that was bound. A taken one is `port_in_use`, naming it. */
export async function listen(
  server: Server,
  where: { readonly host: string; readonly port: number; readonly reusePort: boolean },
): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? new PlatformError('port_in_use', `port ${where.port} on ${where.host} is in use`, {
              cause: error,
              publicDetail: `Port ${where.port} on ${where.host}; choose another with ISOPLANE_GATEWAY_PORT.`,
            })
          : error,
      ),
    );
    server.listen({ host: where.host, port: where.port, reusePort: where.reusePort }, resolve);
  });
  return (server.address() as AddressInfo).port;
}
