/** `isoplane up` in processes of its own, to be killed. */
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ChildProcess } from 'node:child_process';
import process from 'node:process';
import { z } from 'zod';
import { waitFor } from '#shared/testing/fakes.ts';
import { ControlApi } from './api.ts';
import { spawnCli } from './cli.ts';
import { callGateway } from './platform.ts';
import { isAlive, processTree } from './proc.ts';

const bannerSchema = z.object({
  gatewayUrl: z.string(),
  controlUrl: z.string(),
  pids: z.record(z.string(), z.number().int()),
});
type Banner = z.infer<typeof bannerSchema>;

export class UpProcess implements AsyncDisposable {
  readonly gatewayUrl: string;
  readonly controlUrl: string;
  readonly api: ControlApi;
  readonly #child: ChildProcess;
  readonly #banner: Banner;

  private constructor(child: ChildProcess, banner: Banner, api: ControlApi) {
    this.#child = child;
    this.#banner = banner;
    this.gatewayUrl = banner.gatewayUrl;
    this.controlUrl = banner.controlUrl;
    this.api = api;
  }

  static async start(
    dataDir: string,
    args: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
    /** File that its error output goes to. */
    stderr?: string,
  ): Promise<UpProcess> {
    // Filling a large pool would only keep the machine from the tests.
    const options = ['--port', '0', '--control-port', '0', '--slots', '3'];
    const child = spawnCli(['--json', '--data', dataDir, 'up', ...options, ...args], {
      env,
      ...(stderr === undefined ? {} : { stderr: openSync(stderr, 'w') }),
    });
    let errors = '';
    child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString('utf8')));
    const line = await new Promise<string>((resolve, reject) => {
      if (child.stdout === null) throw new Error('the output of `up` is not piped');
      createInterface({ input: child.stdout }).once('line', resolve);
      child.once('exit', (code) => reject(new Error(`isoplane up ended with ${code}\n${errors}`)));
    });
    const banner = bannerSchema.parse(JSON.parse(line));
    const api = await ControlApi.open({
      controlUrl: banner.controlUrl,
      credentialsPath: join(dataDir, 'credentials.json'),
    });
    return new UpProcess(child, banner, api);
  }

  /** Process ids of the planes as they were started. */
  get pids(): Readonly<Record<string, number>> {
    return this.#banner.pids;
  }

  async serves(name: string, isExpected: (text: string) => boolean): Promise<void> {
    await waitFor(
      `${name} to be served`,
      async () => isExpected((await callGateway(this.gatewayUrl, name)).text),
      30_000,
    );
  }

  /** Everything at once, as a power cut would: the launcher, the supervisor, the planes, the sandboxes. */
  killAll(): void {
    const root = this.#child.pid;
    if (root === undefined) return;
    const pids = new Set([...processTree(root).map(({ pid }) => pid), ...Object.values(this.#banner.pids)]);
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It was a child of one that was killed before it, and went along.
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const pids = Object.values(this.#banner.pids);
    this.#child.kill('SIGTERM');
    await waitFor('the platform to end', () => pids.every((pid) => !isAlive(pid)), 30_000);
  }
}
