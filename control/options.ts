/** What control is started with: the only place of the plane that reads the environment. */
import type { z } from 'zod';
import { PlatformError } from '#shared/errors.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import { readEnvironment } from '#shared/runtime/plane.node.ts';
import { secretOf } from '#shared/runtime/secret-setting.node.ts';
import { controlEnvironmentSchema } from './config.ts';
import type { BucketSettings, ControlPlaneOptions } from './plane.ts';

type Environment = z.infer<typeof controlEnvironmentSchema>;

/** @throws {PlatformError} `config_invalid` when a bucket is named and its keys are not. */
function bucketOf(environment: Environment): BucketSettings | undefined {
  const place = environment.ISOPLANE_BLOBS_URL;
  if (place === undefined) return undefined;
  const accessKeyId = environment.ISOPLANE_BLOBS_ACCESS_KEY_ID;
  const secretAccessKey = secretOf(
    environment.ISOPLANE_BLOBS_SECRET_ACCESS_KEY,
    environment.ISOPLANE_BLOBS_SECRET_ACCESS_KEY_FILE,
    'ISOPLANE_BLOBS_SECRET_ACCESS_KEY_FILE',
  );
  if (accessKeyId === undefined || secretAccessKey === undefined)
    throw new PlatformError(
      'config_invalid',
      'a bucket wants ISOPLANE_BLOBS_ACCESS_KEY_ID, and ISOPLANE_BLOBS_SECRET_ACCESS_KEY or ISOPLANE_BLOBS_SECRET_ACCESS_KEY_FILE',
    );
  return { ...place, accessKeyId, secretAccessKey };
}

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
    bucket: bucketOf(environment),
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
