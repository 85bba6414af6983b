/** One request of a client: what of it an instance is sent, and what of the answer the client is told. */
import {
  CF,
  CF_CONNECTING_IP,
  CF_UNKNOWN,
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
import { attempts, type Attempt, type CarryDeps, type Carriage } from '#shared/carry/attempts.ts';
import { IDEMPOTENCY_KEY, isKept, isRepeatable, KEPT_BODY_BYTES_MAX } from '#shared/carry/ended.ts';
import type { VersionItem } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import { signingKeyIds } from '#shared/signatures/verify.ts';
import type { UsageMeters } from '#shared/usage/meter.ts';
import type { AuthOutcome } from './auth/outcome.ts';
import { BEARER_SUBPROTOCOL } from './auth/token-places.ts';
import { CORS_RESPONSE_HEADERS, corsHeaders } from './cors.ts';
import type { Metrics } from './metrics.ts';
import type { Call, CallAnswered, ForwardOutcome, ForwardPlan, InstanceCall } from './ports.ts';
import type { Target } from './routing/router.ts';
import { sessionOf, type Session } from './session.ts';

/** What the gateway itself gives to those who take its requests on. */
export interface GatewayParts {
  readonly metrics: Metrics;
  readonly usage: UsageMeters;
  /** Where the call leads now; the alias may have moved since. @throws {PlatformError} */
  readonly retarget: (call: Call, before: Target) => Target;
  /** Whether a key id names a key of this platform, whosever it is. */
  readonly isOurKey: (keyId: string) => boolean;
  /** A Set-Cookie value of an account's function on a host, as it may reach the client. */
  readonly confineCookie: (value: string, host: string, account: string) => string;
}

interface Invocation<C extends Call = InstanceCall> {
  readonly call: C;
  readonly target: Target;
  readonly caller: Extract<AuthOutcome, { kind: 'verified' }>;
  readonly requestId: string;
}

/** What stands behind a gateway: where requests go that may pass. */
export interface Behind<C extends Call> {
  /** Another gateway, which asks again who calls: what cannot be checked here passes, with the client's own credentials. */
  readonly checksAgain: boolean;
  /** The function answers undefined when the client has gone, so that nobody reads an answer. */
  deliverer(parts: GatewayParts): (invocation: Invocation<C>) => Promise<Response | undefined>;
}

interface InvokeDeps extends CarryDeps, GatewayParts {
  /** At least 128 random bits, in the characters of a session id. */
  readonly newSessionId: () => string;
}

/** Leases say which instance may be called. */
export function instancesBehind(deps: Omit<InvokeDeps, keyof GatewayParts>): Behind<InstanceCall> {
  return {
    checksAgain: false,
    deliverer: (parts) => {
      const all = { ...deps, ...parts };
      return (invocation) => invoke(all, invocation);
    },
  };
}

/** Of a body that is not kept so much must be here before it takes a place at an instance. */
const BODY_AHEAD_BYTES = 16 * 1024;
const BYSTANDER_RETRIED = 'bystander_retried';

async function invoke(deps: InvokeDeps, invocation: Invocation): Promise<Response | undefined> {
  const { call, target } = invocation;
  if (call.bodyBytes !== 0 && !(await bodyReady(call, target))) return undefined;
  const invoking = new Invoking(deps, invocation);
  const answered = await attempts(deps, invoking);
  if (answered === undefined) return undefined;
  const well = invoking.resent ? BYSTANDER_RETRIED : 'ok';
  deps.metrics.count(answered.end === 'complete' ? well : answered.end);
  return answered.response;
}

/** False: the client has gone. */
async function bodyReady(call: InstanceCall, { functionItem, version }: Target): Promise<boolean> {
  const wanted = { account: functionItem.account, bytesMax: version.limits.requestBodyBytes };
  // A body streams through; one that may have to be sent again is kept, when it is small.
  const kept = isKept(call.bodyBytes, call.header(IDEMPOTENCY_KEY));
  const problem = await call.ready(wanted, kept ? KEPT_BODY_BYTES_MAX + 1 : BODY_AHEAD_BYTES);
  if (problem === undefined) return true;
  if (problem.kind === 'failed') throw problem.error;
  if (problem.kind === 'too_large') throw new PlatformError('body_too_large', 'the body passed its bound');
  return false;
}

class Invoking implements Carriage<VersionItem, CallAnswered> {
  readonly #deps: InvokeDeps;
  readonly #invocation: Invocation;
  #target: Target | undefined;
  #session: Session | undefined;
  /** The first instance ended through no fault of the request. */
  resent = false;

  constructor(deps: InvokeDeps, invocation: Invocation) {
    this.#deps = deps;
    this.#invocation = invocation;
  }

  get requestId(): string {
    return this.#invocation.requestId;
  }

  get repeatable(): boolean {
    const { call } = this.#invocation;
    return isRepeatable(call.method, call.header(IDEMPOTENCY_KEY));
  }

  get gone(): boolean {
    return this.#invocation.call.gone;
  }

  onGone(listener: (() => void) | undefined): void {
    this.#invocation.call.onGone(listener);
  }

  version(): VersionItem {
    const { call, target } = this.#invocation;
    const before = this.#target;
    const now = before === undefined ? target : this.#deps.retarget(call, before);
    if (before?.version !== now.version)
      this.#session = sessionOf(call, now.version.scaling, this.#deps.newSessionId);
    this.#target = now;
    return now.version;
  }

  session(): string | undefined {
    return this.#session?.id;
  }

  deliver(attempt: Attempt<VersionItem>): Promise<ForwardOutcome> {
    this.resent = attempt.resent;
    const target = this.#target ?? this.#invocation.target;
    const told = toldOf(this.#session, attempt.resent);
    return this.#invocation.call.forward(planOf(this.#deps, { ...this.#invocation, target }, attempt, told));
  }

  onAgain(): void {
    this.#deps.metrics.retries += 1;
  }

  onUnsent(): void {
    this.#invocation.caller.release?.();
  }
}

const NOTHING_TOLD: readonly string[] = [];
const RETRY_TOLD: readonly string[] = [OUTCOME, BYSTANDER_RETRIED];

/** Allocates nothing for the ordinary request. */
function toldOf(session: Session | undefined, resent: boolean): readonly string[] {
  const retry = resent ? RETRY_TOLD : NOTHING_TOLD;
  return session === undefined ? retry : [...session.told, ...retry];
}

// oxlint-disable-next-line max-params -- made once per request: an options object would cost an allocation
function planOf(
  deps: InvokeDeps,
  invocation: Invocation,
  { permit, meter, onSlow, onBroken }: Attempt<VersionItem>,
  told: readonly string[],
): ForwardPlan {
  const { target, caller, requestId, call } = invocation;
  const { version } = target;
  // Each header costs the instance about 1.3 µs: those that say nothing new are left out.
  // That for request.cf is not: workerd would tell code the process and user of this gateway instead.
  const requestHeaders = [REQUEST_ID, requestId, CF, CF_UNKNOWN];
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
    limits: version.limits,
    requestHeaders,
    requestDropped: hidden.requestDropped,
    query: hidden.query,
    subprotocol: hidden.subprotocol,
    responseHeaders,
    filter: {
      responseDropped: version.cors === undefined ? undefined : CORS_RESPONSE_HEADERS,
      confineCookie: deps.confineCookie,
      host: call.host,
      account: target.functionItem.account,
    },
    stalledMsMax: LIMITS.clientStalledMsMax,
    meter,
    onBroken,
    onSlow,
  };
}

const SIGNATURE_HEADERS: ReadonlySet<string> = new Set(['signature', 'signature-input']);
const SUBPROTOCOL_HEADER: ReadonlySet<string> = new Set(['sec-websocket-protocol']);
const PROOF_HEADERS: ReadonlySet<string> = new Set([...SIGNATURE_HEADERS, ...SUBPROTOCOL_HEADER]);
const SIGNATURE_HIDDEN = {
  requestDropped: SIGNATURE_HEADERS,
  query: undefined,
  subprotocol: undefined,
} as const;
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
  const isSigned = hidden?.kind === 'signature' || signingKeyIds(call).some(isOurKey);
  const shown = isSigned ? SIGNATURE_HIDDEN : NOTHING_HIDDEN;
  if (hidden?.kind === 'query') return { ...shown, query: hidden.query };
  if (hidden?.kind === 'subprotocol') {
    if (hidden.rest !== '') requestHeaders.push('sec-websocket-protocol', hidden.rest);
    const requestDropped = isSigned ? PROOF_HEADERS : SUBPROTOCOL_HEADER;
    return { ...shown, requestDropped, subprotocol: BEARER_SUBPROTOCOL };
  }
  return shown;
}
