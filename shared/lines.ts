/** Bytes into lines, in time linear in the bytes: each is looked at once, however long its line is. */

const NEWLINE = 10;

export class Lines {
  readonly #parts: Uint8Array[] = [];
  readonly #decoder = new TextDecoder();

  /** @returns the lines that end within the chunk; empty ones are left out. */
  *push(chunk: Uint8Array): Generator<string> {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      this.#parts.push(chunk.subarray(from, end));
      from = end + 1;
      const line = this.#take();
      if (line !== '') yield line;
    }
    if (from < chunk.byteLength) this.#parts.push(chunk.subarray(from));
  }

  #take(): string {
    let text = '';
    for (const part of this.#parts) text += this.#decoder.decode(part, { stream: true });
    this.#parts.length = 0;
    return text + this.#decoder.decode();
  }
}
