/**
 * The whole platform on one machine: takes the data folder, starts the planes (starting.ts), keeps them
 * running, and stops them.
 */
import { rm } from 'node:fs/promises';
import process from 'node:process';
import { nodeStatusSchema, type NodeStatus } from '#shared/contracts/nodes.ts';
import { ensurePrivateFolder, layoutOf, type Layout } from '#shared/runtime/layout.node.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';
import { releaseBallast } from './ballast.ts';
import { forget, makeDataFolder, refuseMisplaced, stateOf } from './data-folder.ts';
import { lockDataFolder, type DataLock } from './data-lock.ts';
import { Noted } from './noted.ts';
import { DEFAULTS, type PlatformOptions } from './options.ts';
import type { PlaneName } from './planes.ts';
import { probePlaces, type Place } from './ports.ts';
import { NODE_ID, Starting } from './starting.ts';

export interface Platform {
  readonly gatewayUrl: string;
  readonly controlUrl: string;
  readonly dataDir: string;
  /** File with the owner key of account `default`. */
  readonly credentialsPath: string;
  readonly layout: Layout;
  /** Plane name → process id, at this moment. */
  pids(): Readonly<Record<string, number>>;
  nodeStatus(): Promise<NodeStatus>;
  /** Lost when the plane is not there. */
  tell(plane: PlaneName, message: object): void;
  /** Gives a plane a new process. */
  replace(plane: PlaneName): Promise<void>;
  close(): Promise<void>;
}

const KEEP_MS = 30_000;

/** @throws {PlatformError} the code of the part that could not start; everything started before is stopped. */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const layout = layoutOf(options.dataDir);
  const before = await stateOf(layout.dataDir);
  if (before !== 'used') await probePlaces(placesOf(options));
  await makeDataFolder(layout.dataDir);
  await refuseMisplaced(layout);
  try {
    options.signal?.throwIfAborted();
    if (await releaseBallast(layout.ballast, layout.dataDir))
      options.onEvent?.({ type: 'storage_full', plane: 'up' });
    const lock = await lockDataFolder(layout.lock);
    return await startLocked(layout, options, lock);
  } catch (thrown) {
    // A folder without a platform would hide the one of a folder above from every command.
    if (before !== 'used') await forget(layout.dataDir, before);
    throw thrown;
  }
}

async function startLocked(layout: Layout, options: PlatformOptions, lock: DataLock): Promise<Platform> {
  const starting = new Starting(layout, options);
  // One that is there is what a killed platform left, which a node looks through for what still runs.
  const hasRunDir = (await stateOf(layout.runDir)) !== 'missing';
  try {
    // Again for a folder in use, now that no other platform of this folder holds the ports.
    await probePlaces(placesOf(options));
    // After the lock: the run folder belongs to whoever holds the data folder.
    await ensurePrivateFolder(layout.runDir);
    await options.prepare?.();
    const endStart = (): void => void starting.stop();
    options.signal?.addEventListener('abort', endStart);
    const urls = await starting.run().finally(() => options.signal?.removeEventListener('abort', endStart));
    const file = { ...urls, baseDomain: options.baseDomain ?? DEFAULTS.baseDomain, pid: process.pid };
    const noted = new Noted(layout, file);
    if (!(await noted.keep())) options.onEvent?.({ type: 'storage_full', plane: 'up' });
    // Also keeps the process alive: when every plane is down at once, only restart timers are left, which do not.
    const keepNoted = setInterval(() => void noted.keep().catch(() => undefined), KEEP_MS);
    let closing: Promise<void> | undefined;
    return {
      ...urls,
      dataDir: layout.dataDir,
      credentialsPath: layout.credentials,
      layout,
      pids: () => starting.pids(),
      nodeStatus: () => readNodeStatus(layout),
      tell: (plane, message) => starting.tell(plane, message),
      replace: (plane) => starting.replace(plane),
      close() {
        closing ??= (async () => {
          clearInterval(keepNoted);
          await noted.remove();
          await starting.stop();
          await rm(layout.runDir, { recursive: true, force: true });
          await lock.release();
        })();
        return closing;
      },
    };
  } catch (thrown) {
    await starting.stop();
    if (!hasRunDir) await rm(layout.runDir, { recursive: true, force: true });
    await lock.release();
    // What an abort broke is not the cause.
    options.signal?.throwIfAborted();
    throw thrown;
  }
}

function placesOf(options: PlatformOptions): readonly Place[] {
  return [
    {
      plane: 'the gateway',
      host: options.gatewayHost ?? DEFAULTS.host,
      port: options.gatewayPort ?? DEFAULTS.gatewayPort,
    },
    {
      plane: 'control',
      host: options.controlHost ?? DEFAULTS.host,
      port: options.controlPort ?? DEFAULTS.controlPort,
    },
  ];
}

async function readNodeStatus(layout: Layout): Promise<NodeStatus> {
  const peer = peerOf(layout.sockets.node(NODE_ID), { connections: 1 });
  try {
    return await peer.call('/v1/status', nodeStatusSchema, { signal: AbortSignal.timeout(5_000) });
  } finally {
    await peer.close();
  }
}
