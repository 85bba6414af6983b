/** Thread of the network: traffic never delays the agent's own loop, which watches over CPU time. */
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { runThread } from '../run-thread.ts';
import { EgressHost } from './host.ts';
import type { EgressSettings, EgressTerms } from './kind.ts';

await runThread<EgressTerms>((data, log, refused) =>
  Promise.resolve(
    new EgressHost({
      settings: data as EgressSettings,
      clock: systemClock,
      timers: systemTimers,
      log,
      refused,
    }),
  ),
);
