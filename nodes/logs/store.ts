/**
 * Logs of functions: a bounded ring each in memory, bounded files on disk, bounded streams to followers.
 *
 * Files are written in batches, so a crash of the agent loses at most the last moment; a function's ring
 * is read back from its files when it is first needed.
 */
import { appendFile, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { logEntrySchema, type LogEntry } from '#shared/contracts/nodes.ts';
import type { VersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import { Shares } from '#shared/shares.ts';
import { ByteBucket } from './bucket.ts';

export interface LogStoreOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  /** Memory of all rings together, in UTF-16 units. */
  readonly unitsMax?: number;
}

const UNITS_MAX = 32 * 1_048_576;
const FILE_BYTES_MAX = 512 * 1_024;
const FILES_MAX = 4_000;
const FLUSH_MS = 500;
const FOLLOWER_ENTRIES_MAX = 1_000;
const FOLLOWERS_PER_FUNCTION_MAX = 32;

interface Follower {
  readonly entry: (entry: LogEntry) => void;
}

interface FunctionLog {
  readonly key: string;
  readonly bucket: ByteBucket;
  readonly followers: Set<Follower>;
  loaded: Promise<void>;
  entries: LogEntry[];
  units: number;
  pending: LogEntry[];
  /** Entries that were not kept for the disk since the last that was. */
  unpersisted: number;
}

const unitsOf = (entry: LogEntry): number => 200 + entry.message.length + (entry.stack?.length ?? 0);

export class LogStore {
  readonly #options: LogStoreOptions;
  /** In order of use, oldest first. */
  readonly #functions = new Map<string, FunctionLog>();
  #units = 0;
  /** Entries that wait for the disk, in UTF-16 units; those beyond a share are not persisted. */
  readonly #pending = new Shares('node.logs');
  #flushTimer: Timer | undefined;
  #flushing: Promise<void> = Promise.resolve();

  #lost = 0;

  private constructor(options: LogStoreOptions) {
    this.#options = options;
  }

  static async open(options: LogStoreOptions): Promise<LogStore> {
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    await removeOldest(options.folder);
    return new LogStore(options);
  }

  /** The allowance of the function that a version belongs to, shared by its instances; the newest version sets it. */
  bucketOf(versionId: VersionId, bytesPerSecond: number): ByteBucket {
    const { bucket } = this.#functionOf(keyOf(versionId));
    bucket.setRate(bytesPerSecond);
    return bucket;
  }

  /** Entries that the disk refused. */
  get lost(): number {
    return this.#lost;
  }

  append(entry: LogEntry): void {
    const log = this.#functionOf(keyOf(entry.versionId));
    this.#add(log, entry);
    this.#persistLater(log, entry);
    for (const follower of log.followers) follower.entry(entry);
    this.#bound(log);
    this.#flushTimer ??= this.#options.timers.after(FLUSH_MS, () => {
      this.#flushTimer = undefined;
      void this.flush();
    });
  }

  /** Made into text when it is written: of a flood, much is gone by then. */
  #persistLater(log: FunctionLog, entry: LogEntry): void {
    const units = unitsOf(entry);
    if (!this.#pending.take(accountOf(log.key), units)) {
      log.unpersisted += 1 + (entry.dropped ?? 0);
      return;
    }
    const lost = log.unpersisted;
    log.unpersisted = 0;
    log.pending.push(lost === 0 ? entry : { ...entry, dropped: (entry.dropped ?? 0) + lost });
  }

  /** The newest `tail` entries, oldest first. */
  async tail(account: string, functionName: string, tail: number): Promise<readonly LogEntry[]> {
    const log = this.#functionOf(`${account}.${functionName}`);
    await log.loaded;
    return tail <= 0 ? [] : log.entries.slice(-tail);
  }

  /**
   * The newest entries and what follows, until `signal`. A reader that is too slow loses entries; the
   * next one says how many.
   */
  follow(
    query: { account: string; functionName: string; tail: number },
    signal: AbortSignal,
  ): ReadableStream<Uint8Array> {
    const log = this.#functionOf(`${query.account}.${query.functionName}`);
    const encoder = new TextEncoder();
    let dropped = 0;
    let follower: Follower | undefined;
    const stop = (): void => {
      if (follower !== undefined) log.followers.delete(follower);
    };
    return new ReadableStream<Uint8Array>(
      {
        start: async (controller) => {
          for (const entry of await this.tail(query.account, query.functionName, query.tail))
            controller.enqueue(encoder.encode(`${JSON.stringify(entry)}\n`));
          if (signal.aborted || log.followers.size >= FOLLOWERS_PER_FUNCTION_MAX) {
            controller.close();
            return;
          }
          follower = {
            entry: (entry) => {
              if ((controller.desiredSize ?? 0) <= -FOLLOWER_ENTRIES_MAX) {
                dropped += 1 + (entry.dropped ?? 0);
                return;
              }
              const lost = dropped + (entry.dropped ?? 0);
              dropped = 0;
              const line = lost === 0 ? entry : { ...entry, dropped: lost };
              controller.enqueue(encoder.encode(`${JSON.stringify(line)}\n`));
            },
          };
          log.followers.add(follower);
          signal.addEventListener('abort', () => {
            stop();
            try {
              controller.close();
            } catch {
              // The reader cancelled first.
            }
          });
        },
        cancel: stop,
      },
      { highWaterMark: 16 },
    );
  }

  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#flushAll());
    return this.#flushing;
  }

  async close(): Promise<void> {
    this.#flushTimer?.cancel();
    await this.flush();
  }

  #functionOf(key: string): FunctionLog {
    const known = this.#functions.get(key);
    if (known !== undefined) {
      this.#functions.delete(key);
      this.#functions.set(key, known);
      return known;
    }
    const log: FunctionLog = {
      key,
      bucket: new ByteBucket(LIMITS.logBytesPerSecondMax, this.#options.clock.monotonicMs()),
      followers: new Set(),
      entries: [],
      units: 0,
      pending: [],
      unpersisted: 0,
      loaded: Promise.resolve(),
    };
    this.#functions.set(key, log);
    log.loaded = this.#fillFromDisk(log);
    return log;
  }

  async #fillFromDisk(log: FunctionLog): Promise<void> {
    const older = await this.#load(log.key);
    const newer = log.entries;
    this.#units -= log.units;
    log.entries = [];
    log.units = 0;
    for (const entry of [...older, ...newer]) this.#add(log, entry);
  }

  #add(log: FunctionLog, entry: LogEntry): void {
    log.entries.push(entry);
    const units = unitsOf(entry);
    log.units += units;
    this.#units += units;
    // Cut in bulk: shifting one at a time would copy the ring for every line of a flood.
    if (log.entries.length > LIMITS.logEntriesPerFunctionMax * 1.25)
      this.#drop(log, log.entries.length - LIMITS.logEntriesPerFunctionMax);
  }

  #drop(log: FunctionLog, count: number): void {
    for (const entry of log.entries.splice(0, count)) {
      const units = unitsOf(entry);
      log.units -= units;
      this.#units -= units;
    }
  }

  /** Over the bound of all rings, the functions that were used longest ago are forgotten (disk keeps them). */
  #bound(current: FunctionLog): void {
    const unitsMax = this.#options.unitsMax ?? UNITS_MAX;
    for (const log of this.#functions.values()) {
      if (this.#units <= unitsMax) return;
      if (log === current || log.pending.length > 0 || log.followers.size > 0) continue;
      this.#units -= log.units;
      this.#functions.delete(log.key);
    }
    while (this.#units > unitsMax && current.entries.length > 1)
      this.#drop(current, Math.ceil(current.entries.length / 2));
  }

  async #flushAll(): Promise<void> {
    for (const log of this.#functions.values()) {
      if (log.pending.length === 0) continue;
      await log.loaded;
      const batch = log.pending;
      log.pending = [];
      const text = `${batch.map((entry) => JSON.stringify(entry)).join('\n')}\n`;
      for (const entry of batch) this.#pending.give(accountOf(log.key), unitsOf(entry));
      try {
        await this.#write(log.key, text);
      } catch (thrown) {
        this.#lost += batch.length;
        this.#options.log.warn('logs_not_persisted', { entries: batch.length, error: thrown });
      }
    }
  }

  async #write(key: string, text: string): Promise<void> {
    const path = this.#path(key);
    const size = await stat(path).then(
      (info) => info.size,
      () => 0,
    );
    if (size > FILE_BYTES_MAX) await rename(path, `${path}.1`);
    await appendFile(path, text, { mode: 0o600 });
  }

  async #load(key: string): Promise<LogEntry[]> {
    const texts = await Promise.all(
      [`${this.#path(key)}.1`, this.#path(key)].map((path) => readFile(path, 'utf8').catch(() => '')),
    );
    return texts
      .join('')
      .split('\n')
      .slice(-LIMITS.logEntriesPerFunctionMax - 1)
      .flatMap((line) => {
        try {
          return [logEntrySchema.parse(JSON.parse(line))];
        } catch {
          return []; // a torn line of a crash
        }
      });
  }

  #path(key: string): string {
    return join(this.#options.folder, `${key}.ndjson`);
  }
}

function accountOf(key: string): string {
  return key.slice(0, key.indexOf('.'));
}

/** `default/hello@3` → `default.hello`. Called for every line, so the id is not parsed again. */
function keyOf(versionId: VersionId): string {
  const slash = versionId.indexOf('/');
  return `${versionId.slice(0, slash)}.${versionId.slice(slash + 1, versionId.lastIndexOf('@'))}`;
}

async function removeOldest(folder: string): Promise<void> {
  const names = await readdir(folder);
  if (names.length <= FILES_MAX) return;
  const files = await Promise.all(
    names.map(async (name) => ({ name, usedMs: (await stat(join(folder, name))).mtimeMs })),
  );
  files.sort((a, b) => a.usedMs - b.usedMs);
  for (const { name } of files.slice(0, files.length - FILES_MAX))
    await rm(join(folder, name), { force: true });
}
