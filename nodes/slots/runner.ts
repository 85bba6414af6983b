/**
 * What a slot is made of, as a port. Slot and pool know nothing else of it: a process in namespaces stands
 * behind it today (sandbox/process-runner.ts), a virtual machine per instance could tomorrow.
 *
 * A guest is one workerd that waits for one config. Its folder holds its sockets: workerd's own, and those
 * that the agent serves for it (sockets.ts); a machine would forward both.
 */
import type { Sample } from '../limits/watch.ts';

export interface GuestEvents {
  stdout(chunk: Uint8Array): void;
  stderr(chunk: Uint8Array): void;
  /** Once, when all sockets named to {@link Guest.give} accept connections. */
  listening(): void;
}

export interface GuestIdentity {
  readonly uid: number;
  readonly gid: number;
}

export type GuestReady =
  | { readonly kind: 'waiting' }
  /** It must not be given a config: something of its confinement is not in force, or it is gone. */
  | { readonly kind: 'failed'; readonly detail: string };

export interface Guest {
  /** Never rejects. */
  readonly ready: Promise<GuestReady>;
  /** Everything it wrote was delivered, its folder is removed and what it held is given back. Never rejects. */
  readonly ended: Promise<GuestEnd>;
  /** User that it runs as, when it is not the agent's. */
  readonly owner: GuestIdentity | undefined;
  /** Loopback port of its debugger: known once it listens, when the runner opens one. */
  readonly inspectorPort: number | undefined;
  /** Writes the config; `sockets` are the names that it declares. Once. */
  give(config: Uint8Array, sockets: readonly string[]): void;
  /** @throws when the limit is not in force; the guest must not run then. */
  setMemory(memoryMb: number): Promise<void>;
  /**
   * What it has used so far; undefined while it comes up and after its end.
   *
   * @param previous - of the same guest: makes looking at one that was idle since cheap.
   */
  sample(nowMs: number, previous?: Sample): Sample | undefined;
  /** Everybody else on the machine goes first, until it is restored. Nothing where that could not be undone. */
  lower(): void;
  restore(): void;
  /** Asks it to finish what is in flight and end. */
  terminate(): void;
  /** Ends it and everything inside. */
  kill(): void;
}

export interface GuestEnd {
  readonly outOfMemory: boolean;
  /** It ended by itself and in order, as after {@link Guest.terminate}. */
  readonly inOrder: boolean;
  /** A signal ended it that nothing inside can bring about: SIGKILL, or a request to end. */
  readonly fromOutside: boolean;
}

export interface SlotRunner {
  /** @throws when nothing could be started; nothing is left then. */
  run(folder: string, events: GuestEvents): Promise<Guest>;
}
