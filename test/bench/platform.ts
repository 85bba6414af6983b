/** A real platform for the bench: its own process tree, a fresh data folder. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { NodeStatus } from '#shared/contracts/nodes.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { ControlApi } from '../support/api.ts';
import { pssKb } from '../support/proc.ts';
import { fromHostSchema, type FromHost, type HostOptions } from './platform-messages.ts';

interface Started {
  readonly child: ChildProcess;
  readonly folder: TempFolder;
  readonly ready: Extract<FromHost, { type: 'ready' }>;
}

export class BenchPlatform implements AsyncDisposable {
  readonly gatewayUrl: string;
  readonly controlUrl: string;
  readonly credentialsPath: string;
  readonly api: ControlApi;
  readonly rootPid: number;
  readonly gatewayPids: readonly number[];
  /** Slots that wait when nothing happens. */
  readonly slots: number;
  readonly #pids: Readonly<Record<string, number>>;
  readonly #child: ChildProcess;
  readonly #folder: TempFolder;

  private constructor({ child, folder, ready }: Started, api: ControlApi, slots: number) {
    this.slots = slots;
    this.#pids = ready.pids;
    this.#child = child;
    this.#folder = folder;
    this.rootPid = child.pid ?? 0;
    this.gatewayUrl = ready.gatewayUrl;
    this.controlUrl = ready.controlUrl;
    this.credentialsPath = ready.credentialsPath;
    this.api = api;
    this.gatewayPids = Object.entries(ready.pids).flatMap(([name, pid]) =>
      name.startsWith('gateway') ? [pid] : [],
    );
  }

  static async start(
    options: Pick<HostOptions, 'gateways' | 'sandbox' | 'egressAllowPrivate' | 'settings'>,
  ): Promise<BenchPlatform> {
    const folder = await tempFolder();
    const host: HostOptions = {
      dataDir: join(folder.path, 'data'),
      gatewayPort: 0,
      controlPort: 0,
      ...options,
    };
    const child = fork(join(import.meta.dirname, 'platform-process.ts'), [JSON.stringify(host)], {
      execArgv: ['--disable-warning=ExperimentalWarning'],
      env: { ...process.env, ISOPLANE_LOG_LEVEL: 'error' },
    });
    const ready = await answerOf(child, 'ready');
    const slots = await settledSlots(child);
    return new BenchPlatform({ child, folder, ready }, await ControlApi.open(ready), slots);
  }

  /** Host header under which the gateway serves a function. */
  hostOf(name: string): string {
    return `${name}.localhost:${new URL(this.gatewayUrl).port}`;
  }

  nodeStatus(): Promise<NodeStatus> {
    return statusOf(this.#child);
  }

  /** Waits until all slots are ready: no other start disturbs the one that is measured next. */
  async slotsReady(): Promise<void> {
    await waitFor(
      'all slots to be ready',
      async () => (await this.nodeStatus()).freeSlots >= this.slots,
      60_000,
    );
  }

  get pids(): Readonly<Record<string, number>> {
    return this.#pids;
  }

  /** Memory of each plane's own process, in KiB. */
  planesKb(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.#pids).map(([name, pid]) => [name, pssKb(pid) ?? 0]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.send({ type: 'close' });
    await ended;
    await this.#folder[Symbol.asyncDispose]();
  }
}

async function statusOf(child: ChildProcess): Promise<NodeStatus> {
  const answer = answerOf(child, 'status');
  child.send({ type: 'status' });
  return (await answer).status;
}

/** The number of free slots once it has stopped to rise. */
function settledSlots(child: ChildProcess): Promise<number> {
  let seen = { slots: 0, sinceMs: performance.now() };
  return waitFor(
    'the slots to settle',
    async () => {
      const { freeSlots } = await statusOf(child);
      if (freeSlots !== seen.slots) seen = { slots: freeSlots, sinceMs: performance.now() };
      return freeSlots > 0 && performance.now() - seen.sinceMs > 1_000 ? freeSlots : undefined;
    },
    30_000,
  );
}

function answerOf<T extends FromHost['type']>(
  child: ChildProcess,
  expected: T,
): Promise<Extract<FromHost, { type: T }>> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error('the platform ended'));
    child.once('exit', onExit);
    child.once('message', (raw) => {
      child.off('exit', onExit);
      const answer = fromHostSchema.parse(raw);
      if (answer.type === expected) resolve(answer as Extract<FromHost, { type: T }>);
      else reject(new Error(answer.type === 'failed' ? answer.message : `unexpected answer ${answer.type}`));
    });
  });
}
