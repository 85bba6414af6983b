/**
 * Conversations with a node agent.
 *
 * Agent → scheduler:
 *   POST /v1/nodes/ID/heartbeat   NodeHeartbeat → NodeHeartbeatReply, every LIMITS.heartbeatMs and at
 *        once after an instance ended. The list of instances is complete: what the scheduler does not
 *        find in it is gone.
 *
 * Scheduler → agent (Unix socket):
 *   POST   /v1/instances          StartRequest → 200 StartReply, or a problem document
 *          (startup_failed with `stack`, version_not_found when the feed has not brought it in time,
 *          no_capacity, blob_corrupt, code_unavailable, secret_unavailable)
 *   DELETE /v1/instances/ID?graceMs=N → 204. Idempotent; unknown ids are 204 too.
 *
 * Gateway → agent:
 *   GET  /v1/instances/ID/exit?waitMs=N → 200 ExitReport; waits up to N ms for the process to end and
 *          answers `{ ended: false }` when it lives.
 *   POST /v1/instances/ID/overdue OverdueReport → 204. A request passed its cpuMs of wall time, or its
 *          timeout: the agent compares CPU time and kills what does not yield.
 *
 *   POST /v1/instances/ID/broken  BrokenReport → 204. The runtime ended the request without an answer of the
 *          function, or broke it off within: the agent gives the request's id to what the runtime said of it.
 *
 *   POST /v1/slow                 SlowReport → 204. Instances that have left a request without an answer for
 *          some 20 ms: the agent looks which of them burn CPU, long before a budget is over.
 *
 * Control → agent:
 *   POST /v1/check                CheckRequest (runnable not yet published) → 200 CheckReply. Starts the
 *          code once in a sandboxed slot, as production would, and stops it.
 *          instance_lost when the trial's process was ended from outside: nothing is known of the code then.
 *   GET  /v1/logs?account=A&function=F&follow=0|1&tail=N → application/x-ndjson of LogEntry.
 *   GET  /v1/status               → NodeStatus
 *   POST /v1/bindings/KIND/ask    an operator's question to that kind, as it is (kv: contracts/kv.ts) → 200 JSON or
 *          bytes, 204 where there is nothing to say, or a problem document of the kind.
 */
import { z } from 'zod';
import { addressSchema } from './address.ts';
import { versionIdSchema } from '../ids.ts';
import { runnableItemSchema } from './feed.ts';
import { endpointSchema } from './leases.ts';

/**
 * Why an instance ended. `stopped`: on request, drained. `evicted`: by the platform before its requests were
 * done (grace over, node closing). `bystander` is decided by the holder of the lease, not here.
 */
export const EXIT_REASONS = [
  'stopped',
  'evicted',
  'crashed',
  'cpu_exceeded',
  'memory_exceeded',
  'timeout',
  'startup_failed',
] as const;
const exitReasonSchema = z.enum(EXIT_REASONS);

export const startRequestSchema = z.object({
  instanceId: z.string().min(1).max(100),
  versionId: versionIdSchema,
});
export const startReplySchema = z.object({ endpoint: endpointSchema, startMs: z.number() });

export const exitReportSchema = z.object({
  ended: z.boolean(),
  reason: exitReasonSchema.optional(),
  /**
   * Request that the agent blames, when a report told it which one burnt the budget. Empty: none of those
   * that a holder reported. Absent: unknown.
   */
  blamedRequestId: z.string().optional(),
});

export const overdueReportSchema = z.object({
  requestId: z.string(),
  kind: z.enum(['cpu', 'timeout']),
  /** How long the request has been running, in ms. */
  ageMs: z.number().min(0),
  /** Requests in flight on the instance from this holder. */
  inFlight: z.number().int().min(0),
  /** When it was sent, by the clock of the machine that both are on: what it took to arrive is added to the age. */
  sentAtMs: z.number().optional(),
});

export const brokenReportSchema = z.object({ requestId: z.string().min(1).max(200) });

/** Instances in one report; a holder sends the rest with its next one. */
export const SLOW_INSTANCES_MAX = 256;
export const slowReportSchema = z.object({
  instances: z
    .array(z.object({ instanceId: z.string(), ageMs: z.number().min(0) }))
    .min(1)
    .max(SLOW_INSTANCES_MAX),
  sentAtMs: z.number().optional(),
});

export const nodeHeartbeatSchema = z.object({
  endpoint: addressSchema,
  /** Instances the node can hold, and slots that wait ready. */
  capacity: z.number().int().min(0),
  freeSlots: z.number().int().min(0),
  draining: z.boolean(),
  instances: z.array(
    z.object({
      instanceId: z.string(),
      versionId: versionIdSchema,
      endpoint: endpointSchema,
      /** It was started with secrets that have changed since: the scheduler lets another one take its place. */
      outdated: z.boolean().optional(),
    }),
  ),
  /** Since the last heartbeat that was answered. */
  exits: z.array(z.object({ instanceId: z.string(), versionId: versionIdSchema, reason: exitReasonSchema })),
});
/**
 * As it is sent. A list that the scheduler has is not sent again: of thousands of idle instances it would be most of
 * what an agent does.
 */
export const nodeBeatSchema = nodeHeartbeatSchema.partial({ instances: true }).extend({
  /** Names the state of the list, which is left out once the scheduler has answered that it has it. */
  listMark: z.string().max(64).optional(),
});
export const nodeHeartbeatReplySchema = z.object({
  /** Instances the scheduler does not want: the agent stops them. */
  stop: z.array(z.string()),
  /** Of the list that it has. Another one than was sent, or none: nothing of the heartbeat was taken in. */
  listMark: z.string().optional(),
});

export const moduleExportsSchema = z.object({
  /** Classes and objects that other functions may bind to by name. */
  entrypoints: z.array(z.string().max(200)).max(1_000),
  /** Handlers beside `fetch` that workerd knows. */
  handlers: z.array(z.string().max(200)).max(100),
});

export const checkRequestSchema = z.object({ runnable: runnableItemSchema });
export const checkReplySchema = z.discriminatedUnion('ok', [
  z.object({
    ok: z.literal(true),
    startMs: z.number(),
    /** What the module exports. Written by user code: names that mean nothing are left out by the reader. */
    exports: moduleExportsSchema.optional(),
  }),
  z.object({
    ok: z.literal(false),
    message: z.string(),
    stack: z.string().optional(),
    logs: z.array(z.string()),
  }),
]);

const LOG_LEVELS = ['debug', 'log', 'info', 'warn', 'error'] as const;
export const logEntrySchema = z.object({
  /** ms since the epoch, by the node's clock. */
  atMs: z.number(),
  versionId: versionIdSchema,
  instanceId: z.string(),
  requestId: z.string().optional(),
  kind: z.enum(['console', 'exception', 'platform']),
  level: z.enum(LOG_LEVELS),
  message: z.string(),
  /** Raw stack with positions in the bundle; control maps it to the sources. */
  stack: z.string().optional(),
  /** Entries lost before this one (flood, truncation). */
  dropped: z.number().int().optional(),
});

export const nodeStatusSchema = z.object({
  nodeId: z.string(),
  sandbox: z.object({
    /** `full`: every part in force; `partial`/`none` name what is missing. */
    level: z.enum(['full', 'partial', 'none']),
    missing: z.array(z.string()),
  }),
  instances: z.number().int(),
  freeSlots: z.number().int(),
  capacity: z.number().int(),
  feedRevision: z.number().int(),
  /** Versions whose code is not on this node: they cannot start here while control is away. */
  codeMissing: z.number().int().optional(),
  /** Entries of functions' logs that the disk refused since the agent started. */
  logEntriesLost: z.number().int().optional(),
});

export type ExitReason = z.infer<typeof exitReasonSchema>;
export type StartRequest = z.infer<typeof startRequestSchema>;
export type StartReply = z.infer<typeof startReplySchema>;
export type ExitReport = z.infer<typeof exitReportSchema>;
export type OverdueReport = z.infer<typeof overdueReportSchema>;
export type BrokenReport = z.infer<typeof brokenReportSchema>;
export type SlowReport = z.infer<typeof slowReportSchema>;
export type NodeHeartbeat = z.infer<typeof nodeHeartbeatSchema>;
/** {@link NodeHeartbeat} as it is sent. */
export type NodeBeat = z.infer<typeof nodeBeatSchema>;
export type NodeHeartbeatReply = z.infer<typeof nodeHeartbeatReplySchema>;
export type CheckReply = z.infer<typeof checkReplySchema>;
export type LogEntry = z.infer<typeof logEntrySchema>;
export type NodeStatus = z.infer<typeof nodeStatusSchema>;
