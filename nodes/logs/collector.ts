/**
 * Output of one instance on its way to the store: split, metered, parsed. Reading never stops, because a
 * process whose pipe is full hangs; what is over the allowance is counted and thrown away.
 */
import type { LogEntry } from '#shared/contracts/nodes.ts';
import type { VersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import { stackLine } from '../slots/stderr.ts';
import { Attribution } from './attribution.ts';
import type { ByteBucket } from './bucket.ts';
import { LineSplitter } from './lines.ts';
import { parseExportsLine, parseStderrLine, parseStdoutLine, type ParsedLine } from './parse.ts';

export interface CollectorOptions {
  /** Of the instance's program: begins the lines of its entry code. */
  readonly mark: string;
  readonly instanceId: string;
  readonly versionId: VersionId;
  readonly bucket: ByteBucket;
  readonly append: (entry: LogEntry) => void;
  /** JSON of what the started module exports. */
  readonly onExports?: (json: string) => void;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** A JSON line is longer than its message: escapes and our keys. */
const LINE_BYTES_MAX = 2 * LIMITS.logEntryBytesMax;
const STACK_LINES_MAX = 50;
const STACK_WAIT_MS = 50;
const DROP_REPORT_MS = 1_000;

/**
 * V8 makes a part of a string a view that keeps the whole alive: here the read of up to 64 KB that a line came
 * with, of which a flood's other lines are thrown away. What stays in memory must own its text.
 */
function ownText(text: string): string {
  return Buffer.from(text, 'utf8').toString('utf8');
}

function owned(parsed: ParsedLine): ParsedLine {
  const { requestId, stack } = parsed;
  return {
    ...parsed,
    message: ownText(parsed.message),
    ...(requestId === undefined ? {} : { requestId: ownText(requestId) }),
    ...(stack === undefined ? {} : { stack: ownText(stack) }),
  };
}

export class LogCollector {
  readonly #options: CollectorOptions;
  readonly #stdout: LineSplitter;
  readonly #stderr: LineSplitter;
  readonly #attribution: Attribution;
  #dropped = 0;
  #dropTimer: Timer | undefined;
  #openTimer: Timer | undefined;
  /** An error of workerd whose indented lines are still coming. */
  #open: { readonly parsed: ParsedLine; readonly stack: string[] } | undefined;

  constructor(options: CollectorOptions) {
    this.#options = options;
    this.#attribution = new Attribution(options.clock, options.timers, (parsed) => this.#add(parsed));
    this.#stdout = new LineSplitter(LINE_BYTES_MAX, {
      line: (text, cut) => this.#accept(text, cut),
    });
    this.#stderr = new LineSplitter(LINE_BYTES_MAX, { line: (text, cut) => this.#stderrLine(text, cut) });
  }

  stdout(chunk: Uint8Array): void {
    this.#push(this.#stdout, chunk);
  }

  stderr(chunk: Uint8Array): void {
    this.#push(this.#stderr, chunk);
    // A stack may be torn over chunks: it is waited for a moment.
    if (this.#open !== undefined)
      this.#openTimer ??= this.#options.timers.after(STACK_WAIT_MS, () => this.#closeOpen());
  }

  /** The runtime ended a request: what it says of that is the request's. */
  broken(requestId: string): void {
    this.#closeOpen();
    this.#attribution.request(ownText(requestId));
  }

  /** Something the platform did, for the function's owner to read. Not metered. */
  platform(message: string, requestId?: string): void {
    this.#add({
      kind: 'platform',
      level: 'error',
      message,
      ...(requestId === undefined ? {} : { requestId }),
    });
  }

  end(): void {
    this.#stdout.end();
    this.#stderr.end();
    this.#closeOpen();
    this.#attribution.end();
    this.#reportDropped();
  }

  #push(splitter: LineSplitter, chunk: Uint8Array): void {
    if (this.#options.bucket.isEmpty(this.#options.clock.monotonicMs())) this.#drop(splitter.skip(chunk));
    else splitter.push(chunk);
  }

  #stderrLine(text: string, cut: boolean): void {
    if (text === '') return;
    if (/^\s/.test(text) && this.#open !== undefined) {
      if (this.#open.stack.length < STACK_LINES_MAX) this.#open.stack.push(stackLine(text));
      return;
    }
    const parsed = parseStderrLine(text);
    if (parsed === undefined) return;
    this.#closeOpen();
    if (!this.#options.bucket.take(text.length, this.#options.clock.monotonicMs())) this.#drop(1);
    else this.#open = { parsed: truncate(parsed, cut), stack: [] };
  }

  #closeOpen(): void {
    this.#openTimer?.cancel();
    this.#openTimer = undefined;
    if (this.#open === undefined) return;
    const { parsed, stack } = this.#open;
    this.#open = undefined;
    const whole = stack.length === 0 ? parsed : { ...parsed, stack: [parsed.message, ...stack].join('\n') };
    if (whole.kind === 'exception') this.#attribution.line(whole);
    else this.#add(whole);
  }

  #accept(text: string, cut: boolean): void {
    if (text === '') return;
    const { mark } = this.#options;
    const exported = parseExportsLine(text, mark);
    if (exported !== undefined) return this.#options.onExports?.(exported);
    if (this.#options.bucket.take(text.length, this.#options.clock.monotonicMs()))
      this.#add(owned(truncate(parseStdoutLine(text, mark), cut)));
    else this.#drop(1);
  }

  #drop(count: number): void {
    if (count === 0) return;
    this.#dropped += count;
    this.#dropTimer ??= this.#options.timers.after(DROP_REPORT_MS, () => this.#reportDropped());
  }

  #reportDropped(): void {
    this.#dropTimer?.cancel();
    this.#dropTimer = undefined;
    if (this.#dropped > 0)
      this.#add({
        kind: 'platform',
        level: 'warn',
        message: 'The function wrote more log than it may; entries were dropped.',
      });
  }

  #add(parsed: ParsedLine): void {
    const { clock, versionId, instanceId, append } = this.#options;
    const entry: LogEntry = { atMs: clock.wallMs(), versionId, instanceId, ...parsed };
    if (this.#dropped === 0) return append(entry);
    append({ ...entry, dropped: this.#dropped });
    this.#dropped = 0;
  }
}

function truncate(parsed: ParsedLine, cut: boolean): ParsedLine {
  if (!cut && parsed.message.length <= LIMITS.logEntryBytesMax && parsed.stack === undefined) return parsed;
  const shorten = (text: string): string =>
    text.length > LIMITS.logEntryBytesMax ? `${text.slice(0, LIMITS.logEntryBytesMax - 1)}…` : text;
  return {
    ...parsed,
    message: cut
      ? `${shorten(parsed.message).slice(0, LIMITS.logEntryBytesMax - 12)}… (cut)`
      : shorten(parsed.message),
    ...(parsed.stack === undefined ? {} : { stack: shorten(parsed.stack) }),
  };
}
