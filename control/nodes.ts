/** Node agents as control sees them (shared/contracts/nodes.ts), one per configured node. */
import {
  checkReplySchema,
  logEntrySchema,
  nodeStatusSchema,
  type CheckReply,
  type LogEntry,
  type NodeStatus,
} from '#shared/contracts/nodes.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import type { AccountName, FunctionName } from '#shared/ids.ts';
import type { Address } from '#shared/contracts/address.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';

export interface LogQuery {
  readonly account: AccountName;
  readonly functionName: FunctionName;
  readonly follow: boolean;
  readonly tail: number;
}

interface KindQuestion {
  readonly kind: string;
  readonly question: unknown;
  readonly bytesMax: number;
}

export interface NodePort {
  readonly nodeId: string;
  /** Rejects when the agent cannot be reached or fails; a start-up failure of the code is an answer. */
  check(runnable: Runnable, signal: AbortSignal): Promise<CheckReply>;
  logs(query: LogQuery, signal: AbortSignal): AsyncIterable<LogEntry>;
  status(signal: AbortSignal): Promise<NodeStatus>;
  /**
   * A question about bindings of a kind, which alone understands it.
   *
   * @returns the bytes of the answer, JSON where the kind says so. More than `bytesMax` reject.
   */
  ask(question: KindQuestion, signal: AbortSignal): Promise<Uint8Array>;
  close(): Promise<void>;
}

export function nodeAt(nodeId: string, address: Address): NodePort {
  const peer = peerOf(address);
  return {
    nodeId,
    check: (runnable, signal) =>
      peer.call('/v1/check', checkReplySchema, { method: 'POST', body: { runnable }, signal }),
    logs: (query, signal) => {
      const search = new URLSearchParams({
        account: query.account,
        function: query.functionName,
        follow: query.follow ? '1' : '0',
        tail: String(query.tail),
      });
      return peer.lines(`/v1/logs?${search.toString()}`, logEntrySchema, { signal });
    },
    status: (signal) => peer.call('/v1/status', nodeStatusSchema, { signal }),
    ask: ({ kind, question, bytesMax }, signal) =>
      peer.bytes(`/v1/bindings/${kind}/ask`, bytesMax, { method: 'POST', body: question, signal }),
    close: () => peer.close(),
  };
}
