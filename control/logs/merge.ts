/** Logs of one function from all nodes, with stacks mapped to the sources of their version. */
import type { TraceMap } from '@jridgewell/trace-mapping';
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { PlatformError } from '#shared/errors.ts';
import { SharedCache } from '#shared/shared-cache.ts';
import { Shares } from '#shared/shares.ts';
import { parseVersionId, type VersionId } from '#shared/ids.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { BlobStore } from '../blobs/store.ts';
import type { Database } from '../db/database.ts';
import { findVersion } from '../db/versions.ts';
import type { LogQuery, NodePort } from '../nodes.ts';
import { mapStackWith, parseMap } from './source-maps.ts';

/** Decoded maps take several times their size; bound by the size of the encoded form. */
const ENTRY_BYTES = 1_024;
/** Entries that wait for a slow reader of a followed log; then its connection is cut. */
const BUFFERED_MAX = 10_000;

export interface LogDeps {
  readonly db: Database;
  readonly blobs: BlobStore;
  readonly nodes: readonly NodePort[];
  readonly log: Log;
}

const FRAME_BEGIN = /\n\s+at /;

export class StackMapper {
  readonly #deps: Pick<LogDeps, 'db' | 'blobs' | 'log'>;
  readonly #cache = new SharedCache<{ readonly map: TraceMap | undefined; readonly bytes: number }>(
    new Shares('control.maps'),
    ({ bytes }) => bytes,
  );

  constructor(deps: Pick<LogDeps, 'db' | 'blobs' | 'log'>) {
    this.#deps = deps;
  }

  async map(entry: LogEntry): Promise<LogEntry> {
    // `console.error(error)` has its stack in the message.
    const inMessage = FRAME_BEGIN.test(entry.message);
    if (entry.stack === undefined && !inMessage) return entry;
    const mapped = (text: string): Promise<string> =>
      mapStackWith(text, (name) => this.#mapOf(entry.versionId, name));
    try {
      return {
        ...entry,
        ...(inMessage ? { message: await mapped(entry.message) } : {}),
        ...(entry.stack === undefined ? {} : { stack: await mapped(entry.stack) }),
      };
    } catch (thrown) {
      this.#deps.log.warn('stack_not_mapped', { version: entry.versionId, error: thrown });
      return entry;
    }
  }

  async #mapOf(id: VersionId, moduleName: string): Promise<TraceMap | undefined> {
    const key = `${id} ${moduleName}`;
    const { account, functionName, number } = parseVersionId(id);
    const cached = this.#cache.get(account, key);
    if (cached !== undefined) return cached.map;
    const row = await this.#deps.db.read((orm) => findVersion(orm, { account, functionName }, number));
    const digest =
      row !== undefined && Object.hasOwn(row.maps, moduleName) ? row.maps[moduleName] : undefined;
    const content = digest === undefined ? undefined : await this.#deps.blobs.get(digest);
    const map = content === undefined ? undefined : parseMap(content);
    // An entry of nothing costs too.
    this.#cache.set(account, key, { map, bytes: ENTRY_BYTES + (content?.byteLength ?? 0) });
    return map;
  }
}

/** Everything that the nodes hold now, oldest first, the newest `tail` entries. */
async function collect(deps: LogDeps, query: LogQuery, signal: AbortSignal): Promise<readonly LogEntry[]> {
  let reached = 0;
  const perNode = await Promise.all(
    deps.nodes.map(async (node) => {
      const entries: LogEntry[] = [];
      try {
        for await (const entry of node.logs({ ...query, follow: false }, signal)) {
          entries.push(entry);
          if (entries.length > query.tail) entries.shift();
        }
        reached += 1;
      } catch (thrown) {
        deps.log.warn('logs_unreachable', { node: node.nodeId, error: thrown });
      }
      return entries;
    }),
  );
  if (reached === 0) throw new PlatformError('node_unavailable', 'no node answers for logs');
  return perNode
    .flat()
    .sort((left, right) => left.atMs - right.atMs)
    .slice(-query.tail);
}

/** Entries of all nodes as they arrive; ends when every node has ended or `signal` fires. */
async function* follow(deps: LogDeps, query: LogQuery, signal: AbortSignal): AsyncGenerator<LogEntry> {
  const buffered: LogEntry[] = [];
  let open = deps.nodes.length;
  let overflow = false;
  let wake: () => void = () => undefined;
  signal.addEventListener('abort', () => wake(), { once: true });
  for (const node of deps.nodes) {
    const pump = async (): Promise<void> => {
      try {
        for await (const entry of node.logs(query, signal)) {
          if (buffered.length >= BUFFERED_MAX) {
            overflow = true;
            return;
          }
          buffered.push(entry);
          wake();
        }
      } catch (thrown) {
        if (!signal.aborted) deps.log.warn('logs_unreachable', { node: node.nodeId, error: thrown });
      } finally {
        open -= 1;
        wake();
      }
    };
    void pump();
  }
  for (;;) {
    const entry = buffered.shift();
    if (entry !== undefined) yield entry;
    else if (open === 0 || overflow || signal.aborted) return;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}

/** NDJSON of log entries. Follow mode ends when the client goes away. */
export async function logStream(
  deps: LogDeps & { readonly mapper: StackMapper },
  query: LogQuery,
  clientGone: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, clientGone]);
  const entries: AsyncIterable<LogEntry> | Iterable<LogEntry> = query.follow
    ? follow(deps, query, signal)
    : await collect(deps, query, signal);
  const encoder = new TextEncoder();
  const lines = (async function* () {
    for await (const entry of entries)
      yield encoder.encode(`${JSON.stringify(await deps.mapper.map(entry))}\n`);
  })();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await lines.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      stop.abort();
      await lines.return(undefined);
    },
  });
}
