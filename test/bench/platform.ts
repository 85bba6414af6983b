/** A real platform for the bench: its own process tree, a fresh data folder. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { NodeStatus } from '#shared/contracts/nodes.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { ControlApi } from '../support/api.ts';
import { fromHostSchema, type FromHost, type HostOptions } from './platform-messages.ts';

export class BenchPlatform implements AsyncDisposable {
  readonly gatewayUrl: string;
  readonly controlUrl: string;
  readonly credentialsPath: string;
  readonly api: ControlApi;
  readonly rootPid: number;
  readonly gatewayPids: readonly number[];
  readonly #child: ChildProcess;
  readonly #folder: TempFolder;

  private constructor(
    child: ChildProcess,
    folder: TempFolder,
    ready: Extract<FromHost, { type: 'ready' }>,
    api: ControlApi,
  ) {
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

  static async start(options: Pick<HostOptions, 'gateways' | 'sandbox'>): Promise<BenchPlatform> {
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
    const platform = new BenchPlatform(child, folder, ready, await ControlApi.open(ready));
    await platform.slotsReady();
    return platform;
  }

  /** Host header under which the gateway serves a function. */
  hostOf(name: string): string {
    return `${name}.localhost:${new URL(this.gatewayUrl).port}`;
  }

  async nodeStatus(): Promise<NodeStatus> {
    const answer = answerOf(this.#child, 'status');
    this.#child.send({ type: 'status' });
    return (await answer).status;
  }

  /** Waits until a slot is ready, so that a cold start is one from a warm slot. */
  async slotsReady(least = 1): Promise<void> {
    await waitFor('free slots', async () => (await this.nodeStatus()).freeSlots >= least, 30_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.send({ type: 'close' });
    await ended;
    await this.#folder[Symbol.asyncDispose]();
  }
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
