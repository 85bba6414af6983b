/** A node agent, put together: what `main.ts` runs and tests start in their own process. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Runnable } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import type { NodeStatus } from '#shared/contracts/nodes.ts';
import { startFeedConsumer, type FeedConsumer } from '#shared/feed/consumer.node.ts';
import type { VersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { processSamples } from '#shared/metrics/own.node.ts';
import { addMetrics } from '#shared/metrics/routes.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import type { Address } from '#shared/contracts/address.ts';
import { closeServer, keyOf, serveAt } from '#shared/runtime/transport.node.ts';
import { UsageReporter } from '#shared/usage/reporter.ts';
import { sendUsage } from '#shared/usage/send.node.ts';
import { createAgentApp } from './app.ts';
import { check } from './instances/check.ts';
import { Instances } from './instances/instances.ts';
import type { LaunchOptions } from './instances/launch.ts';
import { Starts } from './instances/starts.ts';
import { Watchdog } from './limits/watchdog.ts';
import type { Slot } from './slots/slot.ts';
import { Heartbeat } from './agent/heartbeat.ts';
import { samplesOf } from './agent/metrics.ts';
import { boxFolder, freeBytes, openParts, type AgentOptions, type Parts } from './agent/parts.ts';

/** A start may come before the feed has brought the version: the scheduler hears of it from the gateway. */
const RUNNABLE_WAIT_MS = 5_000;
const RUNNABLE_WAIT_ALONE_MS = 1_000;
const RETRY_AFTER_MS = 1_000;
/** @throws {PlatformError} `code_unavailable` while control was not heard: the version may be newer than the journal. */
async function findRunnable({ runnables, link }: Parts, versionId: VersionId): Promise<Runnable | undefined> {
  const found = await runnables.wait(versionId, link.heard ? RUNNABLE_WAIT_MS : RUNNABLE_WAIT_ALONE_MS);
  if (found !== undefined || link.heard) return found;
  throw new PlatformError('code_unavailable', `${versionId} is not known here, and control is not heard`, {
    retryAfterMs: RETRY_AFTER_MS,
  });
}

/** An agent is ready when this many slots wait; the others follow while it serves. */
const SLOTS_FIRST = 3;

function followFeed(parts: Parts, { instances, heartbeat }: Running): Promise<FeedConsumer> {
  const { options, runnables, prefetch, link } = parts;
  return startFeedConsumer({
    peer: parts.control,
    role: 'node',
    consumerId: options.nodeId,
    journalPath: join(options.layout.nodeDir(options.nodeId), 'feed.ndjson'),
    log: options.log,
    timers: systemTimers,
    onHeard: (heard) => {
      link.heard = heard;
      if (!heard) return;
      parts.attachments.complete();
      prefetch.retry();
    },
    onChange: (items) => {
      parts.attachments.apply(items);
      for (const item of items) {
        if (item.kind !== 'runnable') continue;
        runnables.set(item.key, item.value ?? undefined);
        prefetch.want(item.key, item.value ?? undefined);
      }
      // The scheduler hears at once of instances that are outdated now.
      if (
        items.some(({ kind }) => kind === 'runnable') &&
        instances.list().some((entry) => entry.outdated === true)
      )
        heartbeat.beat();
    },
  });
}

interface Running {
  readonly instances: Instances;
  readonly watchdog: Watchdog;
  readonly heartbeat: Heartbeat;
  readonly launchOptions: LaunchOptions;
  /** From now on the heartbeat says that this node takes no more instances. */
  drain(): void;
}

function tellInspectable(
  { onInspectable }: AgentOptions,
  { inspectorPort: port }: Slot,
  { id }: Runnable,
): void {
  if (port !== undefined) onInspectable?.({ versionId: id, port });
}

/** Each part knows those before it; what instances do is told to those after them. */
function assemble(parts: Parts, address: Address): Running {
  const { options, pools, runnables, usage } = parts;
  let draining = false;
  const launchOptions: LaunchOptions = {
    pools,
    starts: new Starts({ cores: availableParallelism(), timers: systemTimers }),
    ...(options.startupMsMax === undefined ? {} : { startupMsMax: options.startupMsMax }),
    timers: systemTimers,
    clock: systemClock,
    attachments: [parts.attachments],
  };
  const instances = new Instances({
    launch: launchOptions,
    programs: parts.programs,
    logs: parts.logs,
    log: options.log,
    capacity: options.capacity,
    memory: { freeBytes, reserveBytes: options.memoryReserveBytes ?? 0 },
    agentAddress: address,
    isOutdated: (runnable) => runnables.isOutdated(runnable),
    findRunnable: (versionId: VersionId) => findRunnable(parts, versionId),
  });
  const watchdog = new Watchdog({
    clock: systemClock,
    timers: systemTimers,
    kill: (instanceId, action) => instances.kill(instanceId, action),
    onSample: (instanceId, { cpuMs }) => usage.sampled(instanceId, cpuMs),
  });
  const heartbeat = new Heartbeat({
    nodeId: options.nodeId,
    scheduler: parts.scheduler,
    timers: systemTimers,
    log: options.log,
    newListMark: randomUUID,
    describe: () => ({
      endpoint: address,
      capacity: options.capacity,
      freeSlots: pools.standard.waiting,
      draining,
      instances: instances.list(),
      exits: [...instances.exits()],
    }),
    onAnswered: (sent, stop) => {
      instances.confirmExits(sent.exits);
      for (const instanceId of stop) instances.stop(instanceId, LIMITS.leaseTtlMs);
    },
  });
  instances.observe({
    started: ({ id, slot, runnable }) => {
      usage.started(id, runnable.id, runnable.limits.memoryMb, systemClock.monotonicMs());
      tellInspectable(options, slot, runnable);
      watchdog.watch({ id, guest: slot, address: slot.address, limits: runnable.limits });
    },
    stopping: (instanceId) => watchdog.look(instanceId),
    ended: ({ id }) => {
      watchdog.unwatch(id);
      usage.ended(id, systemClock.monotonicMs());
      heartbeat.beat();
    },
  });
  const drain = (): void => {
    draining = true;
  };
  return { instances, watchdog, heartbeat, launchOptions, drain };
}

export async function startAgent(options: AgentOptions): Promise<RunningPlane> {
  const parts = await openParts(options);
  const { pools, logs, sandbox, programs } = parts;
  const address = options.layout.sockets.node(options.nodeId);
  const running = assemble(parts, address);
  const { instances, watchdog, heartbeat, launchOptions } = running;
  await pools.standard.fill(SLOTS_FIRST);
  const feed = await followFeed(parts, running);
  const status = (): NodeStatus => ({
    nodeId: options.nodeId,
    sandbox: sandbox.status,
    instances: instances.count,
    freeSlots: pools.standard.waiting,
    capacity: options.capacity,
    feedRevision: feed.state.revision,
    codeMissing: parts.prefetch.missing,
    logEntriesLost: logs.lost,
  });
  const app = createAgentApp({
    instances,
    logs,
    check: (runnable) => check({ launch: launchOptions, programs }, runnable),
    overdue: (instanceId, report) => watchdog.overdue(instanceId, report),
    broken: (instanceId, requestId) => instances.get(instanceId)?.collector.broken(requestId),
    slow: (report) => watchdog.slow(report),
    status,
    ask: (kind, question) => parts.attachments.ask(kind, question),
    log: options.log,
  });
  addMetrics(app, () => ({
    plane: 'node',
    id: options.nodeId,
    samples: [...processSamples(), ...samplesOf(status(), instances.counts())],
  }));
  const server = await serveAt(address, (request) => app.fetch(request));
  heartbeat.beat();
  const reporter = new UsageReporter({
    source: `node/${options.nodeId}/${randomUUID()}`,
    sources: parts.usageSources,
    send: (report) => sendUsage(parts.control, report),
    timers: systemTimers,
    log: options.log,
  });
  return {
    addresses: { socket: keyOf(address) },
    close: async (graceMs) => {
      running.drain();
      await instances.close(Math.floor(graceMs / 2));
      await heartbeat.close();
      await feed.close();
      watchdog.close();
      await Promise.all([pools.standard.close(), pools.strict.close()]);
      await parts.attachments.close();
      // After those who count.
      await reporter.close();
      await parts.group?.close();
      await closeServer(server, 500);
      // Of root it is outside the run folder. What a crash leaves, the next start uses.
      await rm(boxFolder(options.layout, options.nodeId), { recursive: true, force: true });
      await logs.close();
      await Promise.all([parts.control.close(), parts.scheduler.close()]);
    },
  };
}
