/** Entry of the scheduler. */
import { runPlane } from '#shared/runtime/plane.node.ts';
import { schedulerOptions } from './options.ts';
import { startScheduler } from './plane.ts';

await runPlane('scheduler', (log) => startScheduler(schedulerOptions(log)));
