/** A real node agent in a process of its own, with control's part played from memory. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { World } from '#nodes/testing/world.ts';
import { waitFor } from '#shared/testing/fakes.ts';

const SAID_LENGTH_MAX = 20_000;

export class AgentProcess implements AsyncDisposable {
  readonly world: World;
  /** Of its debugger, where it was started with one. */
  readonly debuggerUrl: string | undefined;
  readonly #child: ChildProcess;

  private constructor(world: World, child: ChildProcess, debuggerUrl: string | undefined) {
    this.world = world;
    this.#child = child;
    this.debuggerUrl = debuggerUrl;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /**
   * @param environment - beside the data folder; see nodes/config.ts.
   * @param flags - of Node.
   */
  static async start(
    environment: Readonly<Record<string, string>>,
    flags: readonly string[] = [],
  ): Promise<AgentProcess> {
    const world = await World.start({ slots: 0 });
    await world.stopAgent();
    const main = join(import.meta.dirname, '..', '..', 'nodes', 'main.ts');
    const child = spawn(process.execPath, [...flags, main], {
      env: {
        ISOPLANE_DATA_DIR: world.layout.dataDir,
        PATH: process.env['PATH'],
        TMPDIR: process.env['TMPDIR'],
        ...environment,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      if (said.length < SAID_LENGTH_MAX) said += chunk.toString('utf8');
    });
    await waitFor('the agent to be ready', () => {
      if (child.exitCode !== null) throw new Error(`the agent ended with ${child.exitCode}: ${said}`);
      return said.includes('"event":"ready"');
    });
    return new AgentProcess(world, child, /Debugger listening on (ws:\S+)/.exec(said)?.[1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGTERM');
    await ended;
    await this.world[Symbol.asyncDispose]();
  }
}
