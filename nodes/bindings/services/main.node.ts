/** Thread of the service bindings. It holds leases as a gateway does, under a name of its own. */
import { Agent, createServer, type Server } from 'node:http';
import { createAgentClient, createSchedulerClient } from '#shared/leases/clients.node.ts';
import { LeaseManager } from '#shared/leases/manager.ts';
import { Watch } from '#shared/leases/watch.ts';
import { LIMITS } from '#shared/limits.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { runThread, type ThreadPart } from '../run-thread.node.ts';
import type { ServiceDeps, ServiceSocket } from './caller.ts';
import { CallDepths } from './depth.ts';
import { forwardFetch } from './fetch.node.ts';
import type { ServicesData } from './kind.ts';
import { connectRpc } from './rpc.node.ts';
import { Targets, type ServiceTarget } from './targets.ts';

/** Below the time after which workerd closes a connection that rests (5 s). */
const KEPT_MS_MAX = 3_000;

function serverOf(deps: ServiceDeps, socket: ServiceSocket, connections: Agent): Server {
  const server = createServer(
    { maxHeaderSize: LIMITS.headerBytesMax, keepAliveTimeout: 60_000, requestTimeout: 0 },
    (incoming, outgoing) =>
      void forwardFetch(deps, socket, { incoming, outgoing, upgrade: undefined }, connections),
  );
  server.on('upgrade', (incoming, duplex, head) => {
    duplex.on('error', () => duplex.destroy());
    void forwardFetch(
      deps,
      socket,
      { incoming, outgoing: undefined, upgrade: { socket: duplex, head } },
      connections,
    );
  });
  server.on('connect', (incoming, duplex, head) => {
    void connectRpc(deps, socket, { incoming, socket: duplex, head });
  });
  server.on('clientError', (_error, duplex) => duplex.destroy());
  return server;
}

await runThread<ServiceTarget>((data, log) => {
  const { nodeId, schedulerSocket, rpcHost } = data as ServicesData;
  const clock = systemClock;
  const timers = systemTimers;
  const scheduler = createSchedulerClient({
    socketPath: schedulerSocket,
    gatewayId: `bindings-${nodeId}`,
    timers,
  });
  const agent = createAgentClient({ timers, log });
  const leases = new LeaseManager({ scheduler, clock, timers, log });
  const connections = new Agent({ keepAlive: true, timeout: KEPT_MS_MAX, maxFreeSockets: 256 });
  const deps: ServiceDeps = {
    targets: new Targets(Math.random),
    depths: new CallDepths(),
    leases,
    agent,
    watch: new Watch(clock, timers),
    clock,
    timers,
    log,
    rpcHost,
  };
  const part: ThreadPart<ServiceTarget> = {
    serve: (socket) => serverOf(deps, socket, connections),
    state: (entries) => deps.targets.apply(entries),
    close: async () => {
      await leases.close();
      connections.destroy();
      await Promise.all([scheduler.close(), agent.close()]);
    },
  };
  return Promise.resolve(part);
});
