/** Thread of a kind that the platform does not have: says what it was told of the binding, after a while if it is told to. */
import { createServer } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { runThread } from '../run-thread.ts';

await runThread(async (data) => {
  await pause((data as { readonly comesUpMs: number }).comesUpMs);
  return {
    serve: ({ instanceId, target }) =>
      createServer((_incoming, outgoing) => outgoing.end(JSON.stringify({ data, instanceId, target }))),
    answer: (question) => Promise.resolve({ asked: question }),
    close: () => Promise.resolve(),
  };
});
