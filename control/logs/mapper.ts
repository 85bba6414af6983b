/** Stacks in log entries, with the source maps of the versions that wrote them. */
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { PlatformError } from '#shared/errors.ts';
import { parseVersionId, type VersionId } from '#shared/ids.ts';
import { Permits } from '#shared/permits.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import { SharedCache } from '#shared/shared-cache.ts';
import { Shares } from '#shared/shares.ts';
import type { BlobStore } from '../blobs/store.ts';
import type { Database } from '../db/database.ts';
import { findVersion } from '../db/versions.ts';
import { readMap, type MapIndex } from './map-index.ts';
import { mapStack } from './source-maps.ts';
import { inTurns } from './turns.ts';

export interface MapperDeps {
  readonly db: Database;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  readonly log: Log;
}

interface Remembered {
  readonly map: MapIndex | undefined;
  /** Monotonic: there was no room for the map, and there may be some later. */
  readonly untilMs: number;
}

/** An entry of nothing costs too. */
const ENTRY_BYTES = 1_024;
/** A map that finds no room is not read again for each entry of a log. */
const NO_ROOM_MS = 60_000;
/** `console.error(error)` has its stack in the message. */
const FRAME_IN_TEXT = /\n[ \t]{1,64}at /;

const sizeOf = ({ map }: Remembered): number => ENTRY_BYTES + (map?.bytes ?? 0);

export class StackMapper {
  readonly #deps: MapperDeps;
  readonly #room: Shares;
  readonly #remembered: SharedCache<Remembered>;
  readonly #reading = new Permits({
    permits: new Shares('control.mapReads'),
    places: new Shares('control.mapReadPlaces'),
    goneCode: 'control_unavailable',
  });

  constructor(deps: MapperDeps, room = new Shares('control.maps')) {
    this.#deps = deps;
    this.#room = room;
    this.#remembered = new SharedCache(room, sizeOf);
  }

  async map(entry: LogEntry): Promise<LogEntry> {
    const inMessage = FRAME_IN_TEXT.test(entry.message);
    if (entry.stack === undefined && !inMessage) return entry;
    const mapped = (text: string): Promise<string> =>
      mapStack(text, (name) => this.#mapOf(entry.versionId, name));
    try {
      return {
        ...entry,
        ...(inMessage ? { message: await mapped(entry.message) } : {}),
        ...(entry.stack === undefined ? {} : { stack: await mapped(entry.stack) }),
      };
    } catch (thrown) {
      // Too many of the account's are being read: no news for the operator.
      if (thrown instanceof PlatformError && thrown.code === 'share_full') return entry;
      this.#deps.log.warn('stack_not_mapped', { version: entry.versionId, error: thrown });
      return entry;
    }
  }

  async #mapOf(id: VersionId, moduleName: string): Promise<MapIndex | undefined> {
    const { account } = parseVersionId(id);
    const key = `${id} ${moduleName}`;
    const known = this.#known(account, key);
    if (known !== undefined) return known.map;
    return this.#reading.run(account, NEVER, async () => {
      // Others may have waited for the same one.
      const read = this.#known(account, key);
      if (read !== undefined) return read.map;
      const map = await this.#read(id, moduleName);
      this.#remember(account, key, map);
      return map;
    });
  }

  #known(account: string, key: string): Remembered | undefined {
    const remembered = this.#remembered.get(account, key);
    return remembered !== undefined && remembered.untilMs > this.#deps.clock.monotonicMs()
      ? remembered
      : undefined;
  }

  #remember(account: string, key: string, map: MapIndex | undefined): void {
    const whole = { map, untilMs: Number.POSITIVE_INFINITY };
    const most = this.#room.heldBy(account) + this.#room.roomOf(account);
    if (sizeOf(whole) <= most) return void this.#remembered.set(account, key, whole);
    const untilMs = this.#deps.clock.monotonicMs() + NO_ROOM_MS;
    this.#remembered.set(account, key, { map: undefined, untilMs });
  }

  async #read(id: VersionId, moduleName: string): Promise<MapIndex | undefined> {
    const { account, functionName, number } = parseVersionId(id);
    const row = await this.#deps.db.read((orm) => findVersion(orm, { account, functionName }, number));
    const digest =
      row !== undefined && Object.hasOwn(row.maps, moduleName) ? row.maps[moduleName] : undefined;
    const content = digest === undefined ? undefined : await this.#deps.blobs.get(digest);
    return content === undefined ? undefined : inTurns(readMap(content));
  }
}

const NEVER = new AbortController().signal;
