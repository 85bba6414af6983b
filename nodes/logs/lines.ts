/** Splits a byte stream into lines with a bound on their length. */
const NEWLINE = 0x0a;

export interface LineSink {
  /** `cut` is true when the line was longer than the bound and the rest was thrown away. */
  line(text: string, cut: boolean): void;
}

export class LineSplitter {
  readonly #bytesMax: number;
  readonly #sink: LineSink;
  #partial: Uint8Array[] = [];
  #partialBytes = 0;
  #cut = false;

  constructor(bytesMax: number, sink: LineSink) {
    this.#bytesMax = bytesMax;
    this.#sink = sink;
  }

  push(chunk: Uint8Array): void {
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, from);
      if (end < 0) break;
      this.#append(chunk.subarray(from, end));
      this.#finish();
      from = end + 1;
    }
    if (from < chunk.byteLength) this.#append(chunk.subarray(from));
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
    const text = Buffer.concat(this.#partial).toString('utf8');
    const cut = this.#cut;
    this.#partial = [];
    this.#partialBytes = 0;
    this.#cut = false;
    this.#sink.line(text, cut);
  }
}
