/** The node agent, whose event loop stands still from when it is told so: it is alive, and does nothing. */
import process from 'node:process';

process.on('message', (message) => {
  if (typeof message !== 'object' || message === null || !('hang' in message)) return;
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
await import('../../nodes/main.ts');
