/**
 * Between the agent and a thread that serves one kind of binding. Values are structured-cloned, so they are
 * plain data; both ends are the same build, so they are not parsed again.
 */
import type { UsageEntry } from '#shared/usage/reporter.ts';
import type { LogLevel } from '#shared/runtime/log.ts';
import type { SocketPlace } from './listen.ts';

/** One listening socket: whoever connects to it is the instance, and may reach `target` and nothing else. */
export interface AttachmentSocket<T = unknown> extends SocketPlace {
  readonly instanceId: string;
  readonly target: T;
}

export type ToThread =
  | { readonly type: 'attach'; readonly instanceId: string; readonly sockets: readonly AttachmentSocket[] }
  | { readonly type: 'detach'; readonly instanceId: string }
  | { readonly type: 'state'; readonly entries: readonly StateEntry[] }
  | { readonly type: 'ask'; readonly id: number; readonly question: unknown }
  | { readonly type: 'close' };

/** Desired state that a kind follows. Setting a whole value twice is harmless. */
export interface StateEntry {
  readonly key: string;
  readonly value: unknown;
}

export type FromThread =
  /** For the log of the function that runs in the instance. */
  | {
      readonly type: 'refused';
      readonly instanceId: string;
      readonly message: string;
      readonly requestId: string | undefined;
    }
  | { readonly type: 'attached'; readonly instanceId: string; readonly problem?: string }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failed'; readonly id: number; readonly code: string; readonly detail: string }
  /** Since the message before. */
  | { readonly type: 'usage'; readonly entries: readonly UsageEntry[] }
  | {
      readonly type: 'log';
      readonly level: LogLevel;
      readonly event: string;
      readonly fields: Readonly<Record<string, unknown>>;
    };

/** Key of the entry that says that the state lacks nothing. No name has a space. */
export const COMPLETE = ' complete';
