/** Parts of the agent that serve sockets in a slot's folder for the life of one instance. */
import type { Runnable } from '#shared/contracts/feed.ts';

export interface AttachedSlot {
  readonly instanceId: string;
  /** The sockets go here; the names are in slots/sockets.ts. Removed with the slot. */
  readonly folder: string;
  /** User that workerd runs as, when it is not the agent's: it must be able to connect. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  readonly runnable: Runnable;
  /** What it was refused, and in which request where that is known: for its function's log. */
  readonly refused: (message: string, requestId?: string) => void;
}

export interface Attachment {
  /** Resolves when the sockets listen. Runs while the process starts; no request reaches code before both are done. */
  attach(slot: AttachedSlot): Promise<void>;
  /** The process is gone. Unknown ids are ignored. */
  detach(instanceId: string): void;
}
