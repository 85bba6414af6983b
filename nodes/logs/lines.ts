/** Splits a byte stream into lines with a bound on their length. */
const NEWLINE = 0x0a;

export interface LineSink {
  /** `cut` is true when the line was longer than the bound and the rest was thrown away. */
  line(text: string, cut: boolean): void;
}

/** Whole lines of a chunk are decoded together: one by one costs more than everything else here. */
export class LineSplitter {
  readonly #bytesMax: number;
  readonly #sink: LineSink;
  #partial: Uint8Array[] = [];
  #partialBytes = 0;
  #cut = false;

  /** @param bytesMax - bound of a line, in bytes, or in UTF-16 units where that is more. */
  constructor(bytesMax: number, sink: LineSink) {
    this.#bytesMax = bytesMax;
    this.#sink = sink;
  }

  push(chunk: Uint8Array): void {
    let from = 0;
    if (this.#partialBytes > 0 || this.#cut) {
      const end = chunk.indexOf(NEWLINE);
      if (end < 0) return this.#append(chunk);
      this.#append(chunk.subarray(0, end));
      this.#finish();
      from = end + 1;
    }
    const last = chunk.lastIndexOf(NEWLINE);
    if (last >= from) this.#lines(chunk.subarray(from, last));
    if (last + 1 < chunk.byteLength) this.#append(chunk.subarray(Math.max(from, last + 1)));
  }

  /** Counts the lines of a chunk without looking at them; the one under way is lost too. */
  skip(chunk: Uint8Array): number {
    let lines = 0;
    let last = -1;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, at + 1)) {
      lines += 1;
      last = at;
    }
    if (lines > 0) {
      this.#partial = [];
      this.#partialBytes = 0;
      this.#cut = false;
    }
    // Of an unfinished line only the fact that it is damaged is kept.
    if (last < chunk.byteLength - 1) this.#cut = true;
    return lines;
  }

  end(): void {
    if (this.#partialBytes > 0) this.#finish();
  }

  #lines(bytes: Uint8Array): void {
    const text = decode(bytes);
    let from = 0;
    for (;;) {
      const end = text.indexOf('\n', from);
      const length = (end < 0 ? text.length : end) - from;
      const cut = length > this.#bytesMax;
      this.#sink.line(text.slice(from, from + Math.min(length, this.#bytesMax)), cut);
      if (end < 0) return;
      from = end + 1;
    }
  }

  #append(bytes: Uint8Array): void {
    const room = this.#bytesMax - this.#partialBytes;
    if (bytes.byteLength > room) this.#cut = true;
    if (room <= 0 || bytes.byteLength === 0) return;
    // Copied: a view would keep the whole chunk alive.
    const kept = bytes.slice(0, room);
    this.#partial.push(kept);
    this.#partialBytes += kept.byteLength;
  }

  #finish(): void {
    const text = decode(Buffer.concat(this.#partial));
    const cut = this.#cut;
    this.#partial = [];
    this.#partialBytes = 0;
    this.#cut = false;
    this.#sink.line(text, cut);
  }
}

function decode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
