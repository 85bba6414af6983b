/**
 * A control plane that answers from a script and verifies nothing but that each call is signed or has a token; with the
 * data folder that makes the command find it.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { toBase64Url } from '#shared/encoding.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';

export interface SeenCall {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Answer {
  readonly status?: number;
  readonly body?: unknown;
  /** Sent as it is instead of `body`. */
  readonly text?: string;
}

export interface FakeControl extends AsyncDisposable {
  readonly dataDir: string;
  readonly origin: string;
  readonly calls: SeenCall[];
}

/** Serves both as control API and as gateway. */
export async function fakeControl(answer: (call: SeenCall) => Answer): Promise<FakeControl> {
  const folder = await tempFolder();
  const calls: SeenCall[] = [];
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on('data', (chunk: Uint8Array) => chunks.push(chunk));
    request.on('end', () => {
      const call = {
        method: request.method ?? '',
        url: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks).toString('latin1'),
      };
      calls.push(call);
      const signed =
        request.headers['signature-input'] !== undefined || request.headers.authorization !== undefined;
      const {
        status = 200,
        body,
        text,
      } = signed ? answer(call) : { status: 401, body: { code: 'signature_missing' } };
      response.writeHead(status, {
        'content-type': status >= 400 ? 'application/problem+json' : 'application/json',
      });
      response.end(text ?? (body === undefined ? '' : JSON.stringify(body)));
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const dataDir = join(folder.path, '.isoplane');
  await mkdir(dataDir, { mode: 0o700 });
  const credentials = {
    account: 'default',
    keyId: 'key-1',
    algorithm: 'hmac-sha256',
    secret: toBase64Url(new Uint8Array(32).fill(7)),
  };
  const platform = { controlUrl: origin, gatewayUrl: origin, baseDomain: 'localhost', pid: 1 };
  await writeFile(join(dataDir, 'credentials.json'), JSON.stringify(credentials));
  await writeFile(join(dataDir, 'platform.json'), JSON.stringify(platform));
  return {
    dataDir,
    origin,
    calls,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
      await folder[Symbol.asyncDispose]();
    },
  };
}
