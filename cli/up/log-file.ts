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
  #descriptor: number | undefined;
  #bytes = 0;
  /** Lines the disk refused since the last one it took. */
  #lost = 0;

  constructor(path: string, bytesMax: number = LOG_BYTES_MAX) {
    this.#path = path;
    this.#bytesMax = bytesMax;
  }

  get lost(): number {
    return this.#lost;
  }

  /** The first line after a loss says how many there were before it. */
  write(line: string): void {
    const cut = line.length > LINE_BYTES_MAX ? `${line.slice(0, LINE_BYTES_MAX)}…` : line;
    try {
      if (this.#lost > 0) this.#append(`{"level":"warn","event":"log_lines_lost","count":${this.#lost}}\n`);
      this.#lost = 0;
      this.#append(`${cut}\n`);
    } catch {
      this.#lost += 1;
    }
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #append(text: string): void {
    const bytes = Buffer.from(text);
    if (this.#descriptor === undefined) this.#open();
    if (this.#bytes + bytes.byteLength > this.#bytesMax && this.#bytes > 0) this.#rotate();
    if (this.#descriptor !== undefined) writeSync(this.#descriptor, bytes);
    this.#bytes += bytes.byteLength;
  }

  #open(): void {
    this.#descriptor = openSync(this.#path, 'a', 0o600);
    this.#bytes = fstatSync(this.#descriptor).size;
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`);
    this.close();
    this.#open();
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
