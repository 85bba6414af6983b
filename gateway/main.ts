/** Entry of the gateway on Node: the only place that reads its environment. */
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { readEnvironment, runPlane } from '#shared/runtime/plane.node.ts';
import { gatewayEnvironmentSchema } from './config.ts';
import { TrustedProxies } from './forward/proxies.node.ts';
import { startGateway } from './plane.node.ts';

await runPlane('gateway', (log) => {
  const environment = readEnvironment(gatewayEnvironmentSchema);
  return startGateway({
    layout: layoutOf(environment.ISOPLANE_DATA_DIR),
    gatewayId: environment.ISOPLANE_GATEWAY_ID,
    host: environment.ISOPLANE_GATEWAY_HOST,
    port: environment.ISOPLANE_GATEWAY_PORT,
    baseDomain: environment.ISOPLANE_BASE_DOMAIN,
    reusePort: environment.ISOPLANE_GATEWAY_REUSE_PORT === '1',
    proxies: new TrustedProxies(environment.ISOPLANE_TRUSTED_PROXIES, environment.ISOPLANE_FORWARDED_HEADER),
    connectionsMax: environment.ISOPLANE_CONNECTIONS_MAX,
    log,
  });
});
