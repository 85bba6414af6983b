/** What control is started with: the only place of the plane that reads the environment. */
import { layoutOf } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import { readEnvironment } from '#shared/runtime/plane.node.ts';
import { secretOf } from '#shared/runtime/secret-setting.node.ts';
import { controlEnvironmentSchema } from './config.ts';
import type { ControlPlaneOptions } from './plane.ts';

export function controlOptions(log: Log): ControlPlaneOptions {
  const environment = readEnvironment(controlEnvironmentSchema);
  const url = environment.ISOPLANE_DATABASE_URL;
  return {
    layout: layoutOf(environment.ISOPLANE_DATA_DIR),
    host: environment.ISOPLANE_CONTROL_HOST,
    port: environment.ISOPLANE_CONTROL_PORT,
    names: environment.ISOPLANE_CONTROL_NAMES,
    nodeIds: environment.ISOPLANE_NODE_IDS,
    baseDomain: environment.ISOPLANE_BASE_DOMAIN,
    database:
      url === undefined
        ? undefined
        : {
            url,
            token: secretOf(
              environment.ISOPLANE_DATABASE_TOKEN,
              environment.ISOPLANE_DATABASE_TOKEN_FILE,
              'ISOPLANE_DATABASE_TOKEN_FILE',
            ),
          },
    log,
    // The process before this one had ended when this one began.
    startedMs: performance.timeOrigin,
  };
}
