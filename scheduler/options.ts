/** What a scheduler is started with: the only place of the plane that reads the environment. */
import { randomBytes } from 'node:crypto';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import { readEnvironment } from '#shared/runtime/plane.node.ts';
import { schedulerEnvironmentSchema } from './config.ts';
import type { SchedulerPlaneOptions } from './plane.ts';

export function schedulerOptions(log: Log): SchedulerPlaneOptions {
  const environment = readEnvironment(schedulerEnvironmentSchema);
  return {
    layout: layoutOf(environment.ISOPLANE_DATA_DIR),
    clock: systemClock,
    timers: systemTimers,
    random: () => randomBytes(4).readUInt32LE() / 4_294_967_296,
    log,
  };
}
