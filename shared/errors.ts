/**
 * Failures with a code of the closed table (error-table.ts): callers see the table's text plus an explicitly
 * public detail, operators see the message and the cause chain.
 *
 * The wire form is an RFC 9457 problem document whose `code` is the key of the table, so the mapping is
 * one-to-one in both directions.
 */
import { ERRORS, isErrorCode, type ErrorCode } from './error-table.ts';

export { ERRORS, isErrorCode, type ErrorCode };

export interface PlatformErrorOptions {
  readonly cause?: unknown;
  /** Replaces nothing, adds to the table's text: a sentence the caller may see. No secrets, paths, tenants. */
  readonly publicDetail?: string;
  /** Extra members of the problem document (RFC 9457 section 3.2), for example `problems` or `stack`. */
  readonly extensions?: Readonly<Record<string, unknown>>;
  /** Sent as `Retry-After`, rounded up to whole seconds. */
  readonly retryAfterMs?: number;
}

/** RFC 9457 problem document with Isoplane's members. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail?: string;
  readonly requestId?: string;
  readonly retryAfterMs?: number;
  readonly [extension: string]: unknown;
}

/** A failure with a code from the table. `message` is for operators; {@link toProblem} is for callers. */
export class PlatformError extends Error {
  override readonly name = 'PlatformError';
  readonly code: ErrorCode;
  readonly publicDetail: string | undefined;
  readonly extensions: Readonly<Record<string, unknown>>;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, operatorDetail: string, options: PlatformErrorOptions = {}) {
    super(operatorDetail, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.publicDetail = options.publicDetail;
    this.extensions = options.extensions ?? {};
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Anything that is not a PlatformError becomes `internal` with the value as its cause. */
export function asPlatformError(thrown: unknown): PlatformError {
  if (thrown instanceof PlatformError) return thrown;
  return new PlatformError('internal', 'unexpected failure', { cause: thrown });
}

function toProblem(error: PlatformError, requestId?: string): Problem {
  const row = ERRORS[error.code];
  return {
    ...error.extensions,
    type: `urn:isoplane:error:${error.code}`,
    title: row.message,
    status: row.status,
    code: error.code,
    ...(error.publicDetail === undefined ? {} : { detail: error.publicDetail }),
    ...(requestId === undefined ? {} : { requestId }),
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(error.retryAfterMs) }),
  };
}

/** The one way a failure becomes an HTTP response; in parts, for those who write it themselves. */
export function problemParts(
  error: PlatformError,
  requestId?: string,
): { readonly status: number; readonly headers: Headers; readonly body: string } {
  const problem = toProblem(error, requestId);
  const headers = new Headers({ 'content-type': 'application/problem+json', 'cache-control': 'no-store' });
  if (requestId !== undefined) headers.set('isoplane-request-id', requestId);
  if (error.retryAfterMs !== undefined)
    headers.set('retry-after', String(Math.max(1, Math.ceil(error.retryAfterMs / 1000))));
  return { status: problem.status, headers, body: JSON.stringify(problem) };
}

export function problemResponse(error: PlatformError, requestId?: string): Response {
  const { status, headers, body } = problemParts(error, requestId);
  return new Response(body, { status, headers });
}

/** Rebuilds the error from a problem document received from another plane; unknown shapes become `internal`. */
export function fromProblem(body: unknown, context: string): PlatformError {
  if (typeof body === 'object' && body !== null && 'code' in body && isErrorCode(body.code)) {
    const {
      type: _type,
      title: _title,
      status: _status,
      code,
      detail,
      requestId: _id,
      retryAfterMs,
      ...extensions
    } = body as Problem;
    return new PlatformError(code, context, {
      ...(typeof detail === 'string' ? { publicDetail: detail } : {}),
      ...(typeof retryAfterMs === 'number' ? { retryAfterMs } : {}),
      extensions,
    });
  }
  return new PlatformError('internal', context, { cause: body });
}
