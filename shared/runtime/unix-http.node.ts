/**
 * HTTP between planes on one machine: Unix sockets in a folder that only the platform's user can enter,
 * which is what authenticates the peer.
 */
import { chmod, unlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { Pool } from 'undici';
import type { z } from 'zod';
import { fromProblem, PlatformError } from '../errors.ts';
import { Lines } from '../lines.ts';

type FetchHandler = (request: Request) => Response | Promise<Response>;

function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Serves `handler` on a Unix socket with mode 0600. A stale socket file is replaced; a live one is refused. */
export async function serveUnix(path: string, handler: FetchHandler): Promise<Server> {
  if (await isListening(path))
    throw new PlatformError('data_folder_in_use', `another process listens on ${path}`);
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  const listener = getRequestListener(handler, { overrideGlobalObjects: false });
  const server = createServer((incoming, outgoing) => void listener(incoming, outgoing));
  // Long-lived streams (feed, logs) are normal between planes.
  server.requestTimeout = 0;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chmod(path, 0o600);
  return server;
}

export async function closeServer(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const force = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(force);
}

export interface CallOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly body?: unknown;
  readonly signal?: AbortSignal;
  /** Of {@link UnixPeer.lines}: something came, if not yet a whole line. */
  readonly onBytes?: () => void;
}

/** A peer plane behind a Unix socket. Failures to reach it are `internal` errors with the cause kept. */
export class UnixPeer {
  readonly #pool: Pool;
  readonly #path: string;

  constructor(path: string, options: { readonly connections?: number } = {}) {
    this.#path = path;
    // headersTimeout and bodyTimeout 0: long polls and feeds decide their own deadlines.
    this.#pool = new Pool('http://isoplane.internal', {
      socketPath: path,
      connections: options.connections ?? 64,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  async #request(path: string, options: CallOptions): Promise<Awaited<ReturnType<Pool['request']>>> {
    try {
      return await this.#pool.request({
        path,
        method: options.method ?? 'GET',
        ...(options.body === undefined
          ? {}
          : { body: JSON.stringify(options.body), headers: { 'content-type': 'application/json' } }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } catch (thrown) {
      throw new PlatformError('internal', `cannot reach the peer at ${this.#path}`, { cause: thrown });
    }
  }

  /** JSON call. A problem document is rethrown as the PlatformError it describes. */
  async call<S extends z.ZodType>(path: string, schema: S, options: CallOptions = {}): Promise<z.infer<S>> {
    const response = await this.#request(path, options);
    const text = await response.body.text();
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    if (response.statusCode >= 400)
      throw fromProblem(body, `${options.method ?? 'GET'} ${path} answered ${response.statusCode}`);
    return schema.parse(body);
  }

  /** Bytes of a response, at most `bytesMax`. */
  async bytes(path: string, bytesMax: number, options: CallOptions = {}): Promise<Uint8Array> {
    const response = await this.#request(path, options);
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > bytesMax) throw new PlatformError('internal', `${path} sent more than ${bytesMax} bytes`);
      chunks.push(chunk);
    }
    const body = Buffer.concat(chunks);
    if (response.statusCode >= 400)
      throw fromProblem(parseJson(body.toString('utf8')), `GET ${path} answered ${response.statusCode}`);
    return body;
  }

  /** Lines of an NDJSON response, parsed; ends when the peer ends or `signal` fires. */
  async *lines<S extends z.ZodType>(
    path: string,
    schema: S,
    options: CallOptions = {},
  ): AsyncGenerator<z.infer<S>> {
    const response = await this.#request(path, options);
    if (response.statusCode >= 400)
      throw fromProblem(parseJson(await response.body.text()), `GET ${path} answered ${response.statusCode}`);
    const lines = new Lines();
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      options.onBytes?.();
      for (const line of lines.push(chunk)) yield schema.parse(JSON.parse(line));
    }
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
