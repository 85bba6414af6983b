/** Entry of the egress thread: traffic never delays the agent's own loop, which watches over CPU time. */
import process from 'node:process';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { EgressHost } from './host.node.ts';
import type { EgressSettings, ToEgress } from './messages.ts';

const port = parentPort;
if (port === null) throw new Error('this file runs as a thread of the agent');

const host = new EgressHost({
  settings: workerData as EgressSettings,
  clock: systemClock,
  timers: systemTimers,
  tell: (message) => port.postMessage(message),
});

port.on('message', (message: ToEgress) => {
  switch (message.type) {
    case 'attach':
      void host.attach(message.spec);
      return;
    case 'detach':
      host.detach(message.instanceId);
      return;
    case 'secret':
      host.setSecret(message.key, message.sealed);
      return;
    case 'close':
      host.close();
      // Messages that were posted are delivered before the thread is reported as ended.
      port.close();
      setImmediate(() => process.exit(0));
  }
});
