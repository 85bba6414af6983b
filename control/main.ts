/** Entry of the control plane. */
import { runPlane } from '#shared/runtime/plane.node.ts';
import { readConfig } from './config.ts';
import { startControl } from './start.ts';

await runPlane('control', (log) => startControl({ config: readConfig(), log }));
