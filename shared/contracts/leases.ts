/**
 * Holder ↔ scheduler: the right to send requests to instances. Holders are gateways, and nodes for calls between
 * functions.
 *
 *   POST /v1/leases            AcquireRequest → 200 Lease, or a problem document
 *        (queue_full, queue_timeout, no_capacity, quarantined, startup_failed, …). Long-polls until a
 *        lease is granted or `deadlineMs` has passed. A holder keeps at most one outstanding acquire
 *        per version; `waiting` says how many requests stand behind it.
 *   POST /v1/holders/ID/heartbeat   HolderHeartbeat → HolderHeartbeatReply, every
 *        LIMITS.heartbeatMs. Renews the listed leases; those in `revoked` must take no new request.
 *        A lease that the holder leaves out is released.
 *
 * A lease with `requests` is a budget beside: so many may be sent on it in all, and what is left comes back
 * only with an exact count, so the holder names such a lease once more with `done`, until that was answered.
 *
 * A lease allows `slots` concurrent requests to one instance for `ttlMs`, anew with each heartbeat. When the scheduler is
 * gone, holders go on using instances they know until these refuse connections (docs/ARCHITECTURE.md).
 */
import { z } from 'zod';
import { versionIdSchema } from '../ids.ts';
import { addressSchema } from './address.ts';
import { scalingSchema } from './config.ts';

/** Where a holder reaches an instance and the agent that owns it. */
export const endpointSchema = z.object({
  /** Socket of the instance: HTTP/1.1 requests of the function go here. */
  instance: addressSchema,
  /** Socket of the node agent (shared/contracts/nodes.ts). */
  agent: addressSchema,
});

/** Names a session of a function with isolation `session`. From clients, so nothing but a look-up key. */
export const sessionIdSchema = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);

export const acquireRequestSchema = z.object({
  holderId: z.string().min(1).max(200),
  versionId: versionIdSchema,
  /** From the holder's feed: it may know the version before the scheduler does. */
  scaling: scalingSchema,
  /** Requests that wait for this lease, at least 1. */
  waiting: z.number().int().min(1),
  /** Longest wait for an answer, in ms from now (durations need no common clock). */
  deadlineMs: z.number().int().min(1),
  /** With isolation `session`: whose instance is asked for. Absent there: a session of this lease alone. */
  session: sessionIdSchema.optional(),
});

export const leaseSchema = z.object({
  leaseId: z.string(),
  versionId: versionIdSchema,
  instanceId: z.string(),
  endpoint: endpointSchema,
  slots: z.number().int().min(1),
  /** Lifetime from now, in ms; renewed by heartbeats. */
  ttlMs: z.number().int().min(1),
  /** How many requests may be sent in all. Absent: any number. */
  requests: z.number().int().min(1).optional(),
  /** The instance was ready before this lease was asked for: nobody waits for a start. */
  warm: z.boolean().optional(),
});

export const holderHeartbeatSchema = z.object({
  leases: z.array(
    z.object({
      leaseId: z.string(),
      inFlight: z.number().int().min(0),
      /** Requests sent since the heartbeat before: a sample of `inFlight` does not see the short ones. */
      started: z.number().int().min(0).optional(),
      /** Of a lease with `requests`: sent on it in all. */
      sent: z.number().int().min(0).optional(),
      /** Nothing more is sent on it, and nothing is in flight: it ends with this report. */
      done: z.literal(true).optional(),
      /** Its instance does not listen any more: the lease ends with this report, and so did what was in flight. */
      lost: z.literal(true).optional(),
      /** Of a lease with a session: a restarted scheduler learns from it whose instance that is. */
      session: sessionIdSchema.optional(),
    }),
  ),
});

export const holderHeartbeatReplySchema = z.object({
  /** Drain: no new requests. The holder drops the lease from its next heartbeat once nothing is in flight. */
  revoked: z.array(z.string()),
});

export type Endpoint = z.infer<typeof endpointSchema>;
export type AcquireRequest = z.infer<typeof acquireRequestSchema>;
export type Lease = z.infer<typeof leaseSchema>;
export type HolderHeartbeat = z.infer<typeof holderHeartbeatSchema>;
export type HolderHeartbeatReply = z.infer<typeof holderHeartbeatReplySchema>;
