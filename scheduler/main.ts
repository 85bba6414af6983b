/** The scheduler as a process: reads the environment, serves on its Unix socket. */
import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import process from 'node:process';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { ensurePrivateFolder, layoutOf } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import { readEnvironment, runPlane, type RunningPlane } from '#shared/runtime/plane.node.ts';
import { schedulerEnvironmentSchema } from './config.ts';
import { startScheduler } from './plane.ts';

async function start(log: Log): Promise<RunningPlane> {
  const environment = readEnvironment(schedulerEnvironmentSchema, process.env);
  const layout = layoutOf(environment.ISOPLANE_DATA_DIR);
  for (const folder of [layout.runDir, layout.dataDir, dirname(layout.schedulerSnapshot)])
    await ensurePrivateFolder(folder);
  return startScheduler(
    layout.sockets.scheduler,
    {
      clock: systemClock,
      timers: systemTimers,
      random: () => randomBytes(4).readUInt32LE() / 4_294_967_296,
      log,
    },
    { controlAddress: layout.sockets.control, journalPath: layout.schedulerSnapshot },
  );
}

await runPlane('scheduler', start);
