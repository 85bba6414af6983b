/** Node agents as control sees them (shared/contracts/nodes.ts), one per configured node. */
import { z } from 'zod';
import { kvKeysSchema, type KvKeys, type PutKvValue } from '#shared/contracts/api.ts';
import {
  checkReplySchema,
  logEntrySchema,
  nodeStatusSchema,
  type CheckReply,
  type LogEntry,
  type NodeStatus,
} from '#shared/contracts/nodes.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName, FunctionName } from '#shared/ids.ts';
import type { Address } from '#shared/contracts/address.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';
import type { Peer } from '#shared/runtime/peer.ts';

export interface LogQuery {
  readonly account: AccountName;
  readonly functionName: FunctionName;
  readonly follow: boolean;
  readonly tail: number;
}

interface KvKeysQuery {
  readonly prefix: string;
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** Values of KV namespaces, by the namespace's id. */
export interface NodeKv {
  keys(namespaceId: string, query: KvKeysQuery, signal: AbortSignal): Promise<KvKeys>;
  /** undefined: there is no such key. */
  get(namespaceId: string, key: string, signal: AbortSignal): Promise<Uint8Array | undefined>;
  put(
    namespaceId: string,
    put: PutKvValue & { readonly key: string; readonly account: string },
    signal: AbortSignal,
  ): Promise<void>;
  remove(namespaceId: string, key: string, signal: AbortSignal): Promise<void>;
  /** The namespace is gone: so may be its values. */
  drop(namespaceId: string, signal: AbortSignal): Promise<void>;
}

export interface NodePort {
  readonly nodeId: string;
  /** Rejects when the agent cannot be reached or fails; a start-up failure of the code is an answer. */
  check(runnable: Runnable, signal: AbortSignal): Promise<CheckReply>;
  logs(query: LogQuery, signal: AbortSignal): AsyncIterable<LogEntry>;
  status(signal: AbortSignal): Promise<NodeStatus>;
  readonly kv: NodeKv;
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
    kv: kvOf(peer),
    close: () => peer.close(),
  };
}

/** As large as a value may be. */
const KV_VALUE_BYTES_MAX = 25 * 1_048_576;

function kvOf(peer: Peer): NodeKv {
  const path = (id: string, key: string): string =>
    `/v1/kv/${encodeURIComponent(id)}/values?${new URLSearchParams({ key }).toString()}`;
  return {
    keys: (id, { prefix, limit, cursor }, signal) => {
      const search = new URLSearchParams({
        prefix,
        limit: String(limit),
        ...(cursor === undefined ? {} : { cursor }),
      });
      return peer.call(`/v1/kv/${encodeURIComponent(id)}/keys?${search.toString()}`, kvKeysSchema, {
        signal,
      });
    },
    get: async (id, key, signal) => {
      try {
        return await peer.bytes(path(id, key), KV_VALUE_BYTES_MAX, { signal });
      } catch (thrown) {
        if (thrown instanceof PlatformError && thrown.code === 'not_found') return undefined;
        throw thrown;
      }
    },
    put: async (id, { key, account, ...body }, signal) => {
      await peer.call(`${path(id, key)}&account=${encodeURIComponent(account)}`, z.unknown(), {
        method: 'PUT',
        body,
        signal,
      });
    },
    remove: async (id, key, signal) => {
      await peer.call(path(id, key), z.unknown(), { method: 'DELETE', signal });
    },
    drop: async (id, signal) => {
      await peer.call(`/v1/kv/${encodeURIComponent(id)}`, z.unknown(), { method: 'DELETE', signal });
    },
  };
}
