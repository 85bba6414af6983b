/**
 * What the instances of this node reach: bindings, caches and the network. Each is a socket in the slot's folder: the
 * socket says who calls and what it may reach, and nothing that the caller sends is believed on that.
 */
import { join } from 'node:path';
import type { FeedItem, Runnable } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { UsageEntry } from '#shared/usage/reporter.ts';
import type { AttachedSlot, Attachment } from '../instances/attachment.ts';
import type { AttachmentKind } from './kind.ts';
import { COMPLETE, type StateEntry } from './protocol.ts';
import { bindingSocket } from '../slots/sockets.ts';
import { AttachmentThread, type SpawnThread } from './thread.ts';

/** Functions whose usage waits to be fetched; with more, the oldest are dropped. */
const USAGE_FUNCTIONS_MAX = 10_000;

export interface BindingHostOptions {
  readonly kinds: readonly AttachmentKind[];
  readonly log: Log;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly spawn?: SpawnThread;
  /** Default {@link USAGE_FUNCTIONS_MAX}. */
  readonly usageFunctionsMax?: number;
}

interface Served {
  readonly kind: AttachmentKind;
  readonly thread: AttachmentThread;
  readonly state: Map<string, unknown>;
}

export class AttachmentHost implements Attachment {
  readonly #served: readonly Served[];
  readonly #usageFunctionsMax: number;
  /** By function. */
  #usage = new Map<string, UsageEntry>();
  /** By instance: whom to tell what it was refused. */
  readonly #refused = new Map<string, AttachedSlot['refused']>();

  constructor({ kinds, usageFunctionsMax, ...machine }: BindingHostOptions) {
    this.#usageFunctionsMax = usageFunctionsMax ?? USAGE_FUNCTIONS_MAX;
    this.#served = kinds.map((kind) => {
      const state = new Map<string, unknown>();
      const thread = new AttachmentThread({
        name: kind.name,
        entry: kind.thread,
        data: kind.data,
        ...machine,
        onRefused: (instanceId, message, requestId) => this.#refused.get(instanceId)?.(message, requestId),
        onUsage: (entries) => this.#count(entries),
        snapshot: () => [...state].map(([key, value]) => ({ key, value })),
      });
      if (kind.startsWithAgent === true) thread.start();
      return { kind, thread, state };
    });
  }

  async attach({ instanceId, folder, owner, runnable, refused }: AttachedSlot): Promise<void> {
    this.#refused.set(instanceId, refused);
    await Promise.all(
      this.#served.map(async ({ kind, thread }) => {
        const wanted = socketsOf(kind, runnable);
        if (wanted.length === 0) return;
        await thread.attach(
          instanceId,
          wanted.map(({ file, target }) => ({ path: join(folder, file), owner, instanceId, target })),
        );
      }),
    );
  }

  detach(instanceId: string): void {
    this.#refused.delete(instanceId);
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

  /** What functions used through their sockets since the last call. At most a second old. */
  takeUsage(): Iterable<UsageEntry> {
    const usage = this.#usage;
    this.#usage = new Map();
    return usage.values();
  }

  /**
   * An operator's question to the thread of a kind, which alone understands it.
   *
   * @throws {PlatformError} of the thread; `bad_request` when no kind of that name is asked anything.
   */
  async ask(kindName: string, question: unknown): Promise<unknown> {
    const served = this.#served.find(({ kind }) => kind.name === kindName);
    if (served?.kind.unavailable === undefined)
      throw new PlatformError('bad_request', `no kind ${kindName} answers questions`);
    return served.thread.ask(question, served.kind.unavailable);
  }

  #count(entries: readonly UsageEntry[]): void {
    for (const entry of entries) {
      const key = `${entry.account}/${entry.function}`;
      const amounts: Record<string, number> = { ...this.#usage.get(key)?.amounts };
      for (const [name, amount] of Object.entries(entry.amounts))
        amounts[name] = (amounts[name] ?? 0) + amount;
      this.#usage.set(key, { ...entry, amounts });
    }
    for (const oldest of this.#usage.keys()) {
      if (this.#usage.size <= this.#usageFunctionsMax) break;
      this.#usage.delete(oldest);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#served.map(({ thread }) => thread.close()));
  }
}

function socketsOf(
  { name, always, bound }: AttachmentKind,
  runnable: Runnable,
): readonly { readonly file: string; readonly target: unknown }[] {
  return [
    ...(always === undefined ? [] : [{ file: always.file, target: always.target(runnable) }]),
    ...runnable.bindings.flatMap((binding, index) =>
      bound === undefined || binding.kind !== name
        ? []
        : [{ file: bindingSocket(index), target: bound.target(binding, runnable) }],
    ),
  ];
}
