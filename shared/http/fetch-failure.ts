/** What the transport says of a call that came to nothing: an errno or a status, which say more than `fetch failed`. */

const REASON_LENGTH_MAX = 200;

export function transportReason(thrown: unknown): string {
  if (!(thrown instanceof Error)) return 'unknown failure';
  const { cause } = thrown;
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code;
  return (cause instanceof Error ? cause.message : thrown.message).slice(0, REASON_LENGTH_MAX);
}
