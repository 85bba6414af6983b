/**
 * Incremental parser of HTTP/1.1 responses from an instance (RFC 9112).
 *
 * Only for instances: workerd wrote the response, but a function chose parts of it, so everything that two
 * readers could understand differently is refused, and the head is bounded.
 *
 * Emits through a sink within the call of `feed`; body chunks are views of what was fed, not copies.
 */

export interface ParserSink {
  onHead(status: number, reason: string, headers: string[]): void;
  onBody(chunk: Buffer): void;
  /** `reusable`: the connection may carry another request. */
  onComplete(reusable: boolean): void;
}

const HEAD_BYTES_MAX = 256 * 1024;
const CHUNK_LINE_BYTES_MAX = 256;
const HEAD_END = Buffer.from('\r\n\r\n');
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5][0-9]{2})(?: ([\t\u0020-\u007e\u0080-\u00ff]*))?$/;
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
// oxlint-disable-next-line no-control-regex -- finding control characters is the point
const BAD_VALUE = /[\u0000-\u0008\u000a-\u001f\u007f]/;
const CHUNK_SIZE = /^([0-9A-Fa-f]{1,12})[\t ]*(?:;.*)?$/;
const NOTHING = Buffer.alloc(0);

type State =
  | 'head'
  | 'length'
  | 'until_close'
  | 'chunk_size'
  | 'chunk_data'
  | 'chunk_end'
  | 'trailer'
  | 'done';

export class MalformedResponse extends Error {
  override readonly name = 'MalformedResponse';
}

export class ResponseParser {
  #sink: ParserSink | undefined;
  #headRequest = false;
  #state: State = 'done';
  /** Bytes of an incomplete head or chunk line. */
  #pending: Buffer = NOTHING;
  #remaining = 0;
  #keepAlive = true;

  /** Ready for the next response on the connection. */
  start(sink: ParserSink, method: string): void {
    this.#sink = sink;
    this.#headRequest = method === 'HEAD';
    this.#state = 'head';
    this.#pending = NOTHING;
  }

  /** The connection has ended; true when that completes a response. */
  end(): boolean {
    if (this.#state !== 'until_close') return false;
    this.#complete(false);
    return true;
  }

  /** @throws {MalformedResponse} the connection must then be closed. */
  feed(data: Buffer): void {
    let chunk = data;
    if (this.#pending.byteLength > 0) {
      chunk = Buffer.concat([this.#pending, data]);
      this.#pending = NOTHING;
    }
    let at = 0;
    while (at < chunk.byteLength) {
      const next = this.#step(chunk, at);
      if (next < 0) {
        this.#pending = at === 0 ? chunk : chunk.subarray(at);
        return;
      }
      at = next;
    }
  }

  /** @returns where to go on, or -1 when more bytes are needed. */
  #step(chunk: Buffer, at: number): number {
    switch (this.#state) {
      case 'head':
        return this.#head(chunk, at);
      case 'length':
      case 'chunk_data':
        return this.#sized(chunk, at);
      case 'until_close':
        this.#sink?.onBody(at === 0 ? chunk : chunk.subarray(at));
        return chunk.byteLength;
      case 'chunk_size':
      case 'chunk_end':
      case 'trailer':
        return this.#line(chunk, at);
      case 'done':
        throw new MalformedResponse('bytes after the response');
    }
  }

  #sized(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.byteLength, at + this.#remaining);
    this.#remaining -= end - at;
    const body = at === 0 && end === chunk.byteLength ? chunk : chunk.subarray(at, end);
    const complete = this.#remaining === 0 && this.#state === 'length';
    if (this.#remaining === 0 && !complete) this.#state = 'chunk_end';
    this.#sink?.onBody(body);
    if (complete) this.#complete(this.#keepAlive);
    return end;
  }

  #line(chunk: Buffer, at: number): number {
    const end = chunk.indexOf('\r\n', at, 'latin1');
    if (end < 0) {
      if (chunk.byteLength - at > CHUNK_LINE_BYTES_MAX) throw new MalformedResponse('chunk line too long');
      return -1;
    }
    const line = chunk.toString('latin1', at, end);
    if (this.#state === 'chunk_end') {
      if (line !== '') throw new MalformedResponse('chunk longer than its size');
      this.#state = 'chunk_size';
    } else if (this.#state === 'trailer') {
      if (line === '') this.#complete(this.#keepAlive);
    } else {
      const size = CHUNK_SIZE.exec(line)?.[1];
      if (size === undefined) throw new MalformedResponse('bad chunk size');
      this.#remaining = Number.parseInt(size, 16);
      this.#state = this.#remaining === 0 ? 'trailer' : 'chunk_data';
    }
    return end + 2;
  }

  #head(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(HEAD_END, at);
    if (end < 0 || end - at > HEAD_BYTES_MAX) {
      if (chunk.byteLength - at > HEAD_BYTES_MAX) throw new MalformedResponse('head too large');
      return -1;
    }
    const lines = chunk.toString('latin1', at, end).split('\r\n');
    const statusLine = STATUS_LINE.exec(lines[0] ?? '');
    if (statusLine === null) throw new MalformedResponse('bad status line');
    const status = Number(statusLine[2]);
    // Interim responses carry nothing the client needs: 100 was answered by the gateway itself.
    if (status < 200) {
      if (status === 101) throw new MalformedResponse('upgrade without a request for one');
      return end + 4;
    }
    const headers: string[] = [];
    const framing = readHeaders(lines, headers);
    this.#keepAlive = statusLine[1] === '1' && !framing.close;
    this.#sink?.onHead(status, statusLine[3] ?? '', headers);
    this.#frame(status, framing);
    return end + 4;
  }

  #frame(status: number, { length, chunked }: Framing): void {
    if (this.#headRequest || status === 204 || status === 304 || (length === 0 && !chunked))
      this.#complete(this.#keepAlive);
    else if (chunked) this.#state = 'chunk_size';
    else if (length === undefined) this.#state = 'until_close';
    else {
      this.#remaining = length;
      this.#state = 'length';
    }
  }

  #complete(reusable: boolean): void {
    this.#state = 'done';
    this.#sink?.onComplete(reusable);
  }
}

interface Framing {
  length: number | undefined;
  chunked: boolean;
  close: boolean;
}

function readHeaders(lines: readonly string[], headers: string[]): Framing {
  const framing: Framing = { length: undefined, chunked: false, close: false };
  for (let index = 1; index < lines.length; index += 1) {
    const line = lines[index] ?? '';
    const colon = line.indexOf(':');
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).trim();
    // An obs-fold line starts with a space, which no name holds.
    if (colon < 1 || !NAME.test(name) || BAD_VALUE.test(value))
      throw new MalformedResponse('bad header line');
    headers.push(name, value);
    // The lengths of the three names that matter here.
    if (name.length === 14 || name.length === 17 || name.length === 10) readFraming(framing, name, value);
  }
  if (framing.chunked && framing.length !== undefined) throw new MalformedResponse('two lengths');
  return framing;
}

function readFraming(framing: Framing, name: string, value: string): void {
  switch (name.toLowerCase()) {
    case 'content-length':
      if (!/^\d{1,15}$/.test(value) || framing.length !== undefined)
        throw new MalformedResponse('bad content-length');
      framing.length = Number(value);
      return;
    case 'transfer-encoding':
      if (value.toLowerCase() !== 'chunked' || framing.chunked)
        throw new MalformedResponse('unsupported transfer-encoding');
      framing.chunked = true;
      return;
    case 'connection':
      if (value.toLowerCase().includes('close')) framing.close = true;
      return;
    default:
  }
}
