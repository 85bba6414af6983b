/** The real platform in a folder of the session: all planes as `isoplane up` runs them, nothing shared with another one. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ControlApi } from '../client/api.ts';
import { connect, type Connection } from '../client/connection.ts';
import { planeMain, type PlaneName } from '../up/planes.ts';
import { startPlatform, type Platform } from '../up/platform.ts';
import type { PlaneEvent } from '../up/plane-process.ts';
import { planeLineSchema, type Exchange, type GatewaySettings, type Inspectable } from './planes/settings.ts';

export interface DevPlatformOptions {
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  readonly inspect: boolean;
  readonly sandbox: 'auto' | 'off';
  readonly signal: AbortSignal;
  readonly onExchange: (exchange: Exchange) => void;
  /** A caller was not let in; its exchange follows. */
  readonly onRefused: () => void;
  readonly onInspectable: (instance: Inspectable) => void;
  /** What the planes say otherwise. */
  readonly onEvent: (event: PlaneEvent) => void;
}

export interface DevPlatform {
  readonly platform: Platform;
  readonly api: ControlApi;
  readonly connection: Connection;
  /** Resolves when every further request is served by these. They hold until the next, also over a restart of the gateway. */
  configure(settings: Omit<GatewaySettings, 'revision'>): Promise<void>;
}

/** A gateway that is being replaced is not waited for. */
const SETTLED_MS_MAX = 2_000;
/** Functions are called one at a time by one person; more slots than two would only take memory. */
const SLOTS = 2;
/**
 * A function under development talks to what runs beside it: databases, other services. Its rules still say
 * which of these.
 */
const NEIGHBOURS = [
  '127.0.0.0/8',
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '::1/128',
  'fc00::/7',
] as const;

const DEV_MAINS: Partial<Record<PlaneName, string>> = { gateway: 'gateway.main', node: 'node.main' };

function mainOf(plane: PlaneName, inspect: boolean): string {
  const own = plane === 'node' && !inspect ? undefined : DEV_MAINS[plane];
  if (own === undefined) return planeMain(plane);
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fileURLToPath(new URL(`./planes/${own}.${extension}`, import.meta.url));
}

/** @throws {PlatformError} as `isoplane up`: `port_in_use`, `data_folder_in_use` and others. */
export async function startDevPlatform(options: DevPlatformOptions): Promise<DevPlatform> {
  const { dataDir, inspect } = options;
  const settings = new Settings();
  let started: Platform | undefined;
  const tell = (): void => {
    if (settings.current !== undefined) started?.tell('gateway', settings.current);
  };
  const platform = await startPlatform({
    dataDir,
    gatewayHost: options.host,
    gatewayPort: options.port,
    controlPort: 0,
    slots: SLOTS,
    sandbox: inspect ? 'off' : options.sandbox,
    egressAllowPrivate: NEIGHBOURS,
    startAtOnce: true,
    prepare: () => forgetCode(dataDir),
    environment: { NODE_COMPILE_CACHE: join(dataDir, 'compile-cache') },
    mainOf: (plane) => mainOf(plane, inspect),
    signal: options.signal,
    onEvent: (event) => {
      if (event.type === 'line' && readLine(event.line, options, settings)) return;
      if (event.type === 'ready' && event.plane === 'gateway') tell();
      options.onEvent(event);
    },
  });
  started = platform;
  tell();
  const connection = await connect({ data: dataDir, account: 'default' }).catch(async (thrown: unknown) => {
    await platform.close();
    throw thrown;
  });
  return {
    platform,
    connection,
    api: new ControlApi(connection),
    configure: (next) => {
      const settled = settings.change(next);
      tell();
      return settled;
    },
  };
}

/** What the gateway was told last, and whether it has said that this holds. */
class Settings {
  current: GatewaySettings | undefined;
  #waiting: { readonly revision: number; readonly resolve: () => void }[] = [];

  change(next: Omit<GatewaySettings, 'revision'>): Promise<void> {
    const revision = (this.current?.revision ?? 0) + 1;
    this.current = { ...next, revision };
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, SETTLED_MS_MAX);
      const settled = (): void => {
        clearTimeout(timer);
        resolve();
      };
      this.#waiting.push({ revision, resolve: settled });
    });
  }

  settled(revision: number): void {
    for (const each of this.#waiting) if (each.revision <= revision) each.resolve();
    this.#waiting = this.#waiting.filter((each) => each.revision > revision);
  }
}

function readLine(line: string, options: DevPlatformOptions, settings: Settings): boolean {
  if (!line.startsWith('{"event":"dev-')) return false;
  const parsed = planeLineSchema.safeParse(JSON.parse(line));
  if (!parsed.success) return false;
  const { data } = parsed;
  if (data.event === 'dev-request') options.onExchange(data);
  else if (data.event === 'dev-refused') options.onRefused();
  else if (data.event === 'dev-settled') settings.settled(data.revision);
  else options.onInspectable(data);
  return true;
}

/**
 * Code of earlier sessions is no use to this one, which publishes anew: without this the folder would grow
 * with every save.
 */
async function forgetCode(dataDir: string): Promise<void> {
  await rm(join(dataDir, 'blobs'), { recursive: true, force: true });
}
