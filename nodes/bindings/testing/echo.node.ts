/** Thread of a kind that the platform does not have: says what it was told of the binding. */
import { createServer } from 'node:http';
import { runThread } from '../run-thread.node.ts';

await runThread((data) =>
  Promise.resolve({
    serve: ({ instanceId, target }) =>
      createServer((_incoming, outgoing) => outgoing.end(JSON.stringify({ data, instanceId, target }))),
    answer: (question) => Promise.resolve({ asked: question }),
    close: () => Promise.resolve(),
  }),
);
