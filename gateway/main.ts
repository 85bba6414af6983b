/** Entry of the gateway on Node. */
import { runPlane } from '#shared/runtime/plane.node.ts';
import { gatewayOptions } from './options.node.ts';
import { startGateway } from './plane.node.ts';

await runPlane('gateway', (log) => startGateway(gatewayOptions(log)));
