/** A real S3 server for tests: started, killed, stopped, started again at the same address. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { waitFor } from '#shared/testing/fakes.ts';
import { freePort } from '#shared/testing/ports.node.ts';

const BINARY = join(import.meta.dirname, '..', '..', 'test', 'engines', 'node_modules', '.bin', 's3rver');

/** Why tests that need it are skipped here. */
export const noS3: string | undefined = existsSync(BINARY)
  ? undefined
  : 'SKIPPED: no S3 server here; `npm ci --prefix test/engines --ignore-scripts` installs one';

/** The keys that it knows. */
export const S3_KEYS = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' } as const;

export class S3 implements AsyncDisposable {
  readonly port: number;
  readonly folder: string;
  #child: ChildProcess | undefined;

  private constructor(folder: string, port: number) {
    this.folder = folder;
    this.port = port;
  }

  /** @param folder - of its data. It has one bucket, `blobs`. */
  static async start(folder: string): Promise<S3> {
    const s3 = new S3(folder, await freePort());
    await s3.start();
    return s3;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const child = spawn(
      process.execPath,
      // It encrypts where a list goes on with a cipher that is no longer offered.
      [
        '--openssl-legacy-provider',
        BINARY,
        '-d',
        this.folder,
        '-a',
        '127.0.0.1',
        '-p',
        String(this.port),
        '--configure-bucket',
        'blobs',
      ],
      { stdio: 'ignore' },
    );
    this.#child = child;
    await waitFor('s3rver to listen', async () => {
      if (child.exitCode !== null) throw new Error(`s3rver ended with ${child.exitCode}`);
      return fetch(this.endpoint).then(
        () => true,
        () => false,
      );
    });
  }

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
