/**
 * One connection of a client (or of an instance to what it is bound to), as long as what comes is plain: a request, its
 * response, the next request.
 *
 * At the first thing that is not (head.ts) the connection goes to Node's HTTP server for good, with those bytes
 * unread. Bytes that come while a request is answered are kept, one read of them, and the connection is not read
 * further until it is answered.
 */
import type { Socket } from 'node:net';
import { takeReads } from '../../runtime/reads.node.ts';
import { readPlain, type PlainHead } from './head.ts';
import { PlainResponse, type ResponseOwner } from './response.node.ts';

/** A reader that takes nothing of what it was answered for this long is left. */
const READER_IDLE_MS = 300_000;

export interface PlainRequest extends PlainHead {
  readonly socket: Socket;
  readonly response: PlainResponse;
}

export interface ConnectionOwner {
  readonly date: string;
  readonly keepAliveS: number;
  /** No connection is kept beyond the response that is under way. */
  readonly closing: boolean;
  /** Monotonic; good enough to notice silence. */
  readonly coarseMs: number;
  serve(request: PlainRequest): void;
  /** The first request of a connection has come. */
  spoke(socket: Socket): void;
  /** The connection is no longer ours: it was closed, or given to Node's server. */
  left(connection: PlainConnection): void;
  handOver(socket: Socket): void;
  /** The client has ended its side while it is being answered; it may still listen. */
  ended(socket: Socket, response: PlainResponse): void;
  /** It has sent more than is read before it is answered: nothing tells when it goes. */
  unread(socket: Socket, response: PlainResponse): void;
}

export class PlainConnection implements ResponseOwner {
  readonly socket: Socket;
  readonly #owner: ConnectionOwner;
  #response: PlainResponse | undefined;
  /** Came while a request was being answered. */
  #pending: Buffer | undefined;
  #spoke = false;
  #left = false;
  #idleSinceMs: number;

  constructor(socket: Socket, owner: ConnectionOwner) {
    this.socket = socket;
    this.#owner = owner;
    this.#idleSinceMs = owner.coarseMs;
    if (!takeReads(socket, this.#take)) socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('close', this.#onClose);
    // 'close' follows; without a listener it would end the process.
    socket.on('error', this.#onError);
  }

  get date(): string {
    return this.#owner.date;
  }

  get keepAliveS(): number {
    return this.#owner.keepAliveS;
  }

  get last(): boolean {
    return this.#owner.closing || this.socket.readableEnded;
  }

  /** Since when it has been silent; undefined while there is something to do. */
  get idleSinceMs(): number | undefined {
    return this.#busy || this.socket.writableLength > 0 ? undefined : this.#idleSinceMs;
  }

  get #busy(): boolean {
    return this.#response !== undefined || this.#pending !== undefined;
  }

  /** Ends it where nothing is under way. */
  endIdle(): void {
    if (!this.#busy) this.socket.destroySoon();
  }

  responded(keepAlive: boolean): void {
    this.#response = undefined;
    this.#idleSinceMs = this.#owner.coarseMs;
    const { socket } = this;
    // The client may have ended its side after the head had promised more.
    if (!keepAlive || this.last) return socket.destroySoon();
    // A client that does not read its answers gets no further ones.
    if (socket.writableNeedDrain) return this.#waitForReader();
    if (this.#pending !== undefined) setImmediate(this.#goOn);
  }

  #waitForReader(): void {
    this.#pending ??= NOTHING;
    this.socket.pause();
    this.socket.setTimeout(READER_IDLE_MS, this.#onStalled);
  }

  readonly #onStalled = (): void => void this.socket.destroy();

  readonly #take = (chunk: Buffer): boolean => {
    if (this.#left) return false;
    this.#onData(chunk);
    return true;
  };

  readonly #onData = (chunk: Buffer): void => {
    // It ends: what comes now would never be answered.
    if (!this.socket.writable) return;
    if (!this.#busy) return this.#read(chunk);
    this.#pending = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk]);
    this.socket.pause();
    if (this.#response !== undefined) this.#owner.unread(this.socket, this.#response);
  };

  readonly #onDrain = (): void => {
    if (this.#response !== undefined) return void this.#response.emit('drain');
    if (this.#pending === undefined) return;
    this.socket.off('timeout', this.#onStalled);
    this.socket.setTimeout(0);
    this.#goOn();
  };

  readonly #goOn = (): void => {
    const pending = this.#pending;
    if (pending === undefined || this.#response !== undefined || !this.socket.writable) return;
    this.#pending = undefined;
    if (pending.byteLength > 0) this.#read(pending);
    else if (this.last) return this.socket.destroySoon();
    this.socket.resume();
  };

  #read(chunk: Buffer): void {
    const { socket } = this;
    const head = readPlain(chunk);
    if (head === undefined) return this.#handOver(chunk);
    if (!this.#spoke) {
      this.#spoke = true;
      this.#owner.spoke(socket);
    }
    const response = new PlainResponse(this, head.method, head.keepAlive);
    this.#response = response;
    this.#owner.serve({ ...head, socket, response });
  }

  #handOver(chunk: Buffer): void {
    const { socket } = this;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('drain', this.#onDrain);
    socket.off('close', this.#onClose);
    socket.off('error', this.#onError);
    this.#left = true;
    // Paused, so that what is put back is handed out after the next listener is there.
    socket.pause();
    socket.unshift(chunk);
    this.#owner.left(this);
    this.#owner.handOver(socket);
    socket.resume();
  }

  /** The client has ended its side, and may still wait for what it has asked for. */
  readonly #onEnd = (): void => {
    const response = this.#response;
    if (response === undefined) this.socket.destroySoon();
    else this.#owner.ended(this.socket, response);
  };

  readonly #onClose = (): void => {
    this.#owner.left(this);
    this.#response?.closed();
  };

  readonly #onError = (): void => undefined;
}

const NOTHING = Buffer.alloc(0);
