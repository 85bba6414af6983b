/** Why the proxy did not do what code asked for: a code of the table and a sentence that code may read. */
import { PlatformError } from '#shared/errors.ts';

/** Names the code in an answer of the proxy itself; answers of targets are stripped of it. */
export const EGRESS_ERROR = 'isoplane-egress-error';

export type EgressCode =
  | 'egress_denied'
  | 'egress_failed'
  | 'egress_timeout'
  | 'subrequests_exceeded'
  | 'connections_exceeded';

/** `reason` is shown to the function and its owner, so it says nothing of other tenants or this machine. */
export function refusal(code: EgressCode, reason: string, cause?: unknown): PlatformError {
  return new PlatformError(code, reason, { publicDetail: reason, ...(cause === undefined ? {} : { cause }) });
}
