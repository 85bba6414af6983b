/** Thread of the rate-limit bindings. Its counts end with it: limits then begin anew. */
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { runThread } from '../run-thread.ts';
import { rateLimitServer } from './serve.ts';
import { Windows, type RateRule } from './windows.ts';

const SWEEP_MS = 10_000;

await runThread<RateRule>(() => {
  const windows = new Windows(systemClock);
  const timer = systemTimers.every(SWEEP_MS, () => windows.sweep());
  return Promise.resolve({
    serve: ({ target }) => rateLimitServer(windows, target),
    close: () => {
      timer.cancel();
      return Promise.resolve();
    },
  });
});
