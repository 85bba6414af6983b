/** A real libSQL server for tests. */
import { freePort } from './ports.node.ts';
import { engineBinary, ServerProcess, whyAbsent, type ServerCommand } from './server-process.node.ts';

const BINARY = engineBinary('sqld');

export const noSqld: string | undefined = whyAbsent(BINARY, 'libSQL server');

export type Scheme = 'http' | 'ws';

export class Sqld extends ServerProcess {
  readonly port: number;
  readonly #folder: string;
  readonly #args: readonly string[];

  private constructor(folder: string, port: number, args: readonly string[]) {
    super();
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

  protected command(): ServerCommand {
    const listens = ['--http-listen-addr', `127.0.0.1:${this.port}`];
    return {
      program: BINARY,
      args: ['--no-welcome', '--db-path', this.#folder, ...listens, ...this.#args],
      answers: async () => (await fetch(`${this.url('http')}/health`)).ok,
    };
  }
}
