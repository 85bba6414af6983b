/**
 * The whole platform on one machine: takes the data folder, starts the planes in order, keeps them
 * running, and stops them in reverse.
 *
 * Order: control and scheduler first, then the node that reports to them, then the gateways, so that the
 * first request that can arrive can also be served.
 */
import { readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import type { PlatformFile } from '#shared/contracts/credentials.ts';
import { nodeStatusSchema, type NodeStatus } from '#shared/contracts/nodes.ts';
import { PlatformError } from '#shared/errors.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { meansDiskFull } from '#shared/runtime/disk.node.ts';
import { ensurePrivateFolder, layoutOf, type Layout } from '#shared/runtime/layout.node.ts';
import { UnixPeer } from '#shared/runtime/unix-http.node.ts';
import { CliError } from '../failure.ts';
import { releaseBallast, takeBallast } from './ballast.ts';
import { deferred } from './deferred.ts';
import { lockDataFolder, type DataLock } from './data-lock.ts';
import { SupervisedPlane, type PlaneEvent } from './plane-process.ts';
import { planeMain, type PlaneName } from './planes.ts';
import { probePlaces, type Place } from './ports.ts';
import { settingsOf } from './settings.ts';

export interface PlatformOptions {
  readonly dataDir: string;
  /** Default 127.0.0.1 and 8787. Port 0 lets the system choose. */
  readonly gatewayHost?: string;
  readonly gatewayPort?: number;
  /** Default 127.0.0.1 and 8788. */
  readonly controlHost?: string;
  readonly controlPort?: number;
  /** Gateway processes that share the port; 1 to 64. Default 1. */
  readonly gateways?: number;
  /** Warm slots of the node; undefined leaves it to the node. */
  readonly slots?: number;
  readonly sandbox?: 'auto' | 'required' | 'off';
  readonly baseDomain?: string;
  /** Addresses that functions may reach though they are not public: CIDR ranges or `address:port`; for tests. */
  readonly egressAllowPrivate?: readonly string[];
  /** Further settings of planes (settings.ts); each plane is given its own. */
  readonly settings?: Readonly<Record<string, string | undefined>>;
  /** All planes at once: the sooner ready, the more of it at the same time. */
  readonly startAtOnce?: boolean;
  /** Runs when the data folder is held and no plane runs yet. */
  readonly prepare?: () => Promise<void>;
  /** Of every plane, beside its settings. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly onEvent?: (event: PlaneEvent) => void;
  /** Ends a start that is under way; later it means nothing. */
  readonly signal?: AbortSignal;
  /** File that runs a plane; tests put scripted planes here. */
  readonly mainOf?: (plane: PlaneName) => string;
}

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
  /** Resolves when a plane cannot be kept running; the caller closes. */
  readonly gaveUp: Promise<PlatformError>;
  close(): Promise<void>;
}

export const DEFAULTS = {
  host: '127.0.0.1',
  gatewayPort: 8787,
  controlPort: 8788,
  baseDomain: 'localhost',
} as const;

const NODE_ID = 'n1';
const KEEP_MS = 30_000;

/**
 * Planes that wait more than they work: V8 would let the young generation of each grow to 48 MB after one
 * busy minute, and their garbage to four times what lives, and give neither back (docs/adr/0011). The gateway
 * keeps V8's own sizes: it allocates with every request.
 */
const QUIET_V8_FLAGS = [
  '--max-semi-space-size=2',
  '--initial-old-space-size=32',
  '--heap-growing-percent=100',
];

/** @throws {PlatformError} the code of the part that could not start; everything started before is stopped. */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const layout = layoutOf(options.dataDir);
  const before = await stateOf(layout.dataDir);
  if (before !== 'used') await probePlaces(placesOf(options));
  await makeDataFolder(layout.dataDir);
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
      gaveUp: starting.gaveUp,
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

type FolderState = 'missing' | 'empty' | 'used';

/** What cannot be read is somebody's: making it says why it cannot be the data folder. */
async function stateOf(path: string): Promise<FolderState> {
  try {
    return (await readdir(path)).length === 0 ? 'empty' : 'used';
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : 'used';
  }
}

/** Takes away what a start has made that did not come to anything. */
async function forget(path: string, before: Exclude<FolderState, 'used'>): Promise<void> {
  const made = before === 'missing' ? [path] : (await readdir(path)).map((name) => join(path, name));
  for (const each of made) await rm(each, { recursive: true, force: true });
}

/** @throws {CliError} `folder_unreadable` when there is and can be no such folder. */
async function makeDataFolder(path: string): Promise<void> {
  try {
    const isFile = await stat(path).then(
      (info) => !info.isDirectory(),
      () => false,
    );
    if (isFile) throw Object.assign(new Error('it is not a folder'), { code: 'ENOTDIR' });
    for (const folder of [path, join(path, 'logs')]) await ensurePrivateFolder(folder);
  } catch (thrown) {
    if (thrown instanceof PlatformError) throw thrown;
    throw new CliError(
      'folder_unreadable',
      `${path} cannot be the data folder: ${(thrown as Error).message}.`,
      {
        advice: 'Name a folder that can be written with --data DIR.',
        cause: thrown,
      },
    );
  }
}

class Starting {
  readonly #layout: Layout;
  readonly #options: PlatformOptions;
  readonly #planes: SupervisedPlane[] = [];
  readonly #gaveUp = deferred<PlatformError>();
  #stopped: Promise<void> | undefined;

  constructor(layout: Layout, options: PlatformOptions) {
    this.#layout = layout;
    this.#options = options;
  }

  get gaveUp(): Promise<PlatformError> {
    return this.#gaveUp.promise;
  }

  async run(): Promise<{ controlUrl: string; gatewayUrl: string }> {
    const options = this.#options;
    const control = this.#plane('control', 'control', {
      ISOPLANE_CONTROL_HOST: options.controlHost ?? DEFAULTS.host,
      ISOPLANE_CONTROL_PORT: String(options.controlPort ?? DEFAULTS.controlPort),
      ISOPLANE_NODE_IDS: NODE_ID,
    });
    const scheduler = this.#plane('scheduler', 'scheduler', {});
    const node = this.#plane('node', 'node', {
      ISOPLANE_NODE_ID: NODE_ID,
      ISOPLANE_SANDBOX: options.sandbox ?? 'auto',
      ...(options.slots === undefined ? {} : { ISOPLANE_SLOTS: String(options.slots) }),
      ...(options.egressAllowPrivate === undefined
        ? {}
        : { ISOPLANE_EGRESS_ALLOW_PRIVATE: options.egressAllowPrivate.join(',') }),
    });
    const startFirst = async (): Promise<string> => {
      const [addresses] = await allStarted([control.start(), scheduler.start()]);
      const url = urlOf(addresses);
      control.pin({ ISOPLANE_CONTROL_PORT: new URL(url).port });
      return url;
    };
    if (options.startAtOnce === true) {
      const first = startFirst();
      const [, gatewayUrl] = await allStarted([node.start().then(() => ''), this.#startGateways(), first]);
      return { controlUrl: await first, gatewayUrl: gatewayUrl ?? '' };
    }
    const controlUrl = await startFirst();
    await node.start();
    const gatewayUrl = await this.#startGateways();
    return { controlUrl, gatewayUrl };
  }

  /** The first one settles the port (0 = the system chooses); the others join it. */
  async #startGateways(): Promise<string> {
    const count = this.#options.gateways ?? 1;
    const gateway = (id: number, port: string): SupervisedPlane =>
      this.#plane('gateway', count === 1 ? 'gateway' : `gateway-${id}`, {
        ISOPLANE_GATEWAY_ID: `g${id}`,
        ISOPLANE_GATEWAY_HOST: this.#options.gatewayHost ?? DEFAULTS.host,
        ISOPLANE_GATEWAY_PORT: port,
        ISOPLANE_GATEWAY_REUSE_PORT: count > 1 ? '1' : '0',
      });
    const first = gateway(1, String(this.#options.gatewayPort ?? DEFAULTS.gatewayPort));
    const gatewayUrl = urlOf(await first.start());
    const { port } = new URL(gatewayUrl);
    first.pin({ ISOPLANE_GATEWAY_PORT: port });
    const others = Array.from({ length: count - 1 }, (_, index) => gateway(index + 2, port));
    await allStarted(others.map((plane) => plane.start()));
    return gatewayUrl;
  }

  tell(plane: PlaneName, message: object): void {
    for (const each of this.#named(plane)) each.send(message);
  }

  async replace(plane: PlaneName): Promise<void> {
    await allStarted(this.#named(plane).map((each) => each.replace()));
  }

  #named(plane: PlaneName): readonly SupervisedPlane[] {
    return this.#planes.filter(({ name }) => name === plane || name.startsWith(`${plane}-`));
  }

  pids(): Record<string, number> {
    return Object.fromEntries(
      this.#planes.flatMap((plane) => (plane.pid === undefined ? [] : [[plane.name, plane.pid]])),
    );
  }

  /** Gateways first, so that nothing new arrives; each within its own bound. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  async #stopAll(): Promise<void> {
    for (const group of [['gateway'], ['node'], ['scheduler', 'control']]) {
      await Promise.all(
        this.#planes
          .filter((plane) => group.some((name) => plane.name.startsWith(name)))
          .map((plane) => plane.stop()),
      );
    }
  }

  #plane(plane: PlaneName, name: string, environment: Readonly<Record<string, string>>): SupervisedPlane {
    this.#options.signal?.throwIfAborted();
    const supervised = new SupervisedPlane(
      {
        name,
        main: (this.#options.mainOf ?? planeMain)(plane),
        // What a plane writes is for its user alone, whatever each write says. The node also makes folders
        // that sandboxed processes of another user must read, so it sets every mode itself.
        v8Flags: plane === 'gateway' ? [] : QUIET_V8_FLAGS,
        umask: plane === 'node' ? 0o022 : 0o077,
        logPath: join(this.#layout.dataDir, 'logs', `${name}.log`),
        environment: {
          ...settingsOf(plane, this.#options.settings ?? {}),
          ...this.#options.environment,
          ISOPLANE_DATA_DIR: this.#layout.dataDir,
          ISOPLANE_BASE_DOMAIN: this.#options.baseDomain ?? DEFAULTS.baseDomain,
          ...environment,
        },
      },
      {
        clock: systemClock,
        timers: systemTimers,
        onEvent: (event) => {
          this.#options.onEvent?.(event);
          if (event.type === 'gave_up') this.#gaveUp.resolve(event.error);
        },
      },
    );
    this.#planes.push(supervised);
    return supervised;
  }
}

/** Like Promise.all, but no start is left running unobserved when another one fails. */
async function allStarted<T>(starts: readonly Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(starts);
  return settled.map((result) => {
    if (result.status === 'rejected') throw result.reason as Error;
    return result.value;
  });
}

function urlOf(addresses: Readonly<Record<string, string>> | undefined): string {
  const url = Object.values(addresses ?? {}).find((address) => address.startsWith('http'));
  if (url === undefined) throw new PlatformError('internal', 'a plane is ready but names no URL');
  return url.replace(/\/$/, '');
}

/** What the running platform keeps in its data folder itself: where it listens, and room for a bad day. */
class Noted {
  readonly #layout: Layout;
  readonly #file: PlatformFile;
  #written = false;
  #removed = false;

  constructor(layout: Layout, file: PlatformFile) {
    this.#layout = layout;
    this.#file = file;
  }

  /** @returns false: the disk has no room even for the addresses, so that commands cannot find the platform. */
  async keep(): Promise<boolean> {
    const { platformFile, ballast, dataDir } = this.#layout;
    try {
      if (!this.#written && !this.#removed) await writePlatformFile(platformFile, this.#file);
      this.#written = true;
    } catch (thrown) {
      await rm(`${platformFile}.new`, { force: true });
      if (!meansDiskFull(thrown)) throw thrown;
      return false;
    }
    if (!this.#removed) await takeBallast(ballast, dataDir);
    return true;
  }

  async remove(): Promise<void> {
    this.#removed = true;
    await rm(this.#layout.platformFile, { force: true });
  }
}

async function writePlatformFile(path: string, content: PlatformFile): Promise<void> {
  await writeFile(`${path}.new`, `${JSON.stringify(content, undefined, 2)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

async function readNodeStatus(layout: Layout): Promise<NodeStatus> {
  const peer = new UnixPeer(layout.sockets.node(NODE_ID), { connections: 1 });
  try {
    return await peer.call('/v1/status', nodeStatusSchema, { signal: AbortSignal.timeout(5_000) });
  } finally {
    await peer.close();
  }
}
