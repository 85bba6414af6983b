/**
 * Follows the change feed for a gateway or a node: applies, persists, acknowledges, reconnects.
 *
 * The plane starts from its journal before control was ever reached, and goes on with what it has when
 * control is gone. Silence longer than a few bookmarks means a dead connection.
 */
import {
  SKIPPED_REPORTED_MAX,
  type FeedItem,
  type FeedLine,
  type FeedRole,
  type SkippedItem,
} from '../contracts/feed.ts';
import { LIMITS } from '../limits.ts';
import type { Timers } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import type { Peer } from '../runtime/peer.ts';
import { z } from 'zod';
import { FeedJournal } from './journal.node.ts';
import { readLineSchema } from './read.ts';
import type { FeedState } from './state.ts';

export interface FeedConsumerOptions {
  readonly peer: Peer;
  readonly role: FeedRole;
  readonly consumerId: string;
  /** File of the journal; its folder must exist. */
  readonly journalPath: string;
  readonly log: Log;
  readonly timers: Timers;
  /** Called after each applied line that changed something, before it is persisted and acknowledged. */
  readonly onChange: (items: readonly FeedItem[], state: FeedState) => void;
  /** Control is heard, from now on; or not any more. */
  readonly onHeard?: (heard: boolean) => void;
}

export interface FeedConsumer {
  readonly state: FeedState;
  /** Resolves when the state is complete, at the latest after `waitMs`. */
  settled(waitMs: number): Promise<void>;
  close(): Promise<void>;
}

const SILENCE_MS_MAX = 3 * LIMITS.feedBookmarkMs;
const RETRY_MS_MIN = 50;
/** Control is a socket of this machine: to ask costs next to nothing, and planes that start together wait for it. */
const RETRY_MS_MAX = 250;

export async function startFeedConsumer(options: FeedConsumerOptions): Promise<FeedConsumer> {
  const journal = new FeedJournal(options.journalPath);
  const state = await journal.load(options.log);
  if (state.epoch !== '') options.onChange(state.toSnapshot().items, state);
  const stop = new AbortController();
  const complete = new AbortController();
  const onHeard = (heard: boolean): void => {
    if (heard) complete.abort();
    options.onHeard?.(heard);
  };
  const done = follow({ ...options, onHeard }, { journal, state, stop: stop.signal });
  return {
    state,
    // Not a timer of the plane's: those do not keep a process alive, and nothing else may do so yet.
    settled: (waitMs) =>
      new Promise((resolve) => {
        const finish = (): void => {
          clearTimeout(timer);
          complete.signal.removeEventListener('abort', finish);
          resolve();
        };
        const timer = setTimeout(finish, waitMs);
        complete.signal.addEventListener('abort', finish);
        if (complete.signal.aborted) finish();
      }),
    close: async () => {
      stop.abort();
      await done;
    },
  };
}

interface Following {
  readonly journal: FeedJournal;
  readonly state: FeedState;
  readonly stop: AbortSignal;
}

async function follow(options: FeedConsumerOptions, following: Following): Promise<void> {
  const acknowledge = createAcknowledger(options, following.stop);
  let retryMs = RETRY_MS_MIN;
  while (!following.stop.aborted) {
    try {
      await followOnce(options, following, (revision) => {
        retryMs = RETRY_MS_MIN;
        acknowledge(revision, following.state.skipped);
      });
    } catch (thrown) {
      if (!following.stop.aborted) options.log.debug('feed_disconnected', { error: thrown });
    }
    await pause(options.timers, retryMs, following.stop);
    retryMs = Math.min(RETRY_MS_MAX, retryMs * 2);
  }
}

async function followOnce(
  options: FeedConsumerOptions,
  { journal, state, stop }: Following,
  onLine: (revision: number) => void,
): Promise<void> {
  const connection = new AbortController();
  const signal = AbortSignal.any([stop, connection.signal]);
  let heard = false;
  const listen = () => options.timers.after(SILENCE_MS_MAX, () => connection.abort());
  let silence = listen();
  // A long snapshot on its way is no silence.
  const onBytes = (): void => {
    silence.cancel();
    silence = listen();
  };
  try {
    const query = new URLSearchParams({
      consumer: options.consumerId,
      role: options.role,
      from: String(state.revision),
      epoch: state.epoch,
    });
    for await (const line of options.peer.lines(`/internal/feed?${query.toString()}`, readLineSchema, {
      signal,
      onBytes,
    })) {
      // To apply a long line takes its time, during which nothing is read.
      silence.cancel();
      await applyLine(options, { journal, state, stop }, line);
      if (!heard) options.onHeard?.(true);
      heard = true;
      onLine(state.revision);
      silence = listen();
    }
  } finally {
    silence.cancel();
    connection.abort();
    options.onHeard?.(false);
  }
}

async function applyLine(
  options: FeedConsumerOptions,
  { journal, state }: Following,
  line: FeedLine,
): Promise<void> {
  const changed = state.apply(line);
  if (line.type !== 'bookmark')
    for (const skipped of line.skipped ?? []) options.log.error('feed_item_skipped', { ...skipped });
  if (changed.length > 0) options.onChange(changed, state);
  try {
    await journal.append(line, state);
  } catch (thrown) {
    // A full disk must not stop serving: the state in memory is right, and the next start asks again.
    options.log.error('feed_journal_write_failed', { error: thrown });
  }
}

/** Sends the newest revision; while one call is under way later revisions replace each other. */
function createAcknowledger(
  options: FeedConsumerOptions,
  stop: AbortSignal,
): (revision: number, skipped: readonly SkippedItem[]) => void {
  let sending = false;
  let wanted: { readonly revision: number; readonly skipped: readonly SkippedItem[] } | undefined;
  const send = async (): Promise<void> => {
    while (wanted !== undefined && !stop.aborted) {
      const body = { consumer: options.consumerId, role: options.role, ...wanted };
      wanted = undefined;
      try {
        await options.peer.call('/internal/feed/ack', z.unknown(), {
          method: 'POST',
          body,
          signal: stop,
        });
      } catch (thrown) {
        if (!stop.aborted) options.log.debug('feed_ack_failed', { error: thrown });
      }
    }
    sending = false;
  };
  return (revision, skipped) => {
    wanted = { revision, skipped: skipped.slice(0, SKIPPED_REPORTED_MAX) };
    if (sending) return;
    sending = true;
    void send();
  };
}

function pause(timers: Timers, delayMs: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (stop.aborted) return resolve();
    const finish = (): void => {
      timer.cancel();
      stop.removeEventListener('abort', finish);
      resolve();
    };
    const timer = timers.after(delayMs, finish);
    stop.addEventListener('abort', finish);
  });
}
