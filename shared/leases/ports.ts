/** What those who send requests to instances (gateways, service bindings of a node) need of leases. */
import type { VersionItem } from '../contracts/feed.ts';
import type { Lease } from '../contracts/leases.ts';
import type { ExitReport, OverdueReport } from '../contracts/nodes.ts';
import type { PlatformError } from '../errors.ts';

/** What a lease is asked for by. */
export type Leasable = Pick<VersionItem, 'id' | 'scaling'>;

/** The right to send one request to an instance. Released exactly once, when the exchange is over. */
export interface Permit {
  readonly lease: Lease;
  /** An instance had to be started for this request. */
  readonly coldStart: boolean;
  /** Requests of this holder on the instance, this one included. */
  inFlight(): number;
  /** One more request within this exchange. False: the budget of the lease is used up. */
  again(): boolean;
  /** @param sent - false: nothing was sent to the instance, so that it costs no budget. */
  release(sent?: boolean): void;
  /** The instance does not answer: take no more permits from its lease. */
  lost(): void;
}

export type Admitted =
  | { readonly kind: 'admitted'; readonly permit: Permit }
  | { readonly kind: 'refused'; readonly error: PlatformError }
  | { readonly kind: 'cancelled' };

export interface LeaseSource {
  /** Answers at once when a held lease has room. `cancel` is set while the request waits. */
  admit(
    version: Leasable,
    waiting: { cancel?: () => void },
    /** Whose instance it must be, with isolation `session`. */
    session?: string,
  ): Admitted | Promise<Admitted>;
}

/** The agent that owns an instance. Failures are answered as if the agent knew nothing. */
export interface AgentPort {
  exit(lease: Lease, waitMs: number): Promise<ExitReport | undefined>;
  overdue(lease: Lease, report: OverdueReport): void;
  /** The runtime ended the request without an answer of the function: what it said of that is the request's. */
  broken(lease: Lease, requestId: string): void;
  /** A request has had no answer for `ageMs`. Reported in batches. */
  slow(lease: Lease, ageMs: number): void;
}
