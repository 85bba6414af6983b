/** A `fetch` or WebSocket of a service binding: what of it the target is sent, and how the caller hears of a failure. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { attempts, type Attempt } from '#shared/carry/attempts.ts';
import { IDEMPOTENCY_KEY, isKept, isRepeatable, KEPT_BODY_BYTES_MAX } from '#shared/carry/ended.ts';
import { exchange } from '#shared/carry/exchange.node.ts';
import { requestHeaders } from '#shared/carry/headers.ts';
import { bodyBytesOf, Intake } from '#shared/carry/intake.node.ts';
import type { Carried, CarryOutcome, CarryRules } from '#shared/carry/ports.ts';
import { ServerSink } from '#shared/carry/server-sink.node.ts';
import { tunnel } from '#shared/carry/tunnel.node.ts';
import {
  BINDING_ERROR,
  DEADLINE_MS,
  FORWARDED_PROTO,
  PRINCIPAL,
  REQUEST_ID,
  SCHEME,
} from '#shared/contracts/invoke.ts';
import { asPlatformError, problemParts, type PlatformError } from '#shared/errors.ts';
import { headText } from '#shared/http/answer.node.ts';
import { fieldOf } from '#shared/http/head.ts';
import { LIMITS } from '#shared/limits.ts';
import { Calling, newRequestId, type Place, type ServiceDeps, type ServiceSocket } from './caller.ts';
import type { TargetVersion } from './targets.ts';

/** The scheme of the URL that the caller fetches, which workerd tells in a header. */
const HTTPS = [SCHEME, 'https', FORWARDED_PROTO, 'https'] as const;

/** Where the response goes: a response object, or the bare connection of an upgrade, with what came behind its head. */
export type Inbound =
  | { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse }
  | {
      readonly incoming: IncomingMessage;
      readonly outgoing: undefined;
      readonly socket: Duplex;
      readonly head: Buffer;
    };

const ID = /^[\w.:-]{1,200}$/;

/** The caller's, which its own entry module said: all that one request causes has one id. */
function requestIdOf({ headers }: IncomingMessage): string {
  const told = headers[REQUEST_ID];
  return typeof told === 'string' && ID.test(told) ? told : newRequestId();
}

/** Answers the request, whatever happens. */
export async function forwardFetch(
  deps: ServiceDeps,
  socket: ServiceSocket,
  inbound: Inbound,
): Promise<void> {
  const { incoming, outgoing } = inbound;
  const requestId = requestIdOf(incoming);
  const body = outgoing === undefined ? undefined : bodyOf(deps, socket, incoming);
  try {
    const key = fieldOf(incoming.rawHeaders, IDEMPOTENCY_KEY);
    if (body !== undefined && isKept(bodyBytesOf(incoming), key) && !(await isHere(body))) return;
    const calling = new Calling(deps, socket, {
      requestId,
      repeatable: isRepeatable(incoming.method ?? '', key),
      receiver: outgoing ?? inbound.socket,
      send: (attempt, place) => send(deps, { socket, inbound, requestId, body }, attempt, place),
    });
    await attempts(deps, calling);
  } catch (thrown) {
    const error = asPlatformError(thrown);
    if (error.code === 'internal') deps.log.error('service_call_failed', { requestId, error: thrown });
    if (error.code === 'response_invalid') deps.log.warn('response_refused', { requestId, error });
    answerProblem(inbound, error, requestId);
  } finally {
    if (body !== undefined) {
      body.stop();
      drain(incoming);
    }
  }
}

function bodyOf(
  { watch, bodies }: ServiceDeps,
  { target }: ServiceSocket,
  incoming: IncomingMessage,
): Intake | undefined {
  if (bodyBytesOf(incoming) === 0) return undefined;
  return new Intake({ incoming, watch, shares: bodies, account: target.account, mayTrickle: true });
}

/** Reads it whole. False: its sender has gone. @throws {PlatformError} */
async function isHere(body: Intake): Promise<boolean> {
  const read = await body.read(KEPT_BODY_BYTES_MAX);
  if (read.kind === 'failed') throw read.error;
  return read.kind !== 'gone';
}

interface Forwarding {
  readonly socket: ServiceSocket;
  readonly inbound: Inbound;
  readonly requestId: string;
  /** undefined: there is none. */
  readonly body: Intake | undefined;
}

// oxlint-disable-next-line max-params -- made once per request: an options object would cost an allocation
function send(
  deps: ServiceDeps,
  { socket, inbound, requestId, body }: Forwarding,
  { version, meter, onSlow, onBroken }: Attempt<TargetVersion>,
  { address }: Place,
): Promise<CarryOutcome> {
  const { incoming } = inbound;
  const { account, caller } = socket.target;
  const added = [
    REQUEST_ID,
    requestId,
    DEADLINE_MS,
    String(version.limits.timeoutMs),
    PRINCIPAL,
    `function:${account}/${caller}`,
    ...(incoming.headers[SCHEME] === 'https' ? HTTPS : []),
  ];
  const carried: Carried = {
    address,
    method: incoming.method ?? 'GET',
    target: incoming.url ?? '/',
    headers: requestHeaders(incoming.rawHeaders, added),
  };
  const rules: CarryRules = {
    limits: version.limits,
    meter,
    responseHeaders: [REQUEST_ID, requestId],
    filter: undefined,
    // Whoever called may read the answer as slowly as it likes.
    stalledMsMax: Number.POSITIVE_INFINITY,
    onSlow,
    onBroken,
  };
  return new Promise((resolve) => {
    if (inbound.outgoing === undefined) {
      const { socket: duplex, head } = inbound;
      tunnel({ ...carried, socket: duplex, head, subprotocol: undefined }, rules, deps.watch, resolve);
    } else {
      const sink = new ServerSink(incoming, inbound.outgoing);
      exchange(deps, { ...carried, bodyBytes: bodyBytesOf(incoming), body, sink }, rules, resolve);
    }
  });
}

interface Problem {
  readonly status: number;
  /** Headers, names and values in turn. */
  readonly flat: readonly string[];
  readonly body: string;
}

function problemOf(error: PlatformError, requestId: string): Problem {
  const { status, headers, body } = problemParts(error, requestId);
  const length = String(Buffer.byteLength(body));
  return {
    status,
    flat: [...[...headers].flat(), BINDING_ERROR, error.code, 'content-length', length],
    body,
  };
}

/** The whole response, after which the connection ends. */
export function problemText(error: PlatformError, requestId: string): string {
  const { status, flat, body } = problemOf(error, requestId);
  return headText(status, 'Refused', [...flat, 'connection', 'close']) + body;
}

function answerProblem(inbound: Inbound, error: PlatformError, requestId: string): void {
  const { status, flat, body } = problemOf(error, requestId);
  if (inbound.outgoing === undefined) inbound.socket.end(problemText(error, requestId));
  else if (inbound.outgoing.headersSent) inbound.outgoing.destroy();
  else inbound.outgoing.writeHead(status, [...flat]).end(body);
}

/** workerd hears of an answer only after it has sent its body, so a body that nobody wants is read, within reason. */
function drain(incoming: IncomingMessage): void {
  let bytes = 0;
  incoming.on('data', (chunk: Uint8Array) => {
    bytes += chunk.byteLength;
    if (bytes > LIMITS.requestBodyBytesMax) incoming.socket.destroy();
  });
  incoming.resume();
}
