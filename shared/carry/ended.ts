/**
 * What follows for a request whose instance did not answer it: the same for everybody who holds leases
 * (gateways, service bindings of a node).
 */
import type { ExitReason, ExitReport } from '../contracts/nodes.ts';
import { PlatformError, type ErrorCode } from '../errors.ts';
import type { AgentPort, Permit } from '../leases/ports.ts';

const EXIT_WAIT_MS = 300;
const RETRY_AFTER_MS = 1_000;
export const KEPT_BODY_BYTES_MAX = 64 * 1024;
export const IDEMPOTENCY_KEY = 'idempotency-key';
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

/** Nothing was sent, for want of a listener or of room in its queue. */
export function unsent(error: unknown): 'busy' | 'unreachable' {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'EAGAIN' ? 'busy' : 'unreachable';
}

/**
 * A body is read whole and kept while it is answered, so that it can be sent again, when the caller says how long it is,
 * and that he will recognise a repetition.
 *
 * @param bodyBytes - undefined: it is not said.
 */
export function isKept(bodyBytes: number | undefined, idempotencyKey: string | undefined): boolean {
  return (
    bodyBytes !== undefined &&
    bodyBytes > 0 &&
    bodyBytes <= KEPT_BODY_BYTES_MAX &&
    idempotencyKey !== undefined
  );
}

/** By its method, or by the word of a caller that will recognise a repetition. */
export function isRepeatable(method: string, idempotencyKey: string | undefined): boolean {
  return IDEMPOTENT.has(method) || idempotencyKey !== undefined;
}

/** The instance closed before a response head. `maySend`: the request may, and can, be sent once more. */
export interface Reset {
  readonly requestId: string;
  readonly maySend: boolean;
}

/**
 * Once more when the instance has ended, and the request may be repeated and is not to blame for that end.
 *
 * @throws {PlatformError} the code of what ended the instance, `evicted`, `instance_lost`, or `function_error` when
 *   it lives: then the function's own answer broke.
 */
export async function afterReset(agent: AgentPort, permit: Permit, reset: Reset): Promise<'resend'> {
  const { requestId } = reset;
  const report = await agent.exit(permit.lease, EXIT_WAIT_MS);
  // Streams that fail before their first byte look the same as a process that ends.
  if (report?.ended === false) {
    agent.broken(permit.lease, requestId);
    throw new PlatformError('function_error', 'the instance lives, and closed the connection of the request');
  }
  permit.lost();
  const verdict = judge(report, requestId);
  const innocent = verdict === 'bystander' || verdict === 'evicted';
  if (innocent && reset.maySend) return 'resend';
  if (verdict === 'evicted')
    throw new PlatformError(verdict, 'the platform ended the instance', { retryAfterMs: RETRY_AFTER_MS });
  if (verdict !== 'bystander') throw new PlatformError(verdict, 'the instance ended during the request');
  throw instanceLost('the instance was lost and the request cannot be repeated');
}

/** Tells the agent, which ends an instance that does not yield. */
export function afterTimeout(
  agent: AgentPort,
  permit: Permit,
  late: { readonly requestId: string; readonly ageMs: number },
): PlatformError {
  agent.overdue(permit.lease, { ...late, kind: 'timeout', inFlight: permit.inFlight() });
  return new PlatformError('timeout', `no response head within ${Math.round(late.ageMs)} ms`);
}

export function instanceLost(operatorDetail: string): PlatformError {
  return new PlatformError('instance_lost', operatorDetail, { retryAfterMs: RETRY_AFTER_MS });
}

export function instanceBusy(): PlatformError {
  return new PlatformError('instance_busy', 'its queue of connections stayed full', {
    retryAfterMs: RETRY_AFTER_MS,
  });
}

/** Without a word on who is to blame, a process that ended by its own fault speaks for all its requests. */
function judge(report: ExitReport | undefined, requestId: string): ErrorCode | 'bystander' {
  if (report?.reason === undefined || report.reason === 'stopped') return 'bystander';
  const blamed = report.blamedRequestId;
  return blamed === undefined || blamed === requestId ? EXIT_CODES[report.reason] : 'bystander';
}
