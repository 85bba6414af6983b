/**
 * Streams the feed to its consumers.
 *
 * A commit wakes every stream at once; a stream that is woken again while it reads coalesces, because a
 * delta holds current values, not history. A consumer that does not read gets nothing more queued: its
 * next delta covers all it missed. When it stays silent too long it is cut and starts over.
 */
import type { FeedLine, FeedRole } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import { readDelta, readSnapshot } from './changes.ts';
import type { Database } from '../db/database.ts';
import type { Consumers } from './consumers.ts';

const STREAMS_MAX = 1_000;
/** A long line is handed on in pieces, so that a consumer that reads it is seen to read. */
const PIECE_BYTES = 256 * 1_024;
/** Bookmarks that may find the consumer still not reading before it is cut. */
const STALLED_BOOKMARKS_MAX = 3;

export interface FeedRequest {
  readonly consumer: string;
  readonly role: FeedRole;
  /** 0: send a snapshot. */
  readonly from: number;
  readonly epoch: string;
}

export interface FeedHubDeps {
  readonly db: Database;
  readonly consumers: Consumers;
  readonly timers: Timers;
  readonly log: Log;
}

interface Built {
  readonly line: string;
  readonly revision: number;
}

function write(line: FeedLine): Built {
  return { line: `${JSON.stringify(line)}\n`, revision: line.revision };
}

export class FeedHub {
  readonly #deps: FeedHubDeps;
  readonly #streams = new Set<FeedStream>();
  /** Deltas being built or just built, so that equal consumers share one read. Cleared by each commit. */
  readonly #shared = new Map<string, Promise<Built | undefined>>();

  constructor(deps: FeedHubDeps) {
    this.#deps = deps;
    deps.db.onCommit((revision) => {
      deps.consumers.committed(revision);
      this.#shared.clear();
      for (const stream of this.#streams) stream.wake();
    });
  }

  get size(): number {
    return this.#streams.size;
  }

  /** @throws {PlatformError} `control_unavailable` beyond STREAMS_MAX streams. */
  open(request: FeedRequest): ReadableStream<Uint8Array> {
    if (this.#streams.size >= STREAMS_MAX)
      throw new PlatformError('control_unavailable', `${STREAMS_MAX} feed streams are open`, {
        retryAfterMs: 1_000,
      });
    if (request.epoch === this.#deps.db.epoch && request.from > this.#deps.db.revision) {
      const { consumer, role, from } = request;
      this.#deps.log.error('database_behind', {
        consumer,
        role,
        has: from,
        database: this.#deps.db.revision,
      });
      this.#deps.db.foundBehind(from);
      // It goes on with the later state that it has.
      throw new PlatformError('database_behind', `${consumer} has revision ${from} of this history`);
    }
    const known = request.epoch === this.#deps.db.epoch && request.from <= this.#deps.db.revision;
    const from = known ? request.from : 0;
    const seat = this.#deps.consumers.connected(request.consumer, request.role, from);
    const stream = new FeedStream({
      from,
      next: (after) => this.#next(request.role, after),
      timers: this.#deps.timers,
      ended: (reason) => {
        this.#streams.delete(stream);
        seat[Symbol.dispose]();
        if (reason !== undefined)
          this.#deps.log.warn('feed_cut', { consumer: request.consumer, role: request.role, ...reason });
      },
    });
    this.#streams.add(stream);
    return stream.readable;
  }

  /** The line that brings a consumer from `after` to now; undefined when it is there. */
  #next(role: FeedRole, after: number): Promise<Built | undefined> {
    // Also while the database is away: who has everything goes on.
    if (after !== 0 && after === this.#deps.db.revision) return Promise.resolve(undefined);
    const key = `${role} ${after}`;
    const shared = this.#shared.get(key);
    if (shared !== undefined) return shared;
    const built = this.#build(role, after);
    this.#shared.set(key, built);
    // A failure must not be remembered.
    built.catch(() => this.#shared.delete(key));
    return built;
  }

  async #build(role: FeedRole, after: number): Promise<Built | undefined> {
    return this.#deps.db.read(async (orm) => {
      const delta = after === 0 ? { kind: 'compacted' as const } : await readDelta(orm, role, after);
      if (delta.kind === 'compacted') {
        const snapshot = await readSnapshot(orm, role);
        return write({ type: 'snapshot', epoch: this.#deps.db.epoch, ...snapshot });
      }
      if (delta.revision === after) return undefined;
      return write({ type: 'delta', revision: delta.revision, items: delta.items });
    });
  }

  close(): void {
    for (const stream of this.#streams) stream.close();
  }
}

interface StreamOptions {
  readonly from: number;
  readonly next: (after: number) => Promise<Built | undefined>;
  readonly timers: Timers;
  readonly ended: (reason: Readonly<Record<string, unknown>> | undefined) => void;
}

class FeedStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly #options: StreamOptions;
  readonly #encoder = new TextEncoder();
  readonly #bookmarks: Timer;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #position: number;
  /** Even revision 0 needs its snapshot, so the first line does not depend on the position. */
  #started = false;
  #dirty = true;
  #reading = false;
  #stalled = 0;
  /** Of the line that is being sent. */
  #rest = new Uint8Array(0);
  #ended = false;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#position = options.from;
    this.readable = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => {
          this.#stalled = 0;
          void this.#pump();
        },
        cancel: () => this.#end(undefined),
      },
      { highWaterMark: 1 },
    );
    this.#bookmarks = options.timers.every(LIMITS.feedBookmarkMs, () => this.#bookmark());
  }

  wake(): void {
    this.#dirty = true;
    void this.#pump();
  }

  close(): void {
    if (this.#ended) return;
    this.#end(undefined);
    this.#controller?.close();
  }

  #hasRoom(): boolean {
    return (this.#controller?.desiredSize ?? 0) > 0;
  }

  async #pump(): Promise<void> {
    if (this.#reading || this.#ended) return;
    this.#reading = true;
    try {
      while (this.#hasRoom() && !this.#ended) {
        if (this.#sendPiece()) continue;
        if (!this.#dirty) break;
        this.#dirty = false;
        const built = await this.#options.next(this.#position);
        if (built === undefined || this.#ended) continue;
        this.#position = built.revision;
        this.#started = true;
        this.#send(built.line);
      }
    } catch (thrown) {
      this.#cut({ error: thrown });
    } finally {
      this.#reading = false;
    }
    // Known position and nothing new: a first bookmark tells the consumer that it is up to date.
    if (!this.#started && !this.#ended) {
      this.#started = true;
      this.#bookmark();
    }
  }

  #bookmark(): void {
    if (this.#ended || !this.#started) return;
    if (this.#hasRoom() && this.#rest.byteLength === 0) {
      this.#stalled = 0;
      this.#send(`${JSON.stringify({ type: 'bookmark', revision: this.#position })}\n`);
      return;
    }
    this.#stalled += 1;
    if (this.#stalled > STALLED_BOOKMARKS_MAX) this.#cut({ reason: 'the consumer does not read' });
  }

  #send(line: string): void {
    this.#rest = this.#encoder.encode(line);
    this.#sendPiece();
  }

  /** False: there is none left. */
  #sendPiece(): boolean {
    if (this.#rest.byteLength === 0) return false;
    this.#controller?.enqueue(this.#rest.subarray(0, PIECE_BYTES));
    this.#rest = this.#rest.subarray(PIECE_BYTES);
    return true;
  }

  #cut(reason: Readonly<Record<string, unknown>>): void {
    if (this.#ended) return;
    this.#end(reason);
    this.#controller?.error(new PlatformError('control_unavailable', 'feed stream cut'));
  }

  #end(reason: Readonly<Record<string, unknown>> | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#bookmarks.cancel();
    this.#options.ended(reason);
  }
}
