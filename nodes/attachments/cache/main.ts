/** Thread of the cache: what it holds is lost with it, which costs its readers time and nothing else. */
import { systemClock } from '#shared/runtime/clock.ts';
import { SharedCache } from '#shared/shared-cache.ts';
import { Shares } from '#shared/shares.ts';
import { runThread } from '../run-thread.ts';
import type { CacheTarget } from './kind.ts';
import { sizeOf, type Stored } from './rules.ts';
import { cacheServer, keyPrefix } from './serve.ts';

await runThread<CacheTarget>((_data, log) => {
  const deps = {
    entries: new SharedCache<Stored>(new Shares('node.cache'), sizeOf),
    bodies: new Shares('cache.bodies'),
    requests: new Shares('cache.requests'),
    clock: systemClock,
    log,
  };
  return Promise.resolve({
    serve: ({ target }) => cacheServer(deps, target),
    state: (changes) => {
      for (const { key, value } of changes) {
        if (value !== undefined) continue;
        const account = key.slice(0, key.indexOf('/'));
        deps.entries.deleteWhere(account, (name) => name.startsWith(keyPrefix(key)));
      }
    },
    close: () => Promise.resolve(),
  });
});
