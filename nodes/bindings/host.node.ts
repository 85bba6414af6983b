/**
 * Bindings of the instances of this node. Each binding is a socket in the slot's folder: the socket says who
 * calls and what it may reach, and nothing that the caller sends is believed on that.
 */
import { join } from 'node:path';
import type { FeedItem } from '#shared/contracts/feed.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { UsageEntry } from '#shared/usage/reporter.ts';
import type { AttachedSlot, Attachment } from '../instances/attachment.ts';
import type { BindingKind } from './kind.ts';
import { COMPLETE, type StateEntry } from './protocol.ts';
import { BindingThread } from './thread.node.ts';

interface Served {
  readonly kind: BindingKind;
  readonly thread: BindingThread;
  readonly state: Map<string, unknown>;
}

export class BindingHost implements Attachment {
  readonly #served: readonly Served[];
  /** By function. */
  #usage = new Map<string, UsageEntry>();
  #refused: (instanceId: string, message: string) => void = () => undefined;

  constructor(options: {
    readonly kinds: readonly BindingKind[];
    readonly log: Log;
    readonly timers: Timers;
  }) {
    this.#served = options.kinds.map((kind) => {
      const state = new Map<string, unknown>();
      const thread = new BindingThread({
        name: kind.name,
        entry: kind.thread,
        data: kind.data,
        log: options.log,
        timers: options.timers,
        onRefused: (instanceId, message) => this.#refused(instanceId, message),
        onUsage: (entries) => this.#count(entries),
        snapshot: () => [...state].map(([key, value]) => ({ key, value })),
      });
      return { kind, thread, state };
    });
  }

  async attach({ instanceId, folder, owner, runnable }: AttachedSlot): Promise<void> {
    await Promise.all(
      this.#served.map(async ({ kind, thread }) => {
        const requests = kind.socketsOf(runnable);
        if (requests.length === 0) return;
        await thread.attach(
          instanceId,
          requests.map(({ file, target }) => ({ path: join(folder, file), owner, instanceId, target })),
        );
      }),
    );
  }

  detach(instanceId: string): void {
    for (const { thread } of this.#served) thread.detach(instanceId);
  }

  /** Changes of the feed, before or after the instances that they concern. */
  apply(items: readonly FeedItem[]): void {
    for (const { kind, thread, state } of this.#served) {
      const entries: StateEntry[] = [];
      for (const item of items) {
        const entry = kind.stateOf(item);
        if (entry === undefined) continue;
        entries.push(entry);
        if (entry.value === undefined) state.delete(entry.key);
        else state.set(entry.key, entry.value);
      }
      if (entries.length > 0) thread.state(entries);
    }
  }

  /** The state is all there is: what it lacks does not exist. Said once, also to threads that start later. */
  complete(): void {
    for (const { thread, state } of this.#served) {
      if (state.has(COMPLETE)) continue;
      state.set(COMPLETE, true);
      thread.state([{ key: COMPLETE, value: true }]);
    }
  }

  /** Whom to tell what an instance was refused, in words for the function's owner. */
  onRefused(listener: (instanceId: string, message: string) => void): void {
    this.#refused = listener;
  }

  /** What functions used through bindings since the last call. At most a second old. */
  takeUsage(): Iterable<UsageEntry> {
    const usage = this.#usage;
    this.#usage = new Map();
    return usage.values();
  }

  /** A question of the agent to the thread of a kind. */
  ask(kindName: string, question: unknown): Promise<unknown> {
    const served = this.#served.find(({ kind }) => kind.name === kindName);
    if (served === undefined) return Promise.reject(new Error(`no binding kind ${kindName}`));
    return served.thread.ask(question);
  }

  #count(entries: readonly UsageEntry[]): void {
    for (const entry of entries) {
      const key = `${entry.account}/${entry.function}`;
      const amounts: Record<string, number> = { ...this.#usage.get(key)?.amounts };
      for (const [name, amount] of Object.entries(entry.amounts))
        amounts[name] = (amounts[name] ?? 0) + amount;
      this.#usage.set(key, { ...entry, amounts });
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#served.map(({ thread }) => thread.close()));
  }
}
