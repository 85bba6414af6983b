/** A kind of attachment, as the agent sees it: which sockets a version needs, and the thread that answers on them. */
import type { FeedItem, Runnable } from '#shared/contracts/feed.ts';
import type { StateEntry } from './protocol.ts';

interface SocketRequest {
  /** Name in the slot's folder (slots/sockets.ts). */
  readonly file: string;
  /** What the socket leads to; plain data. */
  readonly target: unknown;
}

export interface BindingKind {
  readonly name: string;
  /** Module that calls runThread(). */
  readonly thread: URL;
  /** Given to the thread when it starts; plain data. */
  readonly data: unknown;
  /** Every instance needs it: the thread starts with the agent. Else with the first instance. */
  readonly startsWithAgent?: true;
  socketsOf(runnable: Runnable): readonly SocketRequest[];
  /** What the thread must know of a change of the feed; undefined: nothing. */
  stateOf(item: FeedItem): StateEntry | undefined;
}

/** A module beside this one's folder: TypeScript in the repository, JavaScript in an installed package. */
export function threadModule(path: string): URL {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new URL(`${path}.${extension}`, import.meta.url);
}
