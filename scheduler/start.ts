/** Puts driver and HTTP app together on a Unix socket. */
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import { closeServer, serveUnix, UnixPeer } from '#shared/runtime/unix-http.node.ts';
import { SchedulerDriver, type DriverOptions } from './driver.ts';
import { createSchedulerApp } from './http/app.ts';

/** Connections to one agent: starts that may be under way at once, and a few stops. */
const AGENT_CONNECTIONS = 96;

export async function startScheduler(
  socketPath: string,
  options: Omit<DriverOptions, 'connect'>,
): Promise<RunningPlane> {
  const driver = new SchedulerDriver({
    ...options,
    connect: (path) => new UnixPeer(path, { connections: AGENT_CONNECTIONS }),
  });
  const app = createSchedulerApp(driver, options.log);
  const server = await serveUnix(socketPath, app.fetch);
  return {
    addresses: { scheduler: socketPath },
    close: async (graceMs) => {
      await driver.close();
      await closeServer(server, graceMs);
    },
  };
}
