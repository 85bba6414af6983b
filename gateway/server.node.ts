/** The gateway on Node: between the HTTP server and the Hono app. */
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Context, Hono } from 'hono';
import { answer, answerOn, discardRest } from '#shared/http/answer.node.ts';
import { createStrictServer, type StrictServer } from '#shared/http/strict-server.node.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import type { Shares } from '#shared/shares.ts';
import { NodeCall, type NodeBindings, type NodeRuntime } from './forward/node-call.node.ts';
import { PlainCall } from './plain/call.node.ts';
import type { PlainRequest } from '#shared/http/plain/connection.node.ts';
import { plainFront } from './plain/front.node.ts';
import type { InstanceCall } from './ports.ts';

export interface NodeEnv {
  Bindings: NodeBindings | { readonly plain: PlainRequest };
}

export function nodeCallOf(runtime: NodeRuntime): (context: Context<NodeEnv>) => InstanceCall {
  return ({ env }) => ('plain' in env ? new PlainCall(runtime, env.plain) : new NodeCall(runtime, env));
}

/**
 * What the app is given as the request. Nothing reads it: the head is read in place, once, from the bindings
 * (shared/http/head.ts), and a Request would have parsed its target another way.
 */
/** Of a body, while it waits to be read: in chunks of one byte each byte is some 400 in memory. */
const UNREAD_BYTES_MAX = 16 * 1_024;
const UNREAD = new Request('http://gateway.invalid/');

export interface NodeServerOptions {
  readonly app: Hono<NodeEnv>;
  readonly newRequestId: () => string;
  readonly connections: Shares;
  readonly isProxy: (address: string) => boolean;
  readonly headMsMax?: number;
  /** False: all connections are Node's from the start. */
  readonly plain: boolean;
  readonly clock: Clock;
  readonly timers: Timers;
}

export function createNodeServer({ app, plain, ...options }: NodeServerOptions): StrictServer {
  const front = plainFront({ ...options, serve: (request) => void servePlain(app, request) });
  return createStrictServer({
    ...options,
    ...(plain ? { front } : {}),
    // Uploads may take as long as the longest function; slow heads are bounded on their own.
    requestMsMax: LIMITS.timeoutMsMax,
    unreadBytesMax: UNREAD_BYTES_MAX,
    onRequest: (incoming, outgoing) => void serve(app, incoming, outgoing),
    onUpgrade: (incoming, socket, head) => void upgrade(app, incoming, { socket, head }),
  });
}

async function serve(app: Hono<NodeEnv>, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const response = await app.fetch(UNREAD, { incoming, outgoing });
  if (response !== RESPONSE_ALREADY_SENT) return answer(incoming, outgoing, response);
  // The function has answered without its request's body: what is left of it must not hold the connection.
  if (!incoming.complete && !incoming.destroyed)
    discardRest(incoming, (whole) => (whole ? undefined : incoming.socket.destroySoon()));
}

async function servePlain(app: Hono<NodeEnv>, request: PlainRequest): Promise<void> {
  const response = await app.fetch(UNREAD, { plain: request });
  if (response === RESPONSE_ALREADY_SENT) return;
  const body = Buffer.from(await response.arrayBuffer());
  const { response: outgoing } = request;
  if (outgoing.headersSent || outgoing.destroyed) return void outgoing.destroy();
  const headers = [...response.headers].flat();
  const { status } = response;
  if (status >= 200 && status !== 204 && status !== 304)
    headers.push('content-length', String(body.byteLength));
  outgoing.writeHead(status, STATUS_CODES[status] ?? 'unknown', headers).end(body);
}

async function upgrade(
  app: Hono<NodeEnv>,
  incoming: IncomingMessage,
  upgraded: { readonly socket: Duplex; readonly head: Buffer },
): Promise<void> {
  const response = await app.fetch(UNREAD, { incoming, outgoing: undefined, upgrade: upgraded });
  if (response !== RESPONSE_ALREADY_SENT) await answerOn(upgraded.socket, response);
}
