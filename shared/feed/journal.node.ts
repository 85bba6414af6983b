/**
 * A consumer's copy of the feed on disk: a snapshot line, then delta lines, rewritten when the deltas
 * outgrow the snapshot.
 *
 * Each line begins with a checksum of the rest: one that was changed in place is as good as torn.
 *
 * Lines are not synced to the platter: after a power cut the journal may end earlier, and the feed sends
 * the missing revisions again. A torn or damaged tail is cut off for the same reason.
 */
import { appendFile, readFile, rename, writeFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { FeedLine } from '../contracts/feed.ts';
import type { Log } from '../runtime/log.ts';
import { readLineSchema } from './read.ts';
import { FeedState } from './state.ts';

const COMPACT_BYTES_MIN = 1_048_576;

export class FeedJournal {
  readonly #path: string;
  #snapshotBytes = 0;
  #deltaBytes = 0;
  /** A line is not in the file, or not whole: none may follow it there. */
  #torn = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** Reads what the last run persisted. Missing and damaged files give an empty or older state, never an error. */
  async load(log: Log): Promise<FeedState> {
    const state = new FeedState();
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT')
        log.warn('feed_journal_unreadable', { error: thrown });
      return state;
    }
    for (const [index, line] of text.split('\n').entries()) {
      if (line === '') continue;
      const parsed = parseLine(line);
      // The first line must be a snapshot, otherwise deltas would stand on nothing.
      if (parsed === undefined || (index === 0 && parsed.type !== 'snapshot')) {
        log.warn('feed_journal_cut', { line: index + 1 });
        break;
      }
      state.apply(parsed);
    }
    state.restored();
    if (state.epoch === '') return state;
    try {
      await this.#rewrite(state);
    } catch (thrown) {
      // A full disk: what was read is right, and the file is as it was. The next line rewrites it.
      this.#snapshotBytes = 0;
      this.#deltaBytes = COMPACT_BYTES_MIN;
      log.error('feed_journal_write_failed', { error: thrown });
    }
    return state;
  }

  /** Persists a line that `state` has just applied. */
  async append(line: FeedLine, state: FeedState): Promise<void> {
    if (line.type === 'bookmark') return;
    const text = journalLine(line);
    if (
      this.#torn ||
      line.type === 'snapshot' ||
      this.#deltaBytes + text.length > Math.max(COMPACT_BYTES_MIN, this.#snapshotBytes)
    ) {
      await this.#rewrite(state);
      return;
    }
    this.#torn = true;
    await appendFile(this.#path, text, { mode: 0o600 });
    this.#torn = false;
    this.#deltaBytes += text.length;
  }

  async #rewrite(state: FeedState): Promise<void> {
    this.#torn = true;
    const text = journalLine(state.toSnapshot());
    await writeFile(`${this.#path}.new`, text, { mode: 0o600 });
    await rename(`${this.#path}.new`, this.#path);
    this.#torn = false;
    this.#snapshotBytes = text.length;
    this.#deltaBytes = 0;
  }
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}

/** A line as the journal holds it. */
export function journalLine(line: FeedLine): string {
  const text = JSON.stringify(line);
  return `${checksum(text)} ${text}\n`;
}

function parseLine(line: string): FeedLine | undefined {
  const text = line.slice(9);
  if (line.slice(0, 9) !== `${checksum(text)} `) return undefined;
  try {
    return readLineSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
