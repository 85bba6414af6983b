/**
 * Log file of one plane, bounded: at `bytesMax` it becomes `NAME.1` and a new one starts, so a plane holds
 * at most twice that on disk. A disk that refuses a line loses the line, never the platform.
 */
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';

const LOG_BYTES_MAX = 8 * 1024 * 1024;
/** A line longer than this is cut: one stack trace must not fill the file. */
const LINE_BYTES_MAX = 64 * 1024;

export class LogFile {
  readonly #path: string;
  readonly #bytesMax: number;
  #descriptor: number;
  #bytes: number;
  /** Lines the disk refused since the last one it took. */
  #lost = 0;

  constructor(path: string, bytesMax: number = LOG_BYTES_MAX) {
    this.#path = path;
    this.#bytesMax = bytesMax;
    this.#descriptor = openSync(path, 'a', 0o600);
    this.#bytes = fstatSync(this.#descriptor).size;
  }

  get lost(): number {
    return this.#lost;
  }

  write(line: string): void {
    const cut = line.length > LINE_BYTES_MAX ? `${line.slice(0, LINE_BYTES_MAX)}…` : line;
    const bytes = Buffer.from(`${cut}\n`);
    try {
      if (this.#bytes + bytes.byteLength > this.#bytesMax && this.#bytes > 0) this.#rotate();
      writeSync(this.#descriptor, bytes);
      this.#bytes += bytes.byteLength;
      this.#lost = 0;
    } catch {
      this.#lost += 1;
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`);
    const next = openSync(this.#path, 'a', 0o600);
    closeSync(this.#descriptor);
    this.#descriptor = next;
    this.#bytes = 0;
  }
}

/** Cuts a byte stream into lines; a line without an end is passed on at `LINE_BYTES_MAX` characters. */
export class LineSplitter {
  readonly #onLine: (line: string) => void;
  readonly #decoder = new TextDecoder();
  #rest = '';

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(chunk: Uint8Array): void {
    this.#rest += this.#decoder.decode(chunk, { stream: true });
    const lines = this.#rest.split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#onLine(line);
    if (this.#rest.length > LINE_BYTES_MAX) this.flush();
  }

  flush(): void {
    if (this.#rest !== '') this.#onLine(this.#rest);
    this.#rest = '';
  }
}
