/** A `fetch` or WebSocket of a service binding: what of it the target is sent, and how the caller hears of a failure. */
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { attempts, type Attempt } from '#shared/carry/attempts.ts';
import { IDEMPOTENCY_KEY, isKept, isRepeatable, KEPT_BODY_BYTES_MAX } from '#shared/carry/ended.ts';
import { exchange } from '#shared/carry/exchange.node.ts';
import { requestHeaders } from '#shared/carry/headers.ts';
import { bodyBytesOf, Intake } from '#shared/carry/intake.node.ts';
import type { Carried, CarryOutcome, CarryRules } from '#shared/carry/ports.ts';
import { ServerSink } from '#shared/carry/server-sink.node.ts';
import { tunnel } from '#shared/carry/tunnel.node.ts';
import { WholeBody } from '#shared/carry/whole-body.ts';
import {
  BINDING_ERROR,
  CF,
  CF_UNKNOWN,
  DEADLINE_MS,
  FORWARDED_PROTO,
  PRINCIPAL,
  REQUEST_ID,
  SCHEME,
} from '#shared/contracts/invoke.ts';
import { asPlatformError, problemParts, type PlatformError } from '#shared/errors.ts';
import { headText } from '#shared/http/answer.node.ts';
import { fieldOf } from '#shared/http/head.ts';
import type { PlainRequest } from '#shared/http/plain/connection.node.ts';
import type { ResponseWriter } from '#shared/http/writer.ts';
import { LIMITS } from '#shared/limits.ts';
import { drain } from '../drain.ts';
import { Calling, newRequestId, type Place, type ServiceDeps, type ServiceSocket } from './caller.ts';
import type { TargetVersion } from './targets.ts';

/** The scheme of the URL that the caller fetches, which workerd tells in a header. */
const HTTPS = [SCHEME, 'https', FORWARDED_PROTO, 'https'] as const;

/** A request as it came, and where its response goes: an HTTP response, or the bare connection of an upgrade. */
export interface Inbound {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  /** 0: there is none; undefined: it is not said. */
  readonly bodyBytes: number | undefined;
  /** All of it, or whence it comes. */
  readonly body: Buffer | IncomingMessage;
  readonly outgoing: ResponseWriter | undefined;
  readonly socket: Duplex;
  /** What came behind the head of an upgrade. */
  readonly behind: Buffer;
}

const NOTHING = Buffer.alloc(0);

export function inboundOf(incoming: IncomingMessage, outgoing: ServerResponse): Inbound {
  const { method = 'GET', url = '/', rawHeaders, socket } = incoming;
  const bodyBytes = bodyBytesOf(incoming);
  return { method, url, rawHeaders, bodyBytes, body: incoming, outgoing, socket, behind: NOTHING };
}

export function plainInbound({ method, target, rawHeaders, body, response, socket }: PlainRequest): Inbound {
  const { byteLength } = body;
  return {
    method,
    url: target.raw,
    rawHeaders,
    bodyBytes: byteLength,
    body,
    outgoing: response,
    socket,
    behind: NOTHING,
  };
}

/** @param behind - what came behind the request's own. */
export function upgradeInbound(incoming: IncomingMessage, socket: Duplex, behind: Buffer): Inbound {
  const { method = 'GET', url = '/', rawHeaders } = incoming;
  return { method, url, rawHeaders, bodyBytes: 0, body: NOTHING, outgoing: undefined, socket, behind };
}

const ID = /^[\w.:-]{1,200}$/;
/** What a body costs beside its bytes. */
const HELD_BYTES_MIN = 4_096;

/** The caller's, which its own entry module said: all that one request causes has one id. */
function requestIdOf({ rawHeaders }: Inbound): string {
  const told = fieldOf(rawHeaders, REQUEST_ID);
  return told !== undefined && ID.test(told) ? told : newRequestId();
}

/** Answers the request, whatever happens. */
export async function forwardFetch(
  deps: ServiceDeps,
  socket: ServiceSocket,
  inbound: Inbound,
): Promise<void> {
  const { method, rawHeaders, bodyBytes, outgoing } = inbound;
  const requestId = requestIdOf(inbound);
  let body: HeldBody | undefined;
  try {
    body = bodyBytes === 0 ? undefined : bodyOf(deps, socket, inbound);
    const key = fieldOf(rawHeaders, IDEMPOTENCY_KEY);
    if (body instanceof Intake && isKept(bodyBytes, key) && !(await isHere(body))) return;
    const calling = new Calling(deps, socket, {
      requestId,
      repeatable: isRepeatable(method, key),
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
    if (body instanceof Intake) {
      body.stop();
      drain(inbound.body as IncomingMessage, LIMITS.requestBodyBytesMax);
    } else if (body !== undefined) deps.bodies.give(socket.target.account, heldBytes(body.whole));
  }
}

type HeldBody = Intake | WholeBody;

function heldBytes({ byteLength }: Buffer): number {
  return Math.max(HELD_BYTES_MIN, byteLength);
}

/** @throws {PlatformError} when it is more than the account's share. */
function bodyOf(
  { watch, bodies }: ServiceDeps,
  { target: { account } }: ServiceSocket,
  { body }: Inbound,
): HeldBody {
  if (!Buffer.isBuffer(body))
    return new Intake({ incoming: body, watch, shares: bodies, account, mayTrickle: true });
  bodies.takeOrThrow(account, heldBytes(body));
  return new WholeBody(body);
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
  readonly body: HeldBody | undefined;
}

// oxlint-disable-next-line max-params -- made once per request: an options object would cost an allocation
function send(
  deps: ServiceDeps,
  { socket, inbound, requestId, body }: Forwarding,
  { version, meter, onSlow, onBroken }: Attempt<TargetVersion>,
  { address }: Place,
): Promise<CarryOutcome> {
  const { method, url, rawHeaders, bodyBytes, outgoing } = inbound;
  const { account, caller } = socket.target;
  const added = [
    REQUEST_ID,
    requestId,
    CF,
    CF_UNKNOWN,
    DEADLINE_MS,
    String(version.limits.timeoutMs),
    PRINCIPAL,
    `function:${account}/${caller}`,
    ...(fieldOf(rawHeaders, SCHEME) === 'https' ? HTTPS : []),
  ];
  const carried: Carried = {
    address,
    method,
    target: url,
    headers: requestHeaders(rawHeaders, added),
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
    if (outgoing === undefined) {
      const upgraded = { ...carried, socket: inbound.socket, head: inbound.behind, subprotocol: undefined };
      tunnel(upgraded, rules, deps.watch, resolve);
    } else {
      const sink = new ServerSink(inbound, outgoing);
      exchange(deps, { ...carried, bodyBytes, body, sink }, rules, resolve);
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
  const { outgoing, socket } = inbound;
  if (outgoing === undefined) socket.end(problemText(error, requestId));
  else if (outgoing.headersSent) outgoing.destroy();
  else {
    outgoing.writeHead(status, STATUS_CODES[status] ?? '', [...flat]);
    outgoing.end(Buffer.from(body));
  }
}
