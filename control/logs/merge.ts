/** Logs of one function from all nodes, with stacks mapped to the sources of their version. */
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { PlatformError } from '#shared/errors.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { LogQuery, NodePort } from '../nodes.ts';
import type { StackMapper } from './mapper.ts';
import { othersTurn } from './turns.ts';

/** Text that is mapped before others have their turn: it costs a millisecond at most. */
const TURN_CHARACTERS = 32 * 1_024;
/** Entries that wait for a slow reader of a followed log; then its connection is cut. */
const BUFFERED_MAX = 10_000;

export interface LogDeps {
  readonly nodes: readonly NodePort[];
  readonly log: Log;
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
    let characters = 0;
    for await (const entry of entries) {
      characters += entry.message.length + (entry.stack?.length ?? 0);
      if (characters > TURN_CHARACTERS) {
        characters = 0;
        await othersTurn();
      }
      yield encoder.encode(`${JSON.stringify(await deps.mapper.map(entry))}\n`);
    }
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
