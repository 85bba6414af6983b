/**
 * Carries an admitted request to an instance, and decides what a failure means.
 *
 * A request is sent again only when nothing of it can have been done (the instance did not listen), or
 * when it is idempotent, its body can be repeated and it is not to blame for the end of its instance; then
 * once. Everything else gets the reason's own code, so that callers know whether to try again.
 */
import type { ExitReason, ExitReport } from '#shared/contracts/nodes.ts';
import {
  CLAIMS,
  COLD_START,
  DEADLINE_MS,
  FORWARDED_PROTO,
  PRINCIPAL,
  REQUEST_ID,
  VERSION,
} from '#shared/contracts/invoke.ts';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import type { AuthOutcome } from './auth/outcome.ts';
import type { Metrics } from './metrics.ts';
import type { AgentPort, Admitted, Call, ForwardOutcome, ForwardPlan, LeaseSource, Permit } from './ports.ts';
import type { Target } from './routing/router.ts';

export interface InvokeDeps {
  readonly leases: LeaseSource;
  readonly agent: AgentPort;
  readonly timers: Timers;
  readonly metrics: Metrics;
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
const EXIT_WAIT_MS = 300;
const RETRY_AFTER_MS = 1_000;
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']);

const EXIT_CODES: Record<ExitReason, ErrorCode> = {
  stopped: 'instance_lost',
  evicted: 'evicted',
  crashed: 'crashed',
  cpu_exceeded: 'cpu_exceeded',
  memory_exceeded: 'memory_exceeded',
  timeout: 'timeout',
  startup_failed: 'startup_failed',
};

/** undefined: the client has gone, so nobody reads an answer. */
export async function invoke(deps: InvokeDeps, invocation: Invocation): Promise<Response | undefined> {
  let resends = 0;
  for (let unreachable = 0; ;) {
    const admitted = await admit(deps, invocation);
    if (admitted.kind === 'refused') throw admitted.error;
    if (admitted.kind === 'cancelled') return undefined;
    const { permit } = admitted;
    let again: 'answered' | 'resend' | 'unreachable';
    let outcome: ForwardOutcome;
    try {
      outcome = await invocation.call.forward(planOf(deps, invocation, permit));
      again =
        outcome.kind === 'answered'
          ? 'answered'
          : await settle(deps, invocation, { permit, outcome, mayResend: resends === 0 });
    } finally {
      permit.release();
    }
    if (outcome.kind === 'answered') {
      deps.metrics.count(outcome.end === 'complete' ? 'ok' : outcome.end);
      return outcome.response;
    }
    if (outcome.kind === 'client_gone') return undefined;
    deps.metrics.retries += 1;
    if (again === 'resend') {
      resends += 1;
      continue;
    }
    unreachable += 1;
    if (unreachable > UNREACHABLE_RETRIES_MAX) throw lost('no instance could be reached');
    const pauseMs = UNREACHABLE_PAUSE_MS * 2 ** (unreachable - 1);
    await new Promise<void>((resolve) => deps.timers.after(pauseMs, resolve));
  }
}

function admit(deps: InvokeDeps, { call, target }: Invocation): Admitted | Promise<Admitted> {
  const waiting: { cancel?: () => void } = {};
  const admitted = deps.leases.admit(target.version, waiting);
  if (!(admitted instanceof Promise)) return admitted;
  call.onGone(() => waiting.cancel?.());
  if (call.gone) waiting.cancel?.();
  return admitted.finally(() => call.onGone(undefined));
}

function planOf(deps: InvokeDeps, invocation: Invocation, permit: Permit): ForwardPlan {
  const { target, caller, requestId, call } = invocation;
  const { version } = target;
  const requestHeaders = [
    REQUEST_ID,
    requestId,
    DEADLINE_MS,
    String(version.limits.timeoutMs),
    FORWARDED_PROTO,
    call.scheme,
  ];
  if (caller.principal !== undefined) requestHeaders.push(PRINCIPAL, caller.principal);
  if (caller.claims !== undefined) requestHeaders.push(CLAIMS, caller.claims);
  const responseHeaders = [REQUEST_ID, requestId, VERSION, version.id];
  if (permit.coldStart) {
    deps.metrics.coldStarts += 1;
    responseHeaders.push(COLD_START, '1');
  }
  return {
    lease: permit.lease,
    version,
    requestHeaders,
    responseHeaders,
    onSlow: (ageMs) =>
      deps.agent.overdue(permit.lease, { requestId, kind: 'cpu', ageMs, inFlight: permit.inFlight() }),
  };
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
    case 'unreachable':
      permit.lost();
      return 'unreachable';
    case 'function_error':
      throw new PlatformError('function_error', 'the handler threw');
    case 'response_invalid':
      throw new PlatformError('response_invalid', 'the head of the response was refused');
    case 'body_too_large':
      throw new PlatformError('body_too_large', 'the request body passed its bound while streaming');
    case 'timeout':
      deps.agent.overdue(permit.lease, {
        requestId,
        kind: 'timeout',
        ageMs: outcome.ageMs,
        inFlight: permit.inFlight(),
      });
      throw new PlatformError('timeout', `no response head within ${Math.round(outcome.ageMs)} ms`);
    case 'reset': {
      const report = await deps.agent.exit(permit.lease, EXIT_WAIT_MS);
      if (report === undefined || report.ended) permit.lost();
      const verdict = judge(report, requestId);
      if (verdict !== 'bystander') throw new PlatformError(verdict, 'the instance ended during the request');
      if (mayResend && outcome.replayable && IDEMPOTENT.has(call.method)) return 'resend';
      throw lost('the instance was lost and the request cannot be repeated');
    }
  }
}

/** Without a word on who is to blame, a process that ended by its own fault speaks for all its requests. */
function judge(report: ExitReport | undefined, requestId: string): ErrorCode | 'bystander' {
  if (report?.reason === undefined || report.reason === 'stopped') return 'bystander';
  const blamed = report.blamedRequestId;
  return blamed === undefined || blamed === requestId ? EXIT_CODES[report.reason] : 'bystander';
}

function lost(operatorDetail: string): PlatformError {
  return new PlatformError('instance_lost', operatorDetail, { retryAfterMs: RETRY_AFTER_MS });
}
