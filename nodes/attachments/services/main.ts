/** Thread of the service bindings. It holds leases as a gateway does, under a name of its own. */
import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { PlatformError } from '#shared/errors.ts';
import { createAgentClient, createSchedulerClient } from '#shared/leases/clients.node.ts';
import { LeaseManager } from '#shared/leases/manager.ts';
import { Watch } from '#shared/carry/deadlines.ts';
import { LIMITS } from '#shared/limits.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { Shares } from '#shared/shares.ts';
import { SocketClient } from '#shared/upstream/socket-client.node.ts';
import { UsageMeters } from '#shared/usage/meter.ts';
import { RefusalMeter } from '../refusal-meter.ts';
import { BindingFronts } from '../front.ts';
import { runThread, type Refused, type ThreadPart } from '../run-thread.ts';
import { newRequestId, type ServiceDeps, type ServiceSocket } from './caller.ts';
import { CallDepths } from './depth.ts';
import { forwardFetch, inboundOf, plainInbound, problemText, upgradeInbound } from './fetch.ts';
import type { ServicesData } from './kind.ts';
import { connectRpc } from './rpc.ts';
import { CallerSessions } from './sessions.ts';
import { Targets, type ServiceTarget } from './targets.ts';

function serverOf(deps: ServiceDeps, socket: ServiceSocket, refused: Refused): Server {
  const meter = new RefusalMeter(deps.clock);
  const tell = (message: string): void => {
    const told = meter.take(message);
    if (told !== undefined) refused(socket.instanceId, told);
  };
  const server = createServer(
    { maxHeaderSize: LIMITS.headerBytesMax, keepAliveTimeout: 60_000, requestTimeout: 0 },
    (incoming, outgoing) => void forwardFetch(deps, socket, inboundOf(incoming, outgoing)),
  );
  server.on('upgrade', (incoming, duplex, head) => {
    duplex.on('error', () => duplex.destroy());
    void forwardFetch(deps, socket, upgradeInbound(incoming, duplex, head));
  });
  server.on('connect', (incoming, duplex, head) => {
    void connectRpc(deps, socket, { incoming, socket: duplex, head, tell });
  });
  server.on('clientError', refuseHead);
  return server;
}

/** What cannot be read is closed. Headers that are too large are said to be: workerd would only say that the connection was lost. */
function refuseHead(error: NodeJS.ErrnoException, duplex: Duplex): void {
  if (error.code !== 'HPE_HEADER_OVERFLOW' || !duplex.writable) return void duplex.destroy();
  duplex.end(problemText(new PlatformError('headers_too_large', 'the head of a call'), newRequestId()));
}

await runThread<ServiceTarget>((data, log, refused) => {
  const { nodeId, schedulerAddress, rpcHost } = data as ServicesData;
  const clock = systemClock;
  const timers = systemTimers;
  const scheduler = createSchedulerClient({
    address: schedulerAddress,
    holderId: `bindings-${nodeId}`,
    timers,
  });
  const agent = createAgentClient({ timers, log });
  const leases = new LeaseManager({ scheduler, clock, timers, log });
  const client = new SocketClient(clock);
  const deps: ServiceDeps = {
    targets: new Targets(Math.random),
    depths: new CallDepths(),
    sessions: new CallerSessions(() => randomBytes(16).toString('base64url')),
    leases,
    agent,
    client,
    usage: new UsageMeters(),
    bodies: new Shares('gateway.bodies'),
    watch: new Watch(clock, timers),
    clock,
    timers,
    log,
    rpcHost,
  };
  const fronts = new BindingFronts({ clock, timers });
  const part: ThreadPart<ServiceTarget> = {
    serve: (socket) => {
      const server = serverOf(deps, socket, refused);
      fronts.putBefore(server, (request) => void forwardFetch(deps, socket, plainInbound(request)));
      return server;
    },
    state: (entries) => deps.targets.apply(entries),
    detached: (instanceId) => deps.sessions.ended(instanceId),
    usage: () => deps.usage.drain(),
    close: async () => {
      fronts.close();
      await leases.close();
      await client.close();
      await Promise.all([scheduler.close(), agent.close()]);
    },
  };
  return Promise.resolve(part);
});
