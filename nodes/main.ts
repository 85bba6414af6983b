/** Entry of the node agent. */
import { runPlane } from '#shared/runtime/plane.node.ts';
import { startAgent } from './plane.ts';
import { agentOptions } from './options.ts';

await runPlane('node', (log) => startAgent(agentOptions(log)));
