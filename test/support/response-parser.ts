/**
 * Counts HTTP/1.1 responses on a connection: made for load and for looking at the wire, not for use by
 * products. Understands content-length, chunked bodies and responses without a body.
 */

export interface ParsedResponse {
  readonly status: number;
  /** Status line and headers, without the blank line. */
  readonly head: string;
  readonly body: string;
}

const HEAD_BYTES_MAX = 64 * 1024;
const HEAD_END = Buffer.from('\r\n\r\n');

type State =
  | { readonly in: 'head' }
  | { readonly in: 'body'; left: number }
  | { readonly in: 'chunk-size' }
  | { readonly in: 'chunk'; left: number; readonly last: boolean };

export class ResponseParser {
  readonly #onResponse: (response: ParsedResponse) => void;
  readonly #keepBodies: boolean;
  #rest: Buffer = Buffer.alloc(0);
  #state: State = { in: 'head' };
  #head = '';
  #status = 0;
  #body: string[] = [];

  /** @param keepBodies - false skips decoding, for load generation. */
  constructor(onResponse: (response: ParsedResponse) => void, keepBodies = true) {
    this.#onResponse = onResponse;
    this.#keepBodies = keepBodies;
  }

  push(chunk: Buffer): void {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const used = this.#step(data);
      if (used === 0) break;
      data = data.subarray(used);
      if (data.length === 0) break;
    }
    // The caller may reuse the chunk's memory, so what is left over is copied.
    this.#rest = data.length === 0 ? data : Buffer.from(data);
  }

  /** Bytes used; 0 when more are needed. */
  #step(data: Buffer): number {
    const state = this.#state;
    switch (state.in) {
      case 'head':
        return this.#readHead(data);
      case 'body': {
        const used = Math.min(state.left, data.length);
        this.#keep(data, used);
        state.left -= used;
        if (state.left === 0) this.#finish();
        return used;
      }
      case 'chunk-size': {
        const end = data.indexOf('\r\n');
        if (end < 0) return 0;
        const size = Number.parseInt(data.toString('latin1', 0, end), 16);
        if (!Number.isInteger(size)) throw new Error('a chunk size is no hexadecimal number');
        // The data of a chunk and the end of a body without trailers are both followed by CRLF.
        this.#state = { in: 'chunk', left: size + 2, last: size === 0 };
        return end + 2;
      }
      case 'chunk': {
        const used = Math.min(state.left, data.length);
        this.#keep(data, Math.min(used, Math.max(0, state.left - 2)));
        state.left -= used;
        if (state.left === 0) {
          if (state.last) this.#finish();
          else this.#state = { in: 'chunk-size' };
        }
        return used;
      }
    }
  }

  #readHead(data: Buffer): number {
    const end = data.indexOf(HEAD_END);
    if (end < 0) {
      if (data.length > HEAD_BYTES_MAX) throw new Error('the response head has no end');
      return 0;
    }
    this.#head = data.toString('latin1', 0, end);
    this.#status = Number(this.#head.slice(9, 12));
    if (!this.#head.startsWith('HTTP/1.') || Number.isNaN(this.#status))
      throw new Error(`not an HTTP/1 response: ${this.#head.slice(0, 80)}`);
    const length = /\r\ncontent-length:[ \t]*(\d+)/i.exec(this.#head)?.[1];
    if (/\r\ntransfer-encoding:[ \t]*chunked/i.test(this.#head)) this.#state = { in: 'chunk-size' };
    else if (length !== undefined && length !== '0') this.#state = { in: 'body', left: Number(length) };
    else this.#finish();
    return end + HEAD_END.length;
  }

  #keep(data: Buffer, bytes: number): void {
    if (this.#keepBodies && bytes > 0) this.#body.push(data.toString('utf8', 0, bytes));
  }

  #finish(): void {
    const response = { status: this.#status, head: this.#head, body: this.#body.join('') };
    this.#state = { in: 'head' };
    this.#body = [];
    this.#onResponse(response);
  }
}
