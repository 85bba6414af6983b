/**
 * The planes of a platform on one machine: started in order, stopped in reverse, kept running between.
 *
 * Order: control and scheduler first, then the node that reports to them, then the gateways, so that the
 * first request that can arrive can also be served.
 */
import { join } from 'node:path';
import { PlatformError } from '#shared/errors.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import type { Layout } from '#shared/runtime/layout.node.ts';
import { DEFAULTS, type PlatformOptions } from './options.ts';
import { SupervisedPlane } from './plane-process.ts';
import { planeMain, type PlaneName } from './planes.ts';
import { settingsOf } from './settings.ts';

export const NODE_ID = 'n1';

/**
 * Planes that wait more than they work: V8 would let the young generation of each grow to 48 MB after one
 * busy minute, and their garbage to four times what lives, and give neither back (docs/adr/0011). The gateway
 * allocates with every request and has a larger one, but not V8's own of 64 MB: small pieces of bodies that came to
 * be old there held seven times their number of bytes.
 */
const OLD_SPACE_V8_FLAGS = ['--initial-old-space-size=32', '--heap-growing-percent=100'];
const QUIET_V8_FLAGS = ['--max-semi-space-size=2', ...OLD_SPACE_V8_FLAGS];
const GATEWAY_V8_FLAGS = ['--max-semi-space-size=8', ...OLD_SPACE_V8_FLAGS];

export class Starting {
  readonly #layout: Layout;
  readonly #options: PlatformOptions;
  readonly #planes: SupervisedPlane[] = [];
  #stopped: Promise<void> | undefined;

  constructor(layout: Layout, options: PlatformOptions) {
    this.#layout = layout;
    this.#options = options;
  }

  async run(): Promise<{ controlUrl: string; gatewayUrl: string }> {
    const options = this.#options;
    const control = this.#plane('control', 'control', {
      ISOPLANE_CONTROL_HOST: options.controlHost ?? DEFAULTS.host,
      ISOPLANE_CONTROL_PORT: String(options.controlPort ?? DEFAULTS.controlPort),
      ISOPLANE_NODE_IDS: NODE_ID,
      ...(options.database === undefined ? {} : { ISOPLANE_DATABASE_URL: options.database }),
      ...(options.blobs === undefined ? {} : { ISOPLANE_BLOBS_URL: options.blobs }),
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
        v8Flags: plane === 'gateway' ? GATEWAY_V8_FLAGS : QUIET_V8_FLAGS,
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
        onEvent: (event) => this.#options.onEvent?.(event),
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
