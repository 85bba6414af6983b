/** Puts driver, feed and HTTP app together on a Unix socket. */
import { dirname } from 'node:path';
import { startFeedConsumer } from '#shared/feed/consumer.node.ts';
import { processSamples } from '#shared/metrics/own.node.ts';
import { addMetrics } from '#shared/metrics/routes.ts';
import { ensurePrivateFolder, ensureStateFolder, type Layout } from '#shared/runtime/layout.node.ts';
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import { closeServer, keyOf, peerOf, serveAt } from '#shared/runtime/transport.node.ts';
import { SHARED } from '#shared/shared-things.ts';
import { SchedulerDriver, type DriverOptions } from './driver.ts';
import { createSchedulerApp } from './app.ts';

/** Connections to one agent: starts that may be under way at once, and stops beside them. */
const AGENT_CONNECTIONS = SHARED['scheduler.starts'].total + 32;

const CONSUMER_ID = 'scheduler';

export interface SchedulerPlaneOptions extends Omit<DriverOptions, 'connect'> {
  readonly layout: Layout;
}

export async function startScheduler({ layout, ...options }: SchedulerPlaneOptions): Promise<RunningPlane> {
  const { runDir, dataDir, sockets, schedulerSnapshot: journalPath } = layout;
  await ensureStateFolder(dataDir);
  for (const folder of [runDir, dirname(journalPath)]) await ensurePrivateFolder(folder);
  const driver = new SchedulerDriver({
    ...options,
    connect: (agent) => peerOf(agent, { connections: AGENT_CONNECTIONS }),
  });
  const control = peerOf(sockets.control);
  // Before anyone is served: the journal says what versions an alias has left.
  const consumer = await startFeedConsumer({
    peer: control,
    role: 'scheduler',
    consumerId: CONSUMER_ID,
    journalPath,
    log: options.log,
    timers: options.timers,
    onChange: (items) => driver.desired(items),
  });
  const app = createSchedulerApp(driver, options.log);
  addMetrics(app, () => ({
    plane: 'scheduler',
    id: CONSUMER_ID,
    samples: [
      ...processSamples(),
      ...driver.samples(),
      { name: 'isoplane_feed_revision', value: consumer.state.revision },
    ],
  }));
  const server = await serveAt(sockets.scheduler, app.fetch);
  return {
    addresses: { scheduler: keyOf(sockets.scheduler) },
    close: async (graceMs) => {
      await consumer.close();
      await control.close();
      await driver.close();
      await closeServer(server, graceMs);
    },
  };
}
