/** What a gateway is started with: the only place that reads its environment. */
import { layoutOf } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import { readEnvironment } from '#shared/runtime/plane.node.ts';
import { gatewayEnvironmentSchema } from './config.ts';
import { TrustedProxies } from './forward/proxies.node.ts';
import type { GatewayPlaneOptions } from './plane.node.ts';

export function gatewayOptions(log: Log): GatewayPlaneOptions {
  const environment = readEnvironment(gatewayEnvironmentSchema);
  return {
    layout: layoutOf(environment.ISOPLANE_DATA_DIR),
    gatewayId: environment.ISOPLANE_GATEWAY_ID,
    host: environment.ISOPLANE_GATEWAY_HOST,
    port: environment.ISOPLANE_GATEWAY_PORT,
    baseDomain: environment.ISOPLANE_BASE_DOMAIN,
    reusePort: environment.ISOPLANE_GATEWAY_REUSE_PORT === '1',
    proxies: new TrustedProxies(environment.ISOPLANE_TRUSTED_PROXIES, environment.ISOPLANE_FORWARDED_HEADER),
    connectionsMax: environment.ISOPLANE_CONNECTIONS_MAX,
    noncesMax: environment.ISOPLANE_NONCES_MAX,
    log,
    // The process before this one had ended when this one began.
    startedMs: performance.timeOrigin,
  };
}
