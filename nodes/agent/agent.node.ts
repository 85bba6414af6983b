/** A node agent, put together: what `main.ts` runs and tests start in their own process. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import process from 'node:process';
import type { Tier } from '#shared/contracts/config.ts';
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
import { BindingHost } from '../bindings/host.node.ts';
import { KV, kvBindings, type KvData } from '../bindings/kv/kind.ts';
import { ensureRpcHost } from '../bindings/rpc-host.node.ts';
import { serviceBindings } from '../bindings/services/kind.ts';
import { UsageReporter, type UsageSource } from '#shared/usage/reporter.ts';
import { sendUsage } from '#shared/usage/send.node.ts';
import { CodeCache } from '../code/cache.node.ts';
import { Programs } from '../code/programs.node.ts';
import { Egress, type EgressOptions } from '../egress/egress.node.ts';
import type { EgressSettings } from '../egress/messages.ts';
import { loadEntryModules } from '../entry/pack.node.ts';
import { createAgentApp } from '../http/app.ts';
import { check } from '../instances/check.node.ts';
import { Instances } from '../instances/instances.node.ts';
import type { LaunchOptions } from '../instances/launch.node.ts';
import { NO_PRIORITY, openPriority, type Priority } from '../limits/priority.node.ts';
import { Watchdog } from '../limits/watchdog.node.ts';
import { LogStore } from '../logs/store.node.ts';
import { openCgroups, type Cgroups } from '../sandbox/cgroup.node.ts';
import { detectSandbox, type DetectOptions, type Sandbox } from '../sandbox/detect.node.ts';
import type { UidRange } from '../sandbox/identities.ts';
import { killOrphans } from '../sandbox/orphans.node.ts';
import { SlotPool } from '../slots/pool.node.ts';
import { Slot } from '../slots/slot.node.ts';
import { NodeUsage } from '../usage/node-usage.ts';
import { Heartbeat } from './heartbeat.node.ts';
import { hostProblems, parseHostLimits } from './host-limits.ts';
import { RunnableIndex } from './runnables.ts';

export interface AgentOptions {
  readonly dataDir: string;
  readonly nodeId: string;
  /** Slots that wait ready when nothing happens. */
  readonly slots: number;
  /** Slots that wait ready at most. Default: twice as many. */
  readonly slotsMax?: number;
  /** Strict slots that wait at most; they do only while strict functions start. Default: none. */
  readonly strictSlotsMax?: number;
  /** Users of strict instances, when the agent is root. */
  readonly strictUids?: UidRange;
  readonly capacity: number;
  /** Starts leave this much of the machine's memory free. Default: 0. */
  readonly memoryReserveBytes?: number;
  readonly sandbox: DetectOptions['mode'];
  readonly codeCacheBytes: number;
  readonly startupMsMax?: number;
  readonly egress?: Partial<Omit<EgressSettings, 'nodeKeyFile'>>;
  /** Where KV lives. Default: a file under the data folder, which all nodes of the machine share. */
  readonly kv?: Partial<KvData>;
  readonly log: Log;
}

const KV_BYTES_MAX = 16 * 1024 * 1_048_576;
const ENCODED_BYTES_MAX = 128 * 1_048_576;
/** A start may come before the feed has brought the version: the scheduler hears of it from the gateway. */
const RUNNABLE_WAIT_MS = 5_000;
/** An agent is ready when this many slots wait; the others follow while it serves. */
const SLOTS_FIRST = 3;

/** Of the machine, or of the group that the agent runs in when that allows less. */
const freeBytes = (): number => process.availableMemory();

/** Short, and when the agent is root outside the private run folder, so that the slots' user can pass. */
export function boxFolder(layout: Layout, nodeId: string): string {
  return process.getuid?.() === 0 ? `${layout.runDir}-box-${nodeId}` : join(layout.runDir, `box-${nodeId}`);
}

async function prepareSandbox(options: AgentOptions, layout: Layout): Promise<Sandbox> {
  const sandbox = await detectSandbox({
    folder: boxFolder(layout, options.nodeId),
    mode: options.sandbox,
    ...(options.strictUids === undefined ? {} : { strictUids: options.strictUids }),
  });
  const { level, missing } = sandbox.status;
  if (options.sandbox === 'required' && level !== 'full')
    throw new PlatformError('internal', `the sandbox is required but not complete: ${missing.join('; ')}`);
  if (level === 'full') options.log.info('sandbox', { level });
  else
    options.log.error('sandbox_incomplete', {
      level,
      missing,
      consequence:
        'user code is not contained on this node: it can reach files, other instances and their sockets; run only code that you trust',
    });
  const orphans = await killOrphans(sandbox.slotsDir);
  if (orphans > 0) options.log.warn('orphans_killed', { count: orphans });
  // Slots of a crashed agent died with it; their folders did not.
  for (const name of await readdir(sandbox.slotsDir))
    await rm(join(sandbox.slotsDir, name), { recursive: true, force: true });
  return sandbox;
}

/** What is too small is told now: when the node is full it would be a failed start somewhere. */
async function tellHostLimits({ capacity, log }: AgentOptions): Promise<void> {
  const [limits, pidMax] = await Promise.all(
    ['/proc/self/limits', '/proc/sys/kernel/pid_max'].map((path) => readFile(path, 'utf8').catch(() => '')),
  );
  const problems = hostProblems(parseHostLimits(limits ?? '', pidMax ?? ''), capacity);
  if (problems.length > 0) log.warn('host_limits', { problems });
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
  readonly pools: Readonly<Record<Tier, SlotPool>>;
  readonly programs: Programs;
  readonly code: CodeCache;
  readonly logs: LogStore;
  readonly runnables: RunnableIndex;
  readonly bindings: BindingHost;
  readonly control: UnixPeer;
  readonly scheduler: UnixPeer;
}

/** Strict instances never get a slot that was made for others, and others never get theirs. */
function openPools(
  { slots, slotsMax, strictSlotsMax, log }: AgentOptions,
  sandbox: Sandbox,
  group: Cgroups | undefined,
): Readonly<Record<Tier, SlotPool>> {
  let slotNumber = 0;
  const open = (tier: Tier, min: number, max: number): SlotPool => {
    const runner = sandbox.runner(tier, group);
    return new SlotPool({
      min,
      max,
      freeBytes,
      clock: systemClock,
      timers: systemTimers,
      log,
      spawn: () => {
        slotNumber += 1;
        const folder = join(sandbox.slotsDir, slotNumber.toString(36));
        return Slot.spawn({ runner, folder, timers: systemTimers });
      },
    });
  };
  return {
    standard: open('standard', slots, Math.max(slots, slotsMax ?? 2 * slots)),
    strict: open('strict', 0, strictSlotsMax ?? 0),
  };
}

async function openParts(options: AgentOptions): Promise<Parts> {
  const layout = layoutOf(options.dataDir);
  await ensurePrivateFolder(layout.runDir);
  const nodeDir = layout.nodeDir(options.nodeId);
  await mkdir(nodeDir, { recursive: true, mode: 0o700 });
  const rpcHost = await ensureRpcHost(join(layout.dataDir, 'nodes', '.rpc-host'));
  const { log } = options;
  await tellHostLimits(options);
  const sandbox = await prepareSandbox(options, layout);
  const control = new UnixPeer(layout.sockets.control);
  const code = await CodeCache.open({
    folder: join(nodeDir, 'code'),
    bytesMax: options.codeCacheBytes,
    log,
    fetchBlob: (digest) => control.bytes(`/internal/blobs/${digest}`, LIMITS.bundleBytesMax),
  });
  const group =
    options.sandbox === 'off'
      ? undefined
      : await openCgroups({ name: `${basename(layout.runDir)}-${options.nodeId}`, timers: systemTimers });
  log.info('memory_groups', { version: group?.version ?? 'none' });
  const usage = new NodeUsage();
  return {
    options,
    layout,
    sandbox,
    group,
    priority: openPriority() ?? NO_PRIORITY,
    usage,
    usageSources: [() => usage.drain(systemClock.monotonicMs())],
    pools: openPools(options, sandbox, group),
    code,
    programs: new Programs({
      code,
      entry: await loadEntryModules(),
      rpcHost,
      bytesMax: ENCODED_BYTES_MAX,
    }),
    logs: await LogStore.open({
      folder: join(nodeDir, 'logs'),
      clock: systemClock,
      timers: systemTimers,
      log,
    }),
    runnables: new RunnableIndex(systemTimers),
    bindings: await openBindings(options, layout, rpcHost),
    control,
    scheduler: new UnixPeer(layout.sockets.scheduler),
  };
}

async function openBindings(options: AgentOptions, layout: Layout, rpcHost: string): Promise<BindingHost> {
  const folder = join(layout.dataDir, 'kv');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { nodeId, log } = options;
  return new BindingHost({
    kinds: [
      serviceBindings({ nodeId, schedulerSocket: layout.sockets.scheduler, rpcHost }),
      kvBindings({
        url: options.kv?.url ?? `file:${join(folder, 'kv.db')}`,
        authToken: options.kv?.authToken,
        bytesMax: options.kv?.bytesMax ?? KV_BYTES_MAX,
      }),
    ],
    log,
    timers: systemTimers,
  });
}

function followFeed(parts: Parts, egress: Egress): Promise<FeedConsumer> {
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
      parts.bindings.apply(items);
      for (const item of items) {
        if (item.kind === 'secret') egress.setSecret(item.key, item.value?.sealed);
        if (item.kind !== 'runnable') continue;
        runnables.set(item.key, item.value ?? undefined);
        if (item.value !== null) prepare(item.value);
      }
    },
  });
}

function startEgress({ options, layout }: Parts, onRefused: EgressOptions['onRefused']): Egress {
  const { allowPrivate = [], dnsServers = [], extraCa } = options.egress ?? {};
  return new Egress({
    settings: { allowPrivate, dnsServers, extraCa, nodeKeyFile: layout.nodeKey },
    clock: systemClock,
    timers: systemTimers,
    log: options.log,
    onRefused,
  });
}

interface Running {
  readonly egress: Egress;
  readonly instances: Instances;
  readonly watchdog: Watchdog;
  readonly heartbeat: Heartbeat;
  readonly launchOptions: LaunchOptions;
  /** From now on the heartbeat says that this node takes no more instances. */
  drain(): void;
}

function assemble(parts: Parts, socket: string): Running {
  const { options, pools, runnables, usage } = parts;
  let draining = false;
  const egress = startEgress(parts, ({ instanceId, message, requestId }) =>
    instances.get(instanceId)?.collector.platform(message, requestId),
  );
  parts.usageSources.push(() => egress.takeUsage());
  const launchOptions: LaunchOptions = {
    pools,
    ...(options.startupMsMax === undefined ? {} : { startupMsMax: options.startupMsMax }),
    timers: systemTimers,
    clock: systemClock,
    attachments: [egress, parts.bindings],
  };
  const instances = new Instances({
    launch: launchOptions,
    programs: parts.programs,
    logs: parts.logs,
    log: options.log,
    capacity: options.capacity,
    memory: { freeBytes, reserveBytes: options.memoryReserveBytes ?? 0 },
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
  const drain = (): void => {
    draining = true;
  };
  return { egress, instances, watchdog, heartbeat, launchOptions, drain };
}

export async function startAgent(options: AgentOptions): Promise<RunningPlane> {
  const parts = await openParts(options);
  const { layout, pools, logs, sandbox, programs } = parts;
  const socket = layout.sockets.node(options.nodeId);
  const running = assemble(parts, socket);
  const { instances, watchdog, heartbeat, launchOptions } = running;
  await pools.standard.fill(SLOTS_FIRST);
  const feed = await followFeed(parts, running.egress);
  const status = (): NodeStatus => ({
    nodeId: options.nodeId,
    sandbox: sandbox.status,
    instances: instances.count,
    freeSlots: pools.standard.waiting,
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
    kv: (question) => parts.bindings.ask(KV, question),
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
      await Promise.all([pools.standard.close(), pools.strict.close()]);
      await Promise.all([running.egress.close(), parts.bindings.close()]);
      await parts.group?.close();
      await closeServer(server, 500);
      // Of root it is outside the run folder. What a crash leaves, the next start uses.
      await rm(boxFolder(layout, options.nodeId), { recursive: true, force: true });
      await logs.close();
      await Promise.all([parts.control.close(), parts.scheduler.close()]);
    },
  };
}
