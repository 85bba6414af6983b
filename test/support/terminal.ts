/** A command on a terminal of its own, where Ctrl-C is a key: `script` of util-linux makes the terminal. */
import { spawn, type ChildProcess } from 'node:child_process';
import process from 'node:process';
import { waitFor } from '#shared/testing/fakes.ts';
import { cliCommand, cliEnvironment } from './cli.ts';

const CTRL_C = '\u0003';

export class TerminalCli {
  readonly #child: ChildProcess;
  readonly ended: Promise<number | null>;
  #shown = '';

  constructor(args: readonly string[], cwd: string) {
    const line = [...cliCommand, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    const { CI: _ci, ...env } = cliEnvironment();
    this.#child = spawn('script', ['-qefc', `exec ${line}`, '/dev/null'], {
      cwd,
      env: { ...env, TERM: 'xterm', SHELL: '/bin/sh' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout?.on('data', (chunk: Buffer) => (this.#shown += chunk.toString('utf8')));
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', resolve);
    });
  }

  get shown(): string {
    return this.#shown;
  }

  shows(text: string): Promise<unknown> {
    return waitFor(`the terminal to show ${text}`, () => this.#shown.includes(text), 30_000).catch(
      (thrown: unknown) => {
        process.stderr.write(this.#shown);
        throw thrown;
      },
    );
  }

  ctrlC(): void {
    this.#child.stdin?.write(CTRL_C);
  }
}
