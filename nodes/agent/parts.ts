/** The parts that an agent is made of, opened: its folders, sandbox, slots, stores and peers. */
import { randomInt } from 'node:crypto';
import { chmod, mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import process from 'node:process';
import type { Tier } from '#shared/contracts/config.ts';
import { BlobCache } from '#shared/blobs/cache.node.ts';
import { PlatformError } from '#shared/errors.ts';
import type { Digest, VersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { ensurePrivateFolder, keepOutOfGit, type Layout } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';
import type { Peer } from '#shared/runtime/peer.ts';
import { AttachmentHost } from '../attachments/host.ts';
import type { AttachmentKind } from '../attachments/kind.ts';
import { attachmentKinds } from '../attachments/kinds.ts';
import type { KvData } from '../attachments/kv/kind.ts';
import { ensureRpcHost } from '../attachments/services/rpc-host.ts';
import type { UsageSource } from '#shared/usage/reporter.ts';
import { createOpenSecrets } from '../code/open-secrets.ts';
import { Prefetch } from '../code/prefetch.ts';
import { Programs } from '../code/programs.ts';
import type { EgressSettings } from '../attachments/egress/kind.ts';
import { loadEntryModules } from '../entry/pack.ts';
import { LogStore } from '../logs/store.ts';
import { openCgroups, type Cgroups } from '../sandbox/cgroup.ts';
import { detectSandbox, type DetectOptions, type Sandbox } from '../sandbox/detect.ts';
import type { UidRange } from '../sandbox/identities.ts';
import { keepLevel } from '../sandbox/kept-level.ts';
import { killOrphans } from '../sandbox/orphans.ts';
import { SlotPool } from '../slots/pool.ts';
import { Slot } from '../slots/slot.ts';
import { NodeUsage } from '../usage/node-usage.ts';
import { hostProblems, parseHostLimits } from './host-limits.ts';
import { RunnableIndex } from './runnables.ts';

export interface AgentOptions {
  readonly layout: Layout;
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
  /** Beside those of the platform. */
  readonly kinds?: readonly AttachmentKind[];
  readonly log: Log;
  /** Instances run with a debugger on a loopback port, which is told: for development without a sandbox. */
  readonly onInspectable?: (instance: { readonly versionId: VersionId; readonly port: number }) => void;
}

const KV_BYTES_MAX = 16 * 1024 * 1_048_576;
/** A callers' queue time is longer. */
const FETCH_MS_MAX = 5_000;
/** While control is not heard it hardly gives blobs; a caller who waits should know soon. */
const FETCH_ALONE_MS_MAX = 500;
const CODE_RETRY_MS = 1_000;

/** Of the machine, or of the group that the agent runs in when that allows less. */
export const freeBytes = (): number => process.availableMemory();

/** Short, and when the agent is root outside the private run folder, so that the slots' user can pass. */
export function boxFolder(layout: Layout, nodeId: string): string {
  return process.getuid?.() === 0 ? `${layout.runDir}-box-${nodeId}` : join(layout.runDir, `box-${nodeId}`);
}

async function prepareSandbox(options: AgentOptions): Promise<Sandbox> {
  const sandbox = await detectSandbox({
    folder: boxFolder(options.layout, options.nodeId),
    mode: options.sandbox,
    inspect: options.onInspectable !== undefined,
    ...(options.strictUids === undefined ? {} : { strictUids: options.strictUids }),
  });
  const { level, missing } = sandbox.status;
  if (options.sandbox === 'required' && level !== 'full')
    throw new PlatformError('internal', `the sandbox is required but not complete: ${missing.join('; ')}`);
  if (options.sandbox === 'auto') await keepLevel(boxFolder(options.layout, options.nodeId), sandbox.status);
  if (level === 'full') options.log.info('sandbox', { contained: level });
  else
    options.log.error('sandbox_incomplete', {
      contained: level,
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

/** What does not need the others; `plane.ts` puts the rest together from it. */
export interface Parts {
  readonly options: AgentOptions;
  readonly sandbox: Sandbox;
  readonly group: Cgroups | undefined;
  readonly usage: NodeUsage;
  /** Who counts what functions use. */
  readonly usageSources: readonly UsageSource[];
  readonly pools: Readonly<Record<Tier, SlotPool>>;
  readonly programs: Programs;
  readonly code: BlobCache;
  readonly logs: LogStore;
  readonly runnables: RunnableIndex;
  readonly prefetch: Prefetch;
  /** Whether control is heard: its feed is silent when it hangs. */
  readonly link: { heard: boolean };
  readonly attachments: AttachmentHost;
  readonly control: Peer;
  readonly scheduler: Peer;
}

/** Paths of sockets have 107 bytes. Two lives in a row are the same in one of 60 million cases. */
const LIFE_LENGTH = 5;

/** Strict instances never get a slot that was made for others, and others never get theirs. */
function openPools(
  { slots, slotsMax, strictSlotsMax, log }: AgentOptions,
  sandbox: Sandbox,
  group: Cgroups | undefined,
): Readonly<Record<Tier, SlotPool>> {
  // Holders of leases know an instance by the path of its socket: one that the agent before this one made must
  // never lead to another function.
  const life = randomInt(36 ** LIFE_LENGTH)
    .toString(36)
    .padStart(LIFE_LENGTH, '0');
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
        const folder = join(sandbox.slotsDir, `${life}${slotNumber.toString(36)}`);
        return Slot.spawn({ runner, folder, timers: systemTimers });
      },
    });
  };
  return {
    standard: open('standard', slots, Math.max(slots, slotsMax ?? 2 * slots)),
    strict: open('strict', 0, strictSlotsMax ?? 0),
  };
}

export async function openParts(options: AgentOptions): Promise<Parts> {
  const { layout, log } = options;
  await ensurePrivateFolder(layout.runDir);
  const nodeDir = layout.nodeDir(options.nodeId);
  const made = await mkdir(nodeDir, { recursive: true, mode: 0o700 });
  // A node of its own may be the one that makes the data folder.
  if (made !== undefined && `${layout.dataDir}/`.startsWith(`${made}/`)) await keepOutOfGit(layout.dataDir);
  const rpcHost = await ensureRpcHost(join(layout.dataDir, 'nodes', '.rpc-host'));
  await tellHostLimits(options);
  const sandbox = await prepareSandbox(options);
  const control = peerOf(layout.sockets.control);
  const link = { heard: false };
  const code = await BlobCache.open({
    folder: join(nodeDir, 'code'),
    bytesMax: options.codeCacheBytes,
    log,
    fetchBlob: (digest) => fetchBlob(control, digest, link.heard ? FETCH_MS_MAX : FETCH_ALONE_MS_MAX),
  });
  const group =
    options.sandbox === 'off'
      ? undefined
      : await openCgroups({ name: `${basename(layout.runDir)}-${options.nodeId}`, timers: systemTimers });
  log.info('memory_groups', { version: group?.version ?? 'none' });
  const kinds = await openKinds(options, rpcHost);
  const programs = new Programs({
    code,
    entry: await loadEntryModules(),
    openSecrets: createOpenSecrets(layout.nodeKey),
    rpcHost,
    kinds,
  });
  const usage = new NodeUsage();
  const attachments = new AttachmentHost({ kinds, log, clock: systemClock, timers: systemTimers });
  return {
    options,
    sandbox,
    group,
    usage,
    usageSources: [() => usage.drain(systemClock.monotonicMs()), () => attachments.takeUsage()],
    pools: openPools(options, sandbox, group),
    code,
    programs,
    prefetch: new Prefetch({ prepare: (runnable) => programs.of(runnable), log }),
    link,
    logs: await LogStore.open({
      folder: join(nodeDir, 'logs'),
      clock: systemClock,
      timers: systemTimers,
      log,
    }),
    runnables: new RunnableIndex(systemTimers),
    attachments,
    control,
    scheduler: peerOf(layout.sockets.scheduler),
  };
}

/** SQLite gives its write-ahead log the mode of the database; an older one may have been made with another. */
async function makePrivate(database: string): Promise<void> {
  await (await open(database, 'a', 0o600)).close();
  for (const path of [database, `${database}-wal`, `${database}-shm`])
    await chmod(path, 0o600).catch((thrown: unknown) => {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
    });
}

/** @throws {PlatformError} what control answers; `code_unavailable` when it does not, or not in time. */
async function fetchBlob(control: Peer, digest: Digest, timeoutMs: number): Promise<Uint8Array> {
  try {
    return await control.bytes(`/internal/blobs/${digest}`, LIMITS.bundleBytesMax, {
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch (thrown) {
    if (thrown instanceof PlatformError && thrown.code !== 'internal') throw thrown;
    throw new PlatformError('code_unavailable', `blob ${digest} is not here, and control does not give it`, {
      cause: thrown,
      retryAfterMs: CODE_RETRY_MS,
    });
  }
}

async function openKinds(options: AgentOptions, rpcHost: string): Promise<readonly AttachmentKind[]> {
  const { layout, nodeId } = options;
  const folder = join(layout.dataDir, 'kv');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const database = join(folder, 'kv.db');
  await makePrivate(database);
  const { allowPrivate = [], dnsServers = [], extraCa } = options.egress ?? {};
  const own = attachmentKinds({
    egress: { allowPrivate, dnsServers, extraCa, nodeKeyFile: layout.nodeKey },
    services: { nodeId, schedulerAddress: layout.sockets.scheduler, rpcHost },
    kv: {
      url: options.kv?.url ?? `file:${database}`,
      authToken: options.kv?.authToken,
      bytesMax: options.kv?.bytesMax ?? KV_BYTES_MAX,
    },
    assets: { folder: join(layout.nodeDir(nodeId), 'assets'), controlAddress: layout.sockets.control },
  });
  return [...own, ...(options.kinds ?? [])];
}
