/** Entry of the control plane. */
import { runPlane } from '#shared/runtime/plane.node.ts';
import { readConfig } from './config.ts';
import { startControl } from './plane.ts';

// The process before this one had ended when this one began.
await runPlane('control', (log) =>
  startControl({ config: readConfig(), log, startedMs: performance.timeOrigin }),
);
