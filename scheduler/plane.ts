/** Puts driver, feed and HTTP app together on a Unix socket. */
import type { Address } from '#shared/contracts/address.ts';
import { startFeedConsumer } from '#shared/feed/consumer.node.ts';
import { processSamples } from '#shared/metrics/own.node.ts';
import { addMetrics } from '#shared/metrics/routes.ts';
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import { closeServer, keyOf, peerOf, serveAt } from '#shared/runtime/transport.node.ts';
import { SHARED } from '#shared/shared-things.ts';
import { SchedulerDriver, type DriverOptions } from './driver.ts';
import { createSchedulerApp } from './app.ts';

/** Connections to one agent: starts that may be under way at once, and stops beside them. */
const AGENT_CONNECTIONS = SHARED['scheduler.starts'].total + 32;

/** Where desired state comes from. */
export interface SchedulerFeed {
  readonly controlAddress: Address;
  /** Its folder must exist. */
  readonly journalPath: string;
}

const CONSUMER_ID = 'scheduler';

export async function startScheduler(
  address: Address,
  options: Omit<DriverOptions, 'connect'>,
  feed: SchedulerFeed,
): Promise<RunningPlane> {
  const driver = new SchedulerDriver({
    ...options,
    connect: (agent) => peerOf(agent, { connections: AGENT_CONNECTIONS }),
  });
  const control = peerOf(feed.controlAddress);
  // Before anyone is served: the journal says what versions an alias has left.
  const consumer = await startFeedConsumer({
    peer: control,
    role: 'scheduler',
    consumerId: CONSUMER_ID,
    journalPath: feed.journalPath,
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
  const server = await serveAt(address, app.fetch);
  return {
    addresses: { scheduler: keyOf(address) },
    close: async (graceMs) => {
      await consumer.close();
      await control.close();
      await driver.close();
      await closeServer(server, graceMs);
    },
  };
}
