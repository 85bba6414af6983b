/** A binding thread for tests: says what it knows, and dies when it is told to. */
import { createServer } from 'node:http';
import process from 'node:process';
import type { StateEntry } from '../protocol.ts';
import { runThread } from '../run-thread.node.ts';

await runThread<string>(() => {
  const known = new Map<string, unknown>();
  return Promise.resolve({
    serve: ({ instanceId, target }) =>
      createServer((incoming, outgoing) => {
        // In a thread this ends the thread.
        if (incoming.url === '/die') process.exit(1);
        outgoing.end(JSON.stringify({ instanceId, target, known: Object.fromEntries(known) }));
      }),
    state: (entries: readonly StateEntry[]) => {
      for (const { key, value } of entries) known.set(key, value);
    },
    answer: (question) => Promise.resolve({ question }),
    close: () => Promise.resolve(),
  });
});
