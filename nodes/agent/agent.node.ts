/** A node agent, put together: what `main.ts` runs and tests start in their own process. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import process from 'node:process';
import type { Runnable } from '#shared/contracts/feed.ts';
import type { NodeStatus } from '#shared/contracts/nodes.ts';
import { PlatformError } from '#shared/errors.ts';
import { startFeedConsumer, type FeedConsumer } from '#shared/feed/consumer.node.ts';
import type { VersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { ensurePrivateFolder, layoutOf, type Layout } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import { closeServer, serveUnix, UnixPeer } from '#shared/runtime/unix-http.node.ts';
import { UsageReporter, type UsageSource } from '#shared/usage/reporter.ts';
import { sendUsage } from '#shared/usage/send.node.ts';
import { CodeCache } from '../code/cache.node.ts';
import { Programs } from '../code/programs.node.ts';
import { loadEntryModules } from '../entry/pack.node.ts';
import { createAgentApp } from '../http/app.ts';
import { check } from '../instances/check.node.ts';
import { Instances } from '../instances/instances.node.ts';
import type { LaunchOptions } from '../instances/launch.node.ts';
import { NO_PRIORITY, openPriority, type Priority } from '../limits/priority.node.ts';
import { Watchdog } from '../limits/watchdog.node.ts';
import { LogStore } from '../logs/store.node.ts';
import { openCgroups, type Cgroups } from '../sandbox/cgroup.node.ts';
import { detectSandbox, spawnSlot, type DetectOptions, type Sandbox } from '../sandbox/detect.node.ts';
import { SlotPool } from '../slots/pool.node.ts';
import { NodeUsage } from '../usage/node-usage.ts';
import { Heartbeat } from './heartbeat.node.ts';
import { RunnableIndex } from './runnables.ts';

export interface AgentOptions {
  readonly dataDir: string;
  readonly nodeId: string;
  readonly slots: number;
  readonly capacity: number;
  readonly sandbox: DetectOptions['mode'];
  readonly codeCacheBytes: number;
  readonly startupMsMax?: number;
  readonly log: Log;
}

const ENCODED_BYTES_MAX = 128 * 1_048_576;
/** A start may come before the feed has brought the version: the scheduler hears of it from the gateway. */
const RUNNABLE_WAIT_MS = 5_000;

/** Short, and when the agent is root outside the private run folder, so that the slots' user can pass. */
export function boxFolder(layout: Layout, nodeId: string): string {
  return process.getuid?.() === 0 ? `${layout.runDir}-box-${nodeId}` : join(layout.runDir, `box-${nodeId}`);
}

async function prepareSandbox(options: AgentOptions, layout: Layout): Promise<Sandbox> {
  const sandbox = await detectSandbox({ folder: boxFolder(layout, options.nodeId), mode: options.sandbox });
  const { level, missing } = sandbox.status;
  if (options.sandbox === 'required' && level !== 'full')
    throw new PlatformError('internal', `the sandbox is required but not complete: ${missing.join('; ')}`);
  if (level === 'full') options.log.info('sandbox', { level });
  else
    options.log.error('sandbox_incomplete', {
      level,
      missing,
      consequence: 'user code is not contained on this node; run only code that you trust',
    });
  // Slots of a crashed agent died with it; their folders did not.
  for (const name of await readdir(sandbox.slotsDir))
    await rm(join(sandbox.slotsDir, name), { recursive: true, force: true });
  return sandbox;
}

interface Parts {
  readonly options: AgentOptions;
  readonly layout: Layout;
  readonly sandbox: Sandbox;
  readonly group: Cgroups | undefined;
  readonly priority: Priority;
  readonly usage: NodeUsage;
  /** Who counts what functions use: parts of the agent add theirs. */
  readonly usageSources: UsageSource[];
  readonly pool: SlotPool;
  readonly programs: Programs;
  readonly code: CodeCache;
  readonly logs: LogStore;
  readonly runnables: RunnableIndex;
  readonly control: UnixPeer;
  readonly scheduler: UnixPeer;
}

async function openParts(options: AgentOptions): Promise<Parts> {
  const layout = layoutOf(options.dataDir);
  await ensurePrivateFolder(layout.runDir);
  const nodeDir = layout.nodeDir(options.nodeId);
  await mkdir(nodeDir, { recursive: true, mode: 0o700 });
  const { log } = options;
  const sandbox = await prepareSandbox(options, layout);
  const control = new UnixPeer(layout.sockets.control);
  const code = await CodeCache.open({
    folder: join(nodeDir, 'code'),
    bytesMax: options.codeCacheBytes,
    log,
    fetchBlob: (digest) => control.bytes(`/internal/blobs/${digest}`, LIMITS.bundleBytesMax),
  });
  const group =
    options.sandbox === 'off' ? undefined : openCgroups(`${basename(layout.runDir)}-${options.nodeId}`);
  log.info('memory_groups', { version: group?.version ?? 'none' });
  const usage = new NodeUsage();
  let slotNumber = 0;
  const pool = new SlotPool({
    size: options.slots,
    timers: systemTimers,
    log,
    spawn: () => {
      slotNumber += 1;
      return spawnSlot(sandbox, join(sandbox.slotsDir, slotNumber.toString(36)), group);
    },
  });
  return {
    options,
    layout,
    sandbox,
    group,
    priority: openPriority() ?? NO_PRIORITY,
    usage,
    usageSources: [() => usage.drain(systemClock.monotonicMs())],
    pool,
    code,
    programs: new Programs({
      code,
      entry: await loadEntryModules(),
      rpcHost: `${randomUUID()}:1`,
      bytesMax: ENCODED_BYTES_MAX,
    }),
    logs: await LogStore.open({
      folder: join(nodeDir, 'logs'),
      clock: systemClock,
      timers: systemTimers,
      log,
    }),
    runnables: new RunnableIndex(systemTimers),
    control,
    scheduler: new UnixPeer(layout.sockets.scheduler),
  };
}

function followFeed(parts: Parts): Promise<FeedConsumer> {
  const { options, layout, runnables, programs } = parts;
  const prepare = (runnable: Runnable): void => {
    programs.of(runnable).catch((error: unknown) => {
      // The start will try again and tell the caller.
      options.log.warn('prefetch_failed', { versionId: runnable.id, error });
    });
  };
  return startFeedConsumer({
    peer: parts.control,
    role: 'node',
    consumerId: options.nodeId,
    journalPath: join(layout.nodeDir(options.nodeId), 'feed.ndjson'),
    log: options.log,
    timers: systemTimers,
    onChange: (items) => {
      for (const item of items) {
        if (item.kind !== 'runnable') continue;
        runnables.set(item.key, item.value ?? undefined);
        if (item.value !== null) prepare(item.value);
      }
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

function assemble(parts: Parts, socket: string): Running {
  const { options, pool, sandbox, runnables, usage } = parts;
  let draining = false;
  const launchOptions: LaunchOptions = {
    pool,
    profile: sandbox.profile,
    ...(options.startupMsMax === undefined ? {} : { startupMsMax: options.startupMsMax }),
    ...(parts.group === undefined ? {} : { group: parts.group }),
    timers: systemTimers,
    clock: systemClock,
    attachments: [],
  };
  const instances = new Instances({
    launch: launchOptions,
    programs: parts.programs,
    logs: parts.logs,
    log: options.log,
    capacity: options.capacity,
    agentSocket: socket,
    findRunnable: (versionId: VersionId) => runnables.wait(versionId, RUNNABLE_WAIT_MS),
    onStarted: ({ id, slot, runnable }) => {
      usage.started(id, runnable.id, runnable.limits.memoryMb, systemClock.monotonicMs());
      watchdog.watch({ id, pid: () => slot.pid, socketPath: slot.socketPath, limits: runnable.limits });
    },
    onStopping: (instanceId) => watchdog.look(instanceId),
    onEnded: ({ id }) => {
      watchdog.unwatch(id);
      usage.ended(id, systemClock.monotonicMs());
      heartbeat.beat();
    },
  });
  const watchdog = new Watchdog({
    clock: systemClock,
    timers: systemTimers,
    kill: (instanceId, action) => instances.kill(instanceId, action),
    priority: parts.priority,
    onSample: (instanceId, { cpuMs }) => usage.sampled(instanceId, cpuMs),
  });
  const heartbeat = new Heartbeat({
    nodeId: options.nodeId,
    scheduler: parts.scheduler,
    timers: systemTimers,
    log: options.log,
    describe: () => ({
      endpoint: { kind: 'unix', path: socket },
      capacity: options.capacity,
      freeSlots: pool.waiting,
      draining,
      instances: instances.list(),
      exits: [...instances.exits()],
    }),
    onAnswered: (sent, stop) => {
      instances.confirmExits(sent.exits);
      for (const instanceId of stop) instances.stop(instanceId, LIMITS.leaseTtlMs);
    },
  });
  const drain = (): void => {
    draining = true;
  };
  return { instances, watchdog, heartbeat, launchOptions, drain };
}

export async function startAgent(options: AgentOptions): Promise<RunningPlane> {
  const parts = await openParts(options);
  const { layout, pool, logs, sandbox, programs } = parts;
  const socket = layout.sockets.node(options.nodeId);
  const running = assemble(parts, socket);
  const { instances, watchdog, heartbeat, launchOptions } = running;
  await pool.fill();
  const feed = await followFeed(parts);
  const status = (): NodeStatus => ({
    nodeId: options.nodeId,
    sandbox: sandbox.status,
    instances: instances.count,
    freeSlots: pool.waiting,
    capacity: options.capacity,
    feedRevision: feed.state.revision,
  });
  const app = createAgentApp({
    instances,
    logs,
    check: (runnable) => check({ launch: launchOptions, programs }, runnable),
    overdue: (instanceId, report) => watchdog.overdue(instanceId, report),
    slow: (report) => watchdog.slow(report),
    status,
    log: options.log,
  });
  const server = await serveUnix(socket, (request) => app.fetch(request));
  heartbeat.beat();
  const reporter = new UsageReporter({
    source: `node/${options.nodeId}/${randomUUID()}`,
    sources: parts.usageSources,
    send: (report) => sendUsage(parts.control, report),
    timers: systemTimers,
    log: options.log,
  });
  return {
    addresses: { socket },
    close: async (graceMs) => {
      running.drain();
      await instances.close(Math.floor(graceMs / 2));
      await heartbeat.close();
      await feed.close();
      watchdog.close();
      await reporter.close();
      await pool.close();
      parts.group?.close();
      await closeServer(server, 500);
      await logs.close();
      await Promise.all([parts.control.close(), parts.scheduler.close()]);
    },
  };
}
