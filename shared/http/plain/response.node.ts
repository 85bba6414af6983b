/**
 * The response to a plain request, written to its connection: what Node's ServerResponse would write, byte by byte
 * (both.test.ts holds the two against each other), in as few writes and copies as it takes.
 */
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import type { ResponseWriter } from '../writer.ts';

/** Joined with what comes before it into one string, so that the kernel is called once. */
const ONE_WRITE_BYTES_MAX = 16_384;
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** As Node judges: what is no character of a field value (RFC 9110 section 5.5), or no single byte. */
const BAD_VALUE = /[^\t\u0020-\u007e\u0080-\u00ff]/;

export interface ResponseOwner {
  readonly socket: Socket;
  /** For the Date header. */
  readonly date: string;
  /** What Keep-Alive says, in whole seconds. */
  readonly keepAliveS: number;
  /** No further request is taken from this connection. */
  readonly last: boolean;
  /** All of it was given to the socket. */
  responded(keepAlive: boolean): void;
}

interface Seen {
  date: boolean;
  connection: boolean;
  length: boolean;
}

export class PlainResponse extends EventEmitter implements ResponseWriter {
  readonly #owner: ResponseOwner;
  readonly #socket: Socket;
  #keepAlive: boolean;
  #bodyless: boolean;
  #chunked = false;
  /** Written with what follows. */
  #head = '';
  #ended = false;
  #timeout: (() => void) | undefined;
  headersSent = false;
  destroyed = false;

  constructor(owner: ResponseOwner, method: string, keepAlive: boolean) {
    super();
    this.#owner = owner;
    this.#socket = owner.socket;
    this.#bodyless = method === 'HEAD';
    this.#keepAlive = keepAlive;
  }

  writeHead(status: number, reason: string, headers: readonly string[]): this {
    if (this.headersSent) throw new Error('the head of this response was written before');
    if (BAD_VALUE.test(reason)) throw new TypeError('a reason holds a byte that it may not hold');
    const seen: Seen = { date: false, connection: false, length: false };
    let head = `HTTP/1.1 ${status} ${reason}\r\n`;
    for (let index = 0; index < headers.length; index += 2) {
      const name = headers[index] ?? '';
      const value = headers[index + 1] ?? '';
      if (!NAME.test(name) || BAD_VALUE.test(value))
        throw new TypeError(`header ${name} holds a byte that it may not hold`);
      head += `${name}: ${value}\r\n`;
      // The lengths of the names that matter here.
      if (name.length === 4 || name.length === 10 || name.length === 14 || name.length === 17)
        this.#look(name, value, seen);
    }
    if (status === 204 || status === 304) this.#bodyless = true;
    if (this.#owner.last) this.#keepAlive = false;
    this.#head = `${head}${this.#ending(seen)}\r\n`;
    this.headersSent = true;
    return this;
  }

  #look(name: string, value: string, seen: Seen): void {
    switch (name.toLowerCase()) {
      case 'date':
        seen.date = true;
        return;
      case 'connection':
        seen.connection = true;
        if (/close/i.test(value)) this.#keepAlive = false;
        return;
      case 'content-length':
        seen.length = true;
        return;
      case 'transfer-encoding':
        throw new TypeError('the framing of a response is not its writer’s');
      default:
    }
  }

  /** In Node's order. */
  #ending(seen: Seen): string {
    let lines = seen.date ? '' : `Date: ${this.#owner.date}\r\n`;
    if (!seen.connection)
      lines += this.#keepAlive
        ? `Connection: keep-alive\r\nKeep-Alive: timeout=${this.#owner.keepAliveS}\r\n`
        : 'Connection: close\r\n';
    this.#chunked = !seen.length && !this.#bodyless;
    return this.#chunked ? `${lines}Transfer-Encoding: chunked\r\n` : lines;
  }

  flushHeaders(): void {
    if (this.#head === '' || this.destroyed) return;
    this.#socket.write(this.#taken(), 'latin1');
  }

  writeProcessing(): void {
    if (!this.headersSent && !this.destroyed) this.#socket.write('HTTP/1.1 102 Processing\r\n\r\n', 'latin1');
  }

  write(chunk: Uint8Array): boolean {
    if (this.#ended || this.destroyed) return false;
    if (this.#bodyless || chunk.byteLength === 0) {
      this.flushHeaders();
      return true;
    }
    const before = this.#chunked ? `${this.#taken()}${chunk.byteLength.toString(16)}\r\n` : this.#taken();
    return this.#send(before, chunk, this.#chunked ? '\r\n' : '');
  }

  end(last?: Uint8Array | string): this {
    if (this.#ended || this.destroyed) return this;
    this.#ended = true;
    const length = last?.length ?? 0;
    if (this.#bodyless || last === undefined || length === 0) {
      const rest = this.#taken() + (this.#chunked && !this.#bodyless ? '0\r\n\r\n' : '');
      if (rest !== '') this.#socket.write(rest, 'latin1');
    } else {
      const before = this.#chunked ? `${this.#taken()}${length.toString(16)}\r\n` : this.#taken();
      const after = this.#chunked ? '\r\n0\r\n\r\n' : '';
      if (typeof last === 'string') this.#socket.write(before + last + after, 'latin1');
      else this.#send(before, last, after);
    }
    this.#over();
    return this;
  }

  destroy(): this {
    this.#socket.destroy();
    return this;
  }

  setTimeout(ms: number, listener: () => void): this {
    if (this.#timeout !== undefined) this.#socket.off('timeout', this.#timeout);
    this.#timeout = listener;
    this.#socket.setTimeout(ms, listener);
    return this;
  }

  /** The connection is gone. */
  closed(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }

  #over(): void {
    if (this.#timeout === undefined && this.listenerCount('close') === 0)
      return this.#owner.responded(this.#keepAlive);
    // Whoever waits for the end waits until the reader has all of it.
    if (this.#socket.writableLength === 0) this.#allTaken();
    else this.#socket.write('', 'latin1', () => this.#allTaken());
  }

  #allTaken(): void {
    if (this.destroyed) return;
    if (this.#timeout !== undefined) {
      this.#socket.off('timeout', this.#timeout);
      this.#socket.setTimeout(0);
    }
    this.closed();
    this.#owner.responded(this.#keepAlive);
  }

  #taken(): string {
    const head = this.#head;
    this.#head = '';
    return head;
  }

  #send(before: string, chunk: Uint8Array, after: string): boolean {
    const socket = this.#socket;
    if (chunk.byteLength <= ONE_WRITE_BYTES_MAX)
      return socket.write(`${before}${latin1(chunk)}${after}`, 'latin1');
    socket.cork();
    if (before !== '') socket.write(before, 'latin1');
    let room = socket.write(chunk);
    if (after !== '') room = socket.write(after, 'latin1');
    socket.uncork();
    return room;
  }
}

function latin1(chunk: Uint8Array): string {
  const bytes = Buffer.isBuffer(chunk)
    ? chunk
    : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  return bytes.toString('latin1');
}
