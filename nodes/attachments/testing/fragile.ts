/** A thread for tests: says what it knows and was given, counts what it is told to, and dies when it is told to. */
import { createServer } from 'node:http';
import process from 'node:process';
import { resourceLimits } from 'node:worker_threads';
import { accountNameSchema, functionNameSchema } from '#shared/ids.ts';
import type { UsageEntry } from '#shared/usage/reporter.ts';
import type { StateEntry } from '../protocol.ts';
import { runThread } from '../run-thread.ts';

await runThread<string>((_data, _log, refused) => {
  const known = new Map<string, unknown>();
  const used: UsageEntry[] = [];
  return Promise.resolve({
    serve: ({ instanceId, target }) =>
      createServer((incoming, outgoing) => {
        const [, verb = '', word = ''] = incoming.url?.split('/') ?? [];
        // In a thread this ends the thread.
        if (verb === 'die') process.exit(1);
        if (verb === 'use')
          used.push({
            account: accountNameSchema.parse('default'),
            function: functionNameSchema.parse(word),
            amounts: { egressRequests: 1 },
          });
        if (verb === 'refuse') refused(instanceId, word, 'r1');
        const given = { env: process.env, execArgv: process.execArgv, resourceLimits };
        outgoing.end(
          JSON.stringify(verb === 'given' ? given : { instanceId, target, known: Object.fromEntries(known) }),
        );
      }),
    state: (entries: readonly StateEntry[]) => {
      for (const { key, value } of entries) known.set(key, value);
    },
    answer: (question) => Promise.resolve({ question }),
    usage: () => used.splice(0),
    close: () => Promise.resolve(),
  });
});
