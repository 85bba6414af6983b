/** Entry of the control plane. */
import { runPlane } from '#shared/runtime/plane.node.ts';
import { controlOptions } from './options.ts';
import { startControl } from './plane.ts';

await runPlane('control', (log) => startControl(controlOptions(log)));
