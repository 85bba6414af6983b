/** A kind of attachment, as the agent sees it: which sockets a version needs, and the thread that answers on them. */
import type { ResolvedBinding } from '#shared/contracts/bindings.ts';
import type { FeedItem, Runnable } from '#shared/contracts/feed.ts';
import type { ErrorCode } from '#shared/errors.ts';
import type { WorkerdBinding, WorkerdService } from '../workerd/config.ts';
import type { StateEntry } from './protocol.ts';

/** Where a binding's socket is, for workerd. */
interface BindingPlace {
  /** Name that the workerd service is to have. */
  readonly service: string;
  /** In the slot's folder. */
  readonly socketName: string;
  /** CONNECT target that begins RPC. */
  readonly rpcHost: string;
}

export interface DeclaredBinding {
  readonly service: WorkerdService;
  readonly binding: WorkerdBinding;
}

/** For what configurations name: the entries of `bindings` whose `kind` has the name of this one. */
interface BoundKind {
  /** What workerd is told. */
  declare(binding: ResolvedBinding, place: BindingPlace): DeclaredBinding;
  /** What the socket leads to; plain data. */
  target(binding: ResolvedBinding, runnable: Runnable): unknown;
}

export interface AttachmentKind {
  /** Also of its bindings. */
  readonly name: string;
  /** Module that calls runThread(). */
  readonly thread: URL;
  /** Given to the thread when it starts; plain data. */
  readonly data: unknown;
  /** Every instance needs it: the thread starts with the agent. Else with the first instance. */
  readonly startsWithAgent?: true;
  /** A socket that each instance has, whatever it binds; `file` is its name in the slot's folder. */
  readonly always?: { readonly file: string; target(runnable: Runnable): unknown };
  readonly bound?: BoundKind;
  /** Operators may ask it: what they hear while the thread cannot take a question. Absent: nobody asks it anything. */
  readonly unavailable?: ErrorCode;
  /** What the thread must know of a change of the feed; undefined: nothing. */
  stateOf(item: FeedItem): StateEntry | undefined;
}

/** A module beside this one's folder: TypeScript in the repository, JavaScript in an installed package. */
export function threadModule(path: string): URL {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new URL(`${path}.${extension}`, import.meta.url);
}
