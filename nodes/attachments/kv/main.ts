/** Thread of the KV bindings: libSQL's synchronous calls block it, and nothing else of the node. */
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { Shares } from '#shared/shares.ts';
import { BindingFronts } from '../front.ts';
import { runThread } from '../run-thread.ts';
import type { KvData, KvTarget } from './kind.ts';
import { Quotas } from './quota.ts';
import { Line } from './line.ts';
import { answerKv } from './questions.ts';
import { kvServer, servePlainKv, type KvServerDeps } from './serve.ts';
import { KvStore } from './store.ts';

const SWEEP_MS = 10_000;
const SWEEP_PAUSE_MS = 20;
/** A server is asked over the network, which blocks nothing. */
const NO_LINE: KvServerDeps['line'] = { run: async (_account, work) => work() };

await runThread<KvTarget>(async (data, log) => {
  const clock = systemClock;
  const timers = systemTimers;
  const store = await KvStore.open({ ...(data as KvData), clock, timers, random: Math.random });
  const { url, bytesMax } = data as KvData;
  // One account alone must not fill the file; a server has an operator of its own.
  const quotas = new Quotas(url.startsWith('file:') ? Math.floor(bytesMax / 4) : undefined);
  const requests = new Shares('kv.requests');
  const bodies = new Shares('kv.bodies');
  const line = url.startsWith('file:')
    ? new Line({ clock, breathe: () => new Promise((resolve) => setImmediate(resolve)) })
    : NO_LINE;
  const storeOf = (account: string): KvServerDeps['store'] => ({
    get: (namespace, key) => store.get(namespace, key),
    list: (namespace, request) => store.list(namespace, request),
    delete: (namespace, key) => store.delete(namespace, key, account),
    put: (namespace, key, entry) => store.put(namespace, key, entry, quotas.of(account)),
  });
  let sweeping: Promise<void> | undefined;
  const closing = new AbortController();
  const sweep = async (): Promise<void> => {
    try {
      while (!closing.signal.aborted && (await store.sweep()))
        await new Promise<void>((resolve) => timers.after(SWEEP_PAUSE_MS, resolve));
    } catch (thrown) {
      log.warn('kv_sweep_failed', { error: thrown });
    } finally {
      sweeping = undefined;
    }
  };
  const timer = timers.every(SWEEP_MS, () => {
    sweeping ??= sweep();
  });
  const fronts = new BindingFronts({ clock, timers });
  return {
    serve: ({ target }) => {
      const deps = { store: storeOf(target.account), clock, timers, log, requests, bodies, line };
      const server = kvServer(deps, target);
      fronts.putBefore(server, servePlainKv(deps, target));
      return server;
    },
    state: (entries) => quotas.apply(entries),
    answer: (question) => answerKv({ store, quotas }, question, Math.floor(clock.wallMs() / 1_000)),
    close: async () => {
      closing.abort();
      timer.cancel();
      fronts.close();
      await sweeping;
      await store.close();
    },
  };
});
