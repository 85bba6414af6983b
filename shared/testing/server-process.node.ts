/** A real server for tests: started, killed, stopped, started again at the same address. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from './fakes.ts';

const BINARIES = join(import.meta.dirname, '..', '..', 'test', 'engines', 'node_modules', '.bin');

export const engineBinary = (name: string): string => join(BINARIES, name);

/** Why tests that need it are skipped here. */
export function whyAbsent(binary: string, what: string): string | undefined {
  return existsSync(binary)
    ? undefined
    : `SKIPPED: no ${what} here; \`npm ci --prefix test/engines --ignore-scripts\` installs one`;
}

export interface ServerCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly answers: () => Promise<boolean>;
}

export abstract class ServerProcess implements AsyncDisposable {
  #child: ChildProcess | undefined;

  protected abstract command(): ServerCommand;

  /** Resolves when it answers. */
  async start(): Promise<void> {
    const { program, args, answers } = this.command();
    const child = spawn(program, args, { stdio: 'ignore' });
    this.#child = child;
    await waitFor(`${program} to answer`, async () => {
      if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}`);
      return answers().catch(() => false);
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
