/**
 * Carries a `fetch` from a service binding to an instance, and decides what a failure means. The rules are
 * those of the gateway (shared/carry/ended.ts): sent again only when nothing of the request can have been
 * done, or once when it may be repeated, has no body and is not to blame for the end of its instance.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  BINDING_ERROR,
  DEADLINE_MS,
  FORWARDED_PROTO,
  PRINCIPAL,
  REQUEST_ID,
  SCHEME,
} from '#shared/contracts/invoke.ts';
import { afterReset, afterTimeout, IDEMPOTENCY_KEY, isRepeatable } from '#shared/carry/ended.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Meter } from '#shared/usage/meter.ts';
import { asPlatformError, PlatformError, problemParts } from '#shared/errors.ts';
import {
  enter,
  newRequestId,
  pauseBefore,
  type Place,
  type ServiceDeps,
  type ServiceSocket,
} from './caller.ts';
import { exchange, type ExchangeOutcome, type ExchangePlan } from './exchange.node.ts';
import type { TargetVersion } from './targets.ts';
import { headText } from '#shared/http/answer.node.ts';
import { upgrade, type UpgradeInbound } from './upgrade.node.ts';

/** The scheme of the URL that the caller fetches, which workerd tells in a header. */
const HTTPS = [SCHEME, 'https', FORWARDED_PROTO, 'https'] as const;

/** Where the response goes: a response object, or the bare connection of an upgrade. */
export type Inbound =
  | { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse }
  | ({ readonly outgoing: undefined } & UpgradeInbound);

interface Forwarding {
  readonly deps: ServiceDeps;
  readonly socket: ServiceSocket;
  readonly inbound: Inbound;
  readonly requestId: string;
  readonly gone: AbortSignal;
  /** An instance got the call: it is counted once, however often it is sent. */
  reached: boolean;
}

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
  const requestId = requestIdOf(inbound.incoming);
  const gone = new AbortController();
  const sink = inbound.outgoing ?? inbound.socket;
  const leave = (): void => gone.abort();
  sink.on('close', leave);
  try {
    await forward({ deps, socket, inbound, requestId, gone: gone.signal, reached: false });
  } catch (thrown) {
    const error = asPlatformError(thrown);
    if (error.code === 'internal') deps.log.error('service_call_failed', { requestId, error: thrown });
    if (error.code === 'response_invalid') deps.log.warn('response_refused', { requestId, error });
    answerProblem(inbound, error, requestId);
  } finally {
    sink.off('close', leave);
  }
}

async function forward(forwarding: Forwarding): Promise<void> {
  const { deps, socket, gone } = forwarding;
  let resent = false;
  for (let unreachable = 0; ;) {
    // Each time anew: between two attempts the alias may have moved.
    const resolved = deps.targets.resolve(socket.target);
    const place = await enter(deps, { socket, resolved }, gone);
    if (place === undefined) return;
    let next: 'done' | 'resend' | 'unreachable';
    const meter = deps.usage.of(resolved.version.id);
    meter.open += 1;
    try {
      next = await attempt(forwarding, resolved.version, { place, meter, resent });
    } catch (thrown) {
      meter.errors += 1;
      throw thrown;
    } finally {
      meter.open -= 1;
      place.leave();
    }
    if (next === 'done') return;
    if (next === 'resend') resent = true;
    else {
      unreachable += 1;
      await pauseBefore(deps.timers, unreachable);
    }
  }
}

async function attempt(
  forwarding: Forwarding,
  version: TargetVersion,
  { place, meter, resent }: { readonly place: Place; readonly meter: Meter; readonly resent: boolean },
): Promise<'done' | 'resend' | 'unreachable'> {
  const { deps, socket, inbound, requestId } = forwarding;
  const { lease } = place.permit;
  const { account, caller } = socket.target;
  const plan: ExchangePlan = {
    socketPath: place.socketPath,
    requestId,
    headers: [
      REQUEST_ID,
      requestId,
      DEADLINE_MS,
      String(version.limits.timeoutMs),
      PRINCIPAL,
      `function:${account}/${caller}`,
      ...(inbound.incoming.headers[SCHEME] === 'https' ? HTTPS : []),
    ],
    limits: version.limits,
    meter,
    watch: deps.watch,
    onBroken: () => deps.agent.broken(lease, requestId),
    onSlow: (ageMs) => {
      if (ageMs < version.limits.cpuMs) deps.agent.slow(lease, ageMs);
      else deps.agent.overdue(lease, { requestId, kind: 'cpu', ageMs, inFlight: place.permit.inFlight() });
    },
  };
  const outcome = await (inbound.outgoing === undefined
    ? upgrade(inbound, plan)
    : exchange(deps.client, inbound, plan));
  if (!forwarding.reached && outcome.kind !== 'unreachable' && outcome.kind !== 'busy') {
    forwarding.reached = true;
    meter.requests += 1;
  }
  return settle(forwarding, place, outcome, resent);
}

async function settle(
  { deps, inbound, requestId }: Forwarding,
  { permit }: Place,
  outcome: ExchangeOutcome,
  resent: boolean,
): Promise<'done' | 'resend' | 'unreachable'> {
  switch (outcome.kind) {
    case 'answered':
    case 'caller_gone':
      return 'done';
    case 'busy':
      return 'unreachable';
    case 'unreachable':
      permit.lost();
      return 'unreachable';
    case 'function_error':
      throw new PlatformError('function_error', 'the handler threw');
    case 'response_invalid':
      throw new PlatformError('response_invalid', 'the head of the response was refused', {
        cause: outcome.cause,
      });
    case 'body_too_large':
      throw new PlatformError('body_too_large', 'the body passed the bound of the target');
    case 'timeout':
      throw afterTimeout(deps.agent, permit, { requestId, ageMs: outcome.ageMs });
    case 'reset': {
      const { method = '', headers } = inbound.incoming;
      const key = headers[IDEMPOTENCY_KEY];
      return afterReset(deps.agent, permit, {
        requestId,
        maySend: !resent && outcome.replayable && isRepeatable(method, key === undefined ? key : String(key)),
      });
    }
  }
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
  else {
    inbound.outgoing.writeHead(status, [...flat]).end(body);
    drain(inbound.incoming);
  }
}

/** workerd hears of an answer only after it has sent its body, so a body that is refused is read, within reason. */
function drain(incoming: IncomingMessage): void {
  let bytes = 0;
  incoming.on('data', (chunk: Uint8Array) => {
    bytes += chunk.byteLength;
    if (bytes > LIMITS.requestBodyBytesMax) incoming.socket.destroy();
  });
  incoming.resume();
}
