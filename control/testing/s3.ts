/** A real S3 server for tests. */
import process from 'node:process';
import { freePort } from '#shared/testing/ports.node.ts';
import {
  engineBinary,
  ServerProcess,
  whyAbsent,
  type ServerCommand,
} from '#shared/testing/server-process.node.ts';

const BINARY = engineBinary('s3rver');

export const noS3: string | undefined = whyAbsent(BINARY, 'S3 server');

/** The keys that it knows. */
export const S3_KEYS = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' } as const;

export class S3 extends ServerProcess {
  readonly port: number;
  readonly folder: string;

  private constructor(folder: string, port: number) {
    super();
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

  protected command(): ServerCommand {
    return {
      program: process.execPath,
      args: [
        // It encrypts where a list goes on with a cipher that is no longer offered.
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
      answers: () => fetch(this.endpoint).then(() => true),
    };
  }
}
