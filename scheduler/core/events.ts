/**
 * What the machine hears and what it wants done. All times are monotonic ms of the driver's clock, but
 * `wallMs`, which schedules are read against; a transcript of events and one seed give the same effects again.
 */
import type { VersionId } from '#shared/ids.ts';
import type { ErrorCode } from '#shared/errors.ts';
import type { AcquireRequest, Endpoint, HolderHeartbeat, Lease } from '#shared/contracts/leases.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import type { NodeHeartbeat } from '#shared/contracts/nodes.ts';

/** Why something was refused, in the terms of shared/errors.ts. */
export interface Fault {
  readonly code: ErrorCode;
  readonly detail?: string;
  readonly extensions?: Readonly<Record<string, unknown>>;
}

export type SchedulerEvent = { readonly atMs: number } & (
  | { readonly type: 'acquire'; readonly requestId: string; readonly request: AcquireRequest }
  /** The client is gone; with `leaseId`, after the grant that it therefore never got. */
  | { readonly type: 'acquireCancelled'; readonly requestId: string; readonly leaseId?: string }
  | { readonly type: 'gatewayHeartbeat'; readonly gatewayId: string; readonly heartbeat: HolderHeartbeat }
  | { readonly type: 'nodeHeartbeat'; readonly nodeId: string; readonly heartbeat: NodeHeartbeat }
  | { readonly type: 'startSucceeded'; readonly instanceId: string; readonly endpoint: Endpoint }
  | { readonly type: 'startFailed'; readonly instanceId: string; readonly fault: Fault }
  /** What control wants: items of the feed that changed. `wallMs` decides which windows are open. */
  | { readonly type: 'desired'; readonly wallMs: number; readonly items: readonly FeedItem[] }
  | { readonly type: 'tick'; readonly wallMs: number }
);

export type Effect =
  | { readonly type: 'grant'; readonly requestId: string; readonly lease: Lease }
  | {
      readonly type: 'refuse';
      readonly requestId: string;
      readonly fault: Fault;
      readonly retryAfterMs: number | undefined;
    }
  | {
      readonly type: 'start';
      readonly nodeId: string;
      readonly instanceId: string;
      readonly versionId: VersionId;
    }
  | {
      readonly type: 'stop';
      readonly nodeId: string;
      readonly instanceId: string;
      readonly graceMs: number;
    }
  /** Answers to heartbeats. A member over the bound gets none, and the driver refuses it. */
  | { readonly type: 'gatewayReply'; readonly gatewayId: string; readonly revoked: readonly string[] }
  | { readonly type: 'nodeReply'; readonly nodeId: string; readonly stop: readonly string[] }
  | { readonly type: 'nodeForgotten'; readonly nodeId: string }
  /** For the operator's log. */
  | {
      readonly type: 'notice';
      readonly event: string;
      readonly fields: Readonly<Record<string, string | number>>;
    };
