/**
 * Carries an admitted request to an instance, and decides what a failure means.
 *
 * A request is sent again only when nothing of it can have been done (the instance did not listen), or
 * when it is idempotent (by its method, or by an idempotency key), its body can be repeated and it is not to
 * blame for the end of its instance; then once, and the answer says so. Everything else gets the
 * reason's own code, so that callers know whether to try again.
 */
import {
  CF_CONNECTING_IP,
  CLAIMS,
  CLIENT_ADDRESS,
  COLD_START,
  DEADLINE_MS,
  FORWARDED_PROTO,
  OUTCOME,
  PRINCIPAL,
  REQUEST_ID,
  SCHEME,
  VERSION,
} from '#shared/contracts/invoke.ts';
import { PlatformError } from '#shared/errors.ts';
import {
  afterReset,
  afterTimeout,
  IDEMPOTENCY_KEY,
  instanceLost,
  isRepeatable,
} from '#shared/carry/ended.ts';
import type { AgentPort, Admitted, LeaseSource, Permit } from '#shared/leases/ports.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import { signingKeyIds } from '#shared/signatures/verify.ts';
import type { AuthOutcome } from './auth/outcome.ts';
import { BEARER_SUBPROTOCOL } from './auth/token-places.ts';
import { CORS_RESPONSE_HEADERS, corsHeaders } from './cors.ts';
import type { Metrics } from './metrics.ts';
import type { Call, ForwardOutcome, ForwardPlan } from './ports.ts';
import type { Target } from './routing/router.ts';
import { sessionOf, type Session } from './session.ts';
import type { Meter, UsageMeters } from '#shared/usage/meter.ts';

export interface InvokeDeps {
  readonly leases: LeaseSource;
  readonly agent: AgentPort;
  readonly timers: Timers;
  readonly metrics: Metrics;
  /** At least 128 random bits, in the characters of a session id. */
  readonly newSessionId: () => string;
  readonly usage: UsageMeters;
  /** Whether a key id names a key of this platform, whosever it is. */
  readonly isOurKey: (keyId: string) => boolean;
  /** A Set-Cookie value of an account's function on a host, as it may reach the client. */
  readonly confineCookie: (value: string, host: string, account: string) => string;
}

export interface Invocation {
  readonly call: Call;
  readonly target: Target;
  readonly caller: Extract<AuthOutcome, { kind: 'verified' }>;
  readonly requestId: string;
}

/** Each may meet an instance that has just ended: the scheduler hears of it a moment after us. */
const UNREACHABLE_RETRIES_MAX = 5;
const UNREACHABLE_PAUSE_MS = 10;
/** Read whole and kept while it is answered, so that it can be repeated. */
const REPLAY_BODY_BYTES_MAX = 64 * 1024;
/** Of another body so much must be here before it takes a place at an instance. */
const BODY_AHEAD_BYTES = 16 * 1024;
const BYSTANDER_RETRIED = 'bystander_retried';

/** undefined: the client has gone, so nobody reads an answer. */
export async function invoke(deps: InvokeDeps, invocation: Invocation): Promise<Response | undefined> {
  const { call, target } = invocation;
  const session = sessionOf(call, target.version.scaling, deps.newSessionId);
  if (call.bodyBytes !== 0 && !(await bodyReady(call, target))) return undefined;
  let resends = 0;
  let reached = false;
  for (let unreachable = 0; ;) {
    const admitted = await admit(deps, invocation, session);
    if (admitted.kind !== 'admitted') {
      if (!reached) invocation.caller.release?.();
      if (admitted.kind === 'refused') throw admitted.error;
      return undefined;
    }
    const { permit } = admitted;
    let again: 'answered' | 'resend' | 'unreachable';
    let outcome: ForwardOutcome;
    const meter = deps.usage.of(invocation.target.version.id);
    meter.open += 1;
    try {
      outcome = await call.forward(
        planOf(deps, invocation, { permit, meter, told: toldOf(session, resends) }),
      );
      if (!reached && outcome.kind !== 'unreachable' && outcome.kind !== 'busy') {
        reached = true;
        meter.requests += 1;
      }
      again =
        outcome.kind === 'answered'
          ? 'answered'
          : await settle(deps, invocation, { permit, outcome, mayResend: resends === 0 });
    } catch (thrown) {
      meter.errors += 1;
      throw thrown;
    } finally {
      meter.open -= 1;
      permit.release();
    }
    if (outcome.kind === 'answered') {
      const well = resends > 0 ? BYSTANDER_RETRIED : 'ok';
      if (outcome.end === 'cut') meter.errors += 1;
      deps.metrics.count(outcome.end === 'complete' ? well : outcome.end);
      return outcome.response;
    }
    if (outcome.kind === 'client_gone') return undefined;
    deps.metrics.retries += 1;
    if (again === 'resend') {
      resends += 1;
      continue;
    }
    unreachable += 1;
    if (unreachable > UNREACHABLE_RETRIES_MAX) throw instanceLost('no instance could be reached');
    const pauseMs = UNREACHABLE_PAUSE_MS * 2 ** (unreachable - 1);
    await new Promise<void>((resolve) => deps.timers.after(pauseMs, resolve));
  }
}

/** False: the client has gone. */
async function bodyReady(call: Call, { functionItem, version }: Target): Promise<boolean> {
  const wanted = { account: functionItem.account, bytesMax: version.limits.requestBodyBytes };
  const problem = await call.ready(wanted, mustKeep(call) ? REPLAY_BODY_BYTES_MAX + 1 : BODY_AHEAD_BYTES);
  if (problem === undefined) return true;
  if (problem.kind === 'failed') throw problem.error;
  if (problem.kind === 'too_large') throw new PlatformError('body_too_large', 'the body passed its bound');
  return false;
}

/** A body streams through; one that may have to be sent again is kept, when it is small. */
function mustKeep(call: Call): boolean {
  const { bodyBytes } = call;
  if (bodyBytes === undefined || bodyBytes === 0 || bodyBytes > REPLAY_BODY_BYTES_MAX) return false;
  return call.header(IDEMPOTENCY_KEY) !== undefined;
}

function admit(
  deps: InvokeDeps,
  { call, target }: Invocation,
  session: Session | undefined,
): Admitted | Promise<Admitted> {
  const waiting: { cancel?: () => void } = {};
  const admitted = deps.leases.admit(target.version, waiting, session?.id);
  if (!(admitted instanceof Promise)) return admitted;
  call.onGone(() => waiting.cancel?.());
  if (call.gone) waiting.cancel?.();
  return admitted.finally(() => call.onGone(undefined));
}

interface Attempt {
  readonly permit: Permit;
  readonly meter: Meter;
  /** Response headers, names and values in turn. */
  readonly told: readonly string[];
}

const NOTHING_TOLD: readonly string[] = [];
const RETRY_TOLD: readonly string[] = [OUTCOME, BYSTANDER_RETRIED];

/** Allocates nothing for the ordinary request. */
function toldOf(session: Session | undefined, resends: number): readonly string[] {
  const retry = resends > 0 ? RETRY_TOLD : NOTHING_TOLD;
  return session === undefined ? retry : [...session.told, ...retry];
}

function planOf(deps: InvokeDeps, invocation: Invocation, { permit, meter, told }: Attempt): ForwardPlan {
  const { target, caller, requestId, call } = invocation;
  const { version } = target;
  // Each header costs the instance about 1.3 µs: those that say nothing new are left out.
  const requestHeaders = [REQUEST_ID, requestId];
  if (version.style === 'event') requestHeaders.push(DEADLINE_MS, String(version.limits.timeoutMs));
  if (call.scheme !== 'http') requestHeaders.push(SCHEME, call.scheme, FORWARDED_PROTO, call.scheme);
  if (call.client !== undefined)
    requestHeaders.push(CLIENT_ADDRESS, call.client, CF_CONNECTING_IP, call.client);
  if (caller.principal !== undefined) requestHeaders.push(PRINCIPAL, caller.principal);
  if (caller.claims !== undefined) requestHeaders.push(CLAIMS, caller.claims);
  const responseHeaders = [...told, REQUEST_ID, requestId, VERSION, version.id];
  if (version.cors !== undefined) responseHeaders.push(...corsHeaders(version.cors, call));
  if (permit.coldStart) {
    deps.metrics.coldStarts += 1;
    responseHeaders.push(COLD_START, '1');
  }
  const hidden = hiding(deps, invocation, requestHeaders);
  return {
    lease: permit.lease,
    version,
    requestHeaders,
    requestDropped: hidden.requestDropped,
    query: hidden.query,
    subprotocol: hidden.subprotocol,
    responseHeaders,
    responseDropped: version.cors === undefined ? undefined : CORS_RESPONSE_HEADERS,
    confineCookie: deps.confineCookie,
    host: call.host,
    account: target.functionItem.account,
    meter,
    onBroken: () => deps.agent.broken(permit.lease, requestId),
    onSlow: (ageMs) => {
      if (ageMs < version.limits.cpuMs) deps.agent.slow(permit.lease, ageMs);
      else deps.agent.overdue(permit.lease, { requestId, kind: 'cpu', ageMs, inFlight: permit.inFlight() });
    },
  };
}

const SIGNATURE_HEADERS: ReadonlySet<string> = new Set(['signature', 'signature-input']);
const SUBPROTOCOL_HEADER: ReadonlySet<string> = new Set(['sec-websocket-protocol']);
const NOTHING_HIDDEN = { requestDropped: undefined, query: undefined, subprotocol: undefined } as const;

/**
 * What of the caller's proof must not reach the function, which could use it elsewhere in his name: signatures by keys
 * of the platform, whatever the function asks for, and tokens that stand where they are easily passed on.
 */
function hiding(
  { isOurKey }: InvokeDeps,
  { call, caller }: Invocation,
  requestHeaders: string[],
): Pick<ForwardPlan, 'requestDropped' | 'query' | 'subprotocol'> {
  const { hidden } = caller;
  if (hidden?.kind === 'query') return { ...NOTHING_HIDDEN, query: hidden.query };
  if (hidden?.kind === 'subprotocol') {
    if (hidden.rest !== '') requestHeaders.push('sec-websocket-protocol', hidden.rest);
    return { ...NOTHING_HIDDEN, requestDropped: SUBPROTOCOL_HEADER, subprotocol: BEARER_SUBPROTOCOL };
  }
  return signingKeyIds(call).some(isOurKey)
    ? { ...NOTHING_HIDDEN, requestDropped: SIGNATURE_HEADERS }
    : NOTHING_HIDDEN;
}

interface Failed {
  readonly permit: Permit;
  readonly outcome: Exclude<ForwardOutcome, { kind: 'answered' }>;
  readonly mayResend: boolean;
}

/** What follows from a failure: another attempt, or the error that says why there is none. */
async function settle(
  deps: InvokeDeps,
  { call, requestId }: Invocation,
  { permit, outcome, mayResend }: Failed,
): Promise<'resend' | 'unreachable'> {
  switch (outcome.kind) {
    case 'client_gone':
      return 'unreachable';
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
    case 'body_failed':
      throw outcome.error;
    case 'body_too_large':
      throw new PlatformError('body_too_large', 'the request body passed its bound while streaming');
    case 'timeout':
      throw afterTimeout(deps.agent, permit, { requestId, ageMs: outcome.ageMs });
    case 'reset':
      return afterReset(deps.agent, permit, {
        requestId,
        maySend: mayResend && outcome.replayable && isRepeatable(call.method, call.header(IDEMPOTENCY_KEY)),
      });
  }
}
