/**
 * The body of one request on its way in: kept until an instance takes it, then handed on as it comes.
 *
 * What is kept is joined as it arrives, so that a chunk of one byte costs one byte, and taken from the share
 * of the account that is called (shared/shares.ts). Node keeps more of a body that nobody reads: that is
 * counted too. A body slower than the least rate is given up, so that it holds neither memory nor an instance.
 */
import type { IncomingMessage } from 'node:http';
import { PlatformError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { readGarbage } from '../runtime/read-garbage.node.ts';
import type { Watch, Watched } from './deadlines.ts';
import type { Shares } from '../shares.ts';
import type { BodySink, RequestBody } from './ports.ts';

const CAPACITY_MIN = 4_096;
/** A paused stream: what Node reads ahead (server.node.ts), the read of 64 KiB that went over it, and some more. */
const UNREAD_BYTES = 128 * 1_024;
/** The same in chunks of one byte: 16,000, and 11,000 of that read. Each costs some 600 bytes as an object. */
const UNREAD_FRAGMENTED_BYTES = 16 * 1_024 * 1_024;
const FRAGMENTS_MIN = 1_024;
const FRAGMENT_BYTES_MAX = 64;
/** Smaller chunks of one read are handed on together. */
const JOINED_BYTES_MAX = 16_384;

export type IntakeRead =
  /** All of it is here. */
  | { readonly kind: 'whole'; readonly bytes: Buffer<ArrayBuffer> }
  /** As much as was wanted is here, and more may follow. */
  | { readonly kind: 'more' }
  | { readonly kind: 'too_large' | 'gone' }
  | { readonly kind: 'failed'; readonly error: PlatformError };

/** 0: there is none; undefined: it is not said. */
export function bodyBytesOf({ headers }: IncomingMessage): number | undefined {
  const length = headers['content-length'];
  if (length !== undefined) return Number(length);
  return headers['transfer-encoding'] === undefined ? 0 : undefined;
}

export interface IntakeOptions {
  readonly incoming: IncomingMessage;
  readonly watch: Watch;
  readonly shares: Shares;
  /** Whose function is called. */
  readonly account: string;
  /**
   * On its way to an instance it may be as slow as the limits of the function allow: its sender is a function of the
   * same account, which may wait for the answer before it says more.
   */
  readonly mayTrickle?: boolean;
}

interface Wanted {
  /** More than this is refused. */
  readonly bytesMax: number;
  /** So much is enough for now. */
  readonly enough: number;
  readonly resolve: (read: IntakeRead) => void;
}

export class Intake implements Watched, RequestBody {
  watchedAt: number | undefined;
  readonly #options: IntakeOptions;
  #kept = nothing();
  /** Somebody else reads it, or the kernel does. */
  #shown = false;
  #length = 0;
  #charged = 0;
  #chunks = 0;
  #bytes = 0;
  #unreadCharged = 0;
  /** The stream is read. */
  #begun = false;
  #ended = false;
  #over = false;
  #outcome: IntakeRead | undefined;
  #wanted: Wanted | undefined;
  #sink: BodySink | undefined;
  #joined: Buffer | undefined;
  #joinedLength = 0;
  // The least rate is one over the time in which we wanted bytes.
  #sinceMs: number;
  #counted = 0;
  #pausedSinceMs: number | undefined;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#sinceMs = options.watch.coarseMs;
    this.#charge(CAPACITY_MIN);
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    const { incoming, watch } = this.#options;
    this.#sinceMs = watch.add(this);
    incoming.on('data', this.#onData);
    incoming.on('end', this.#onEnd);
    incoming.on('close', this.#onClose);
  }

  /** The body, when all of it is here. */
  get whole(): Buffer | undefined {
    this.#shown ||= this.#ended;
    return this.#ended && this.#outcome === undefined ? this.#kept.subarray(0, this.#length) : undefined;
  }

  /** Reads until `enough` bytes are here or the body ends; one read at a time. */
  read(bytesMax: number, enough = Number.POSITIVE_INFINITY): Promise<IntakeRead> {
    this.#begin();
    return new Promise((resolve) => {
      this.#wanted = { bytesMax, enough, resolve };
      if (!this.#settleRead()) this.#unpause();
    });
  }

  /** Hands on what is here, then the rest as it comes. Only once. */
  flow(sink: BodySink): void {
    this.#sink = sink;
    if (this.#outcome?.kind === 'failed') return sink.failed(this.#outcome.error);
    this.#begin();
    this.#sinceMs = this.#options.watch.coarseMs;
    this.#counted = 0;
    const room = this.#length === 0 || sink.chunk(this.#kept.subarray(0, this.#length));
    this.#kept = nothing();
    if (this.#ended) return sink.end();
    if (this.#over) return;
    if (room) this.#unpause();
    else this.#pause();
  }

  resume(): void {
    this.#unpause();
  }

  /** Bytes that went the other way: who is being answered is not idle. */
  credit(bytes: number): void {
    this.#counted += bytes;
  }

  /** No more is wanted. What follows is Node's to throw away. */
  stop(): void {
    if (this.#over) return;
    this.#over = true;
    const { incoming, watch, shares, account } = this.#options;
    watch.delete(this);
    incoming.off('data', this.#onData);
    incoming.off('end', this.#onEnd);
    incoming.off('close', this.#onClose);
    shares.give(account, this.#charged);
    this.#charged = 0;
    // Freed now and not at some later collection: a hundred bodies that are given up would outlive their shares.
    if (!this.#shown) this.#kept.buffer.transfer(0);
    this.#kept = nothing();
    this.#joined = undefined;
  }

  tick(nowMs: number): void {
    if (this.#ended || this.#pausedSinceMs !== undefined) return;
    if (this.#sink !== undefined && this.#options.mayTrickle === true) return;
    const [graceMs, bytesPerSecond] =
      this.#sink === undefined
        ? [LIMITS.bodyGraceMs, LIMITS.bodyBytesPerSecondMin]
        : [LIMITS.bodyInstanceGraceMs, LIMITS.bodyInstanceBytesPerSecondMin];
    if (nowMs - this.#sinceMs <= graceMs + (this.#counted / bytesPerSecond) * 1_000) return;
    this.#fail(
      new PlatformError('body_too_slow', `${this.#bytes} bytes of the body after ${graceMs} ms`, {
        publicDetail: `After ${graceMs} ms a body must come at ${bytesPerSecond} bytes a second or more.`,
      }),
    );
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#chunks += 1;
    this.#bytes += chunk.byteLength;
    this.#counted += chunk.byteLength;
    readGarbage.read(chunk.byteLength);
    if (this.#sink !== undefined) return this.#join(chunk);
    if (this.#wanted !== undefined && this.#length + chunk.byteLength > this.#wanted.bytesMax) {
      this.#outcome = { kind: 'too_large' };
    } else if (this.#hold(chunk.byteLength)) {
      chunk.copy(this.#kept, this.#length);
      this.#length += chunk.byteLength;
    }
    this.#settleRead();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#options.watch.delete(this);
    if (this.#sink === undefined) return void this.#settleRead();
    this.#flushJoined();
    this.#sink.end();
  };

  readonly #onClose = (): void => {
    if (this.#ended) return;
    this.#outcome ??= { kind: 'gone' };
    this.#settleRead();
  };

  /** True when the read is over. */
  #settleRead(): boolean {
    const wanted = this.#wanted;
    if (wanted === undefined) return true;
    let read = this.#outcome;
    if (read === undefined && this.#ended)
      if (this.#length > wanted.bytesMax) read = { kind: 'too_large' };
      else {
        this.#shown = true;
        read = { kind: 'whole', bytes: this.#kept.subarray(0, this.#length) };
      }
    if (read === undefined && this.#length >= wanted.enough) {
      this.#pause();
      read = this.#outcome ?? { kind: 'more' };
    }
    if (read === undefined) return false;
    this.#wanted = undefined;
    wanted.resolve(read);
    return true;
  }

  /** Room for `more` bytes beside those that are kept. */
  #hold(more: number): boolean {
    const needed = this.#length + more;
    if (needed <= this.#kept.byteLength) return true;
    const said = Number(this.#options.incoming.headers['content-length'] ?? Number.POSITIVE_INFINITY);
    const capacity = Math.max(needed, Math.min(said, Math.max(CAPACITY_MIN, 2 * this.#kept.byteLength)));
    if (!this.#charge(Math.max(0, capacity - (this.#charged - this.#unreadCharged)))) return false;
    // What it was before is freed at once: nobody has seen it while it grows.
    this.#kept = Buffer.from(this.#kept.buffer.transfer(capacity));
    return true;
  }

  #charge(bytes: number): boolean {
    const { shares, account } = this.#options;
    if (shares.take(account, bytes)) {
      this.#charged += bytes;
      return true;
    }
    this.#fail(shares.full(account));
    return false;
  }

  #fail(error: PlatformError): void {
    if (this.#over) return;
    this.#outcome ??= { kind: 'failed', error };
    const sink = this.#sink;
    if (sink === undefined) this.#settleRead();
    else sink.failed(error);
  }

  /** In chunks of a few bytes each read is handed on as one. */
  #join(chunk: Buffer): void {
    if (this.#joined === undefined) {
      this.#joined = chunk;
      this.#joinedLength = chunk.byteLength;
      // Node hands out all chunks of one read before any microtask runs.
      queueMicrotask(this.#flushJoined);
      return;
    }
    if (this.#joinedLength + chunk.byteLength > JOINED_BYTES_MAX) {
      this.#flushJoined();
      if (!this.#over) this.#deliver(chunk);
      return;
    }
    if (this.#joined.byteLength < JOINED_BYTES_MAX) {
      const room = Buffer.allocUnsafe(JOINED_BYTES_MAX);
      this.#joined.copy(room);
      this.#joined = room;
    }
    chunk.copy(this.#joined, this.#joinedLength);
    this.#joinedLength += chunk.byteLength;
  }

  readonly #flushJoined = (): void => {
    const joined = this.#joined;
    if (joined === undefined || this.#over) return;
    this.#joined = undefined;
    this.#deliver(joined.subarray(0, this.#joinedLength));
  };

  #deliver(bytes: Buffer): void {
    if (this.#sink?.chunk(bytes) === false && !this.#over) this.#pause();
  }

  #pause(): void {
    if (this.#pausedSinceMs !== undefined || this.#ended) return;
    this.#options.incoming.pause();
    this.#pausedSinceMs = this.#options.watch.coarseMs;
    const fragmented = this.#chunks >= FRAGMENTS_MIN && this.#bytes < FRAGMENT_BYTES_MAX * this.#chunks;
    const unread = fragmented ? UNREAD_FRAGMENTED_BYTES : UNREAD_BYTES;
    const more = unread - this.#unreadCharged;
    if (more > 0 && this.#charge(more)) this.#unreadCharged = unread;
  }

  #unpause(): void {
    if (this.#pausedSinceMs === undefined || this.#over) return;
    this.#sinceMs += this.#options.watch.coarseMs - this.#pausedSinceMs;
    this.#pausedSinceMs = undefined;
    this.#options.incoming.resume();
  }
}

/** In memory of its own, which can grow and be freed. */
const nothing = (): Buffer<ArrayBuffer> => Buffer.from(new ArrayBuffer(0));
