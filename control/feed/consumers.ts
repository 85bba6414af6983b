/**
 * Who consumes the feed and how far they are. In memory: consumers reconnect and acknowledge anew.
 *
 * A consumer is live while it is connected, and for LIMITS.memberDeadMs after it was last heard of.
 */
import type { Propagation } from '#shared/contracts/api.ts';
import type { FeedAck, FeedRole, SkippedItem } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';

const CONSUMERS_MAX = 10_000;
const ACKS_KEPT = 256;
const COMMITS_KEPT = 10_000;
const WAITERS_MAX = 1_000;

interface Consumer {
  readonly consumer: string;
  readonly role: FeedRole;
  revision: number;
  skipped: readonly SkippedItem[];
  connections: number;
  lastSeenMs: number;
  /** Newest last. */
  readonly acks: { readonly revision: number; readonly atMs: number }[];
}

export interface ConsumerStatus {
  readonly consumer: string;
  readonly role: FeedRole;
  readonly revision: number;
  readonly connected: boolean;
  /** Items of the feed that it could not read and goes without. */
  readonly skipped: readonly SkippedItem[];
}

export class Consumers {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #consumers = new Map<string, Consumer>();
  readonly #commits = new Map<number, number>();
  readonly #waiters = new Set<() => void>();

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock;
    this.#timers = timers;
  }

  /** @param revision - what the consumer already has; 0 when it needs a snapshot. */
  connected(consumer: string, role: FeedRole, revision: number): Disposable {
    const entry = this.#touch(consumer, role);
    entry.connections += 1;
    // A consumer that starts over really has less than it had.
    entry.revision = revision;
    entry.acks.length = 0;
    this.#noteAck(entry, revision);
    let open = true;
    return {
      [Symbol.dispose]: () => {
        if (!open) return;
        open = false;
        entry.connections -= 1;
        entry.lastSeenMs = this.#clock.monotonicMs();
      },
    };
  }

  acknowledge(ack: FeedAck): void {
    const entry = this.#touch(ack.consumer, ack.role);
    entry.skipped = ack.skipped;
    if (ack.revision > entry.revision) this.#noteAck(entry, ack.revision);
    for (const wake of this.#waiters) wake();
  }

  committed(revision: number): void {
    this.#commits.set(revision, this.#clock.monotonicMs());
    for (const oldest of this.#commits.keys()) {
      if (this.#commits.size <= COMMITS_KEPT) break;
      this.#commits.delete(oldest);
    }
  }

  status(): readonly ConsumerStatus[] {
    return this.#live().map(({ consumer, role, revision, connections, skipped }) => ({
      consumer,
      role,
      revision,
      connected: connections > 0,
      skipped,
    }));
  }

  /**
   * Answers when every live gateway and node has applied the revision, or after `waitMs`.
   *
   * @param gone - nobody waits for the answer any more: what the call holds is given back.
   */
  async propagation(revision: number, waitMs: number, gone?: AbortSignal): Promise<Propagation> {
    const now = this.#measure(revision);
    if (now.complete || waitMs <= 0 || gone?.aborted === true) return now;
    if (this.#waiters.size >= WAITERS_MAX)
      throw new PlatformError('control_unavailable', `${WAITERS_MAX} calls wait for propagation`, {
        retryAfterMs: 1_000,
      });
    return new Promise<Propagation>((resolve) => {
      const finish = (result: Propagation): void => {
        this.#waiters.delete(check);
        timeout.cancel();
        recheck.cancel();
        gone?.removeEventListener('abort', giveUp);
        resolve(result);
      };
      const giveUp = (): void => finish(now);
      gone?.addEventListener('abort', giveUp, { once: true });
      const check = (): void => {
        const result = this.#measure(revision);
        if (result.complete) finish(result);
      };
      this.#waiters.add(check);
      const timeout = this.#timers.after(waitMs, () => finish(this.#measure(revision)));
      // Consumers also stop counting by dying, which no acknowledgement announces.
      const recheck = this.#timers.every(LIMITS.heartbeatMs, check);
    });
  }

  #measure(revision: number): Propagation {
    // The scheduler places ahead of demand and serves nothing: no request waits for what it knows.
    const live = this.#live().filter((entry) => entry.role !== 'scheduler');
    const count = (role: FeedRole): { total: number; applied: number } => {
      const members = live.filter((entry) => entry.role === role);
      return {
        total: members.length,
        applied: members.filter((entry) => entry.revision >= revision).length,
      };
    };
    const complete = live.every((entry) => entry.revision >= revision);
    const committedMs = this.#commits.get(this.#commitOf(revision));
    return {
      revision,
      complete,
      gateways: count('gateway'),
      nodes: count('node'),
      ...(complete && committedMs !== undefined
        ? { elapsedMs: this.#lastAckMs(live, revision, committedMs) - committedMs }
        : {}),
    };
  }

  /** A transaction's changes commit together under its last revision. */
  #commitOf(revision: number): number {
    if (this.#commits.has(revision)) return revision;
    for (const commit of this.#commits.keys()) if (commit > revision) return commit;
    return revision;
  }

  #lastAckMs(live: readonly Consumer[], revision: number, floorMs: number): number {
    const times = live.map((entry) => entry.acks.find((ack) => ack.revision >= revision)?.atMs ?? floorMs);
    return Math.max(floorMs, ...times);
  }

  #noteAck(entry: Consumer, revision: number): void {
    entry.revision = revision;
    entry.acks.push({ revision, atMs: this.#clock.monotonicMs() });
    if (entry.acks.length > ACKS_KEPT) entry.acks.shift();
  }

  #touch(consumer: string, role: FeedRole): Consumer {
    const nowMs = this.#clock.monotonicMs();
    const key = `${role}/${consumer}`;
    let entry = this.#consumers.get(key);
    if (entry === undefined) {
      this.#live();
      if (this.#consumers.size >= CONSUMERS_MAX)
        throw new PlatformError('control_unavailable', `${CONSUMERS_MAX} consumers are known`, {
          retryAfterMs: LIMITS.memberDeadMs,
        });
      entry = { consumer, role, revision: 0, skipped: [], connections: 0, lastSeenMs: nowMs, acks: [] };
      this.#consumers.set(key, entry);
    }
    entry.lastSeenMs = nowMs;
    return entry;
  }

  #live(): readonly Consumer[] {
    const deadMs = this.#clock.monotonicMs() - LIMITS.memberDeadMs;
    for (const [key, entry] of this.#consumers)
      if (entry.connections === 0 && entry.lastSeenMs < deadMs) this.#consumers.delete(key);
    return [...this.#consumers.values()];
  }
}
