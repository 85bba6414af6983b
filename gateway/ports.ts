/**
 * What the gateway's core needs from its host runtime. Node (forward/) and workerd (worker.ts) implement
 * it; nothing here names either.
 */
import type { VersionItem } from '#shared/contracts/feed.ts';
import type { Lease } from '#shared/contracts/leases.ts';
import type { OverdueReport, ExitReport } from '#shared/contracts/nodes.ts';
import type { PlatformError } from '#shared/errors.ts';

export type BodyRead =
  | { readonly kind: 'body'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'too_large' }
  | { readonly kind: 'gone' };

/** One request of a client. The head is read in place: building Request and Headers objects costs more than routing. */
export interface Call {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  /** Host header as the client sent it. */
  readonly host: string;
  /** Absolute path, dot segments resolved, never empty. */
  readonly path: string;
  /** With its leading `?`, or empty. */
  readonly query: string;
  /** Bytes of the body; 0 when there is none, undefined when the client does not say. */
  readonly bodyBytes: number | undefined;
  /** True once the client has gone. */
  readonly gone: boolean;
  /** All values of a field, joined by `, `; undefined when absent. `name` is lower case. */
  header(name: string): string | undefined;
  /** Reads the whole body and keeps it, so that {@link forward} still sends it. */
  buffer(bytesMax: number): Promise<BodyRead>;
  /** Runs `listener` when the client goes before it was answered. At most one listener at a time. */
  onGone(listener: (() => void) | undefined): void;
  /** Sends the request to an instance and the response to the client; settles when both are over. */
  forward(plan: ForwardPlan): Promise<ForwardOutcome>;
}

export interface ForwardPlan {
  readonly lease: Lease;
  readonly version: VersionItem;
  /** Names and values in turn, added to the client's own headers. */
  readonly requestHeaders: readonly string[];
  /** Names and values in turn, added to the instance's response. */
  readonly responseHeaders: readonly string[];
  /** No response head after limits.cpuMs: called once, so that the agent can look at the process. */
  readonly onSlow: (ageMs: number) => void;
}

export type ForwardOutcome =
  /** A response head reached the client. `cut`: the stream broke after it; `client_gone`: the client left. */
  | {
      readonly kind: 'answered';
      readonly response: Response;
      readonly end: 'complete' | 'cut' | 'client_gone';
    }
  /** Nothing was sent: the instance does not listen any more. */
  | { readonly kind: 'unreachable' }
  /** The instance closed before a response head. `replayable`: the body can be sent again. */
  | { readonly kind: 'reset'; readonly replayable: boolean }
  | { readonly kind: 'timeout'; readonly ageMs: number }
  | { readonly kind: 'function_error' }
  /** What the instance answered cannot be passed on. */
  | { readonly kind: 'response_invalid' }
  | { readonly kind: 'body_too_large' }
  | { readonly kind: 'client_gone' };

/** The right to send one request to an instance. Released exactly once, when the exchange is over. */
export interface Permit {
  readonly lease: Lease;
  /** An instance had to be started for this request. */
  readonly coldStart: boolean;
  /** Requests of this gateway on the instance, this one included. */
  inFlight(): number;
  release(): void;
  /** The instance does not answer: take no more permits from its lease. */
  lost(): void;
}

export type Admitted =
  | { readonly kind: 'admitted'; readonly permit: Permit }
  | { readonly kind: 'refused'; readonly error: PlatformError }
  | { readonly kind: 'cancelled' };

export interface LeaseSource {
  /** Answers at once when a held lease has room. `cancel` is set while the request waits. */
  admit(version: VersionItem, waiting: { cancel?: () => void }): Admitted | Promise<Admitted>;
}

/** The agent that owns an instance. Failures are answered as if the agent knew nothing. */
export interface AgentPort {
  exit(lease: Lease, waitMs: number): Promise<ExitReport | undefined>;
  overdue(lease: Lease, report: OverdueReport): void;
}
