/** What an event function gets as its second argument. */
export interface EventContext<Env = Record<string, unknown>> {
  readonly functionName: string;
  readonly functionVersion: number;
  readonly requestId: string;
  /** Variables of the configuration. */
  readonly env: Env;
  /** ms since the epoch; undefined when the call has no deadline. */
  readonly deadlineMs: number | undefined;
  getRemainingTimeMs(): number;
  /** Key id or token subject of the caller. */
  readonly principal: string | undefined;
  /** Claims of the caller's verified token. */
  readonly claims: unknown;
  /** Keeps the instance alive for work that outlasts the answer. */
  waitUntil(promise: Promise<unknown>): void;
}
