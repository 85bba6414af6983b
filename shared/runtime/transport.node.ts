/**
 * The one place that opens an {@link Address} or listens at one, and that knows what it is made of: Unix sockets in a
 * folder that only the platform's user can enter, which is what authenticates the peer.
 */
import { chmod, stat, unlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { Pool } from 'undici';
import type { z } from 'zod';
import { addressAt, type Address } from '../contracts/address.ts';
import { fromProblem, PlatformError } from '../errors.ts';
import { Lines } from '../lines.ts';
import type { CallOptions, Peer } from './peer.ts';
import { readsOf } from './reads.node.ts';

/** Another socket of whatever listens at `address`. */
export function beside({ path }: Address, file: string): Address {
  return addressAt(join(dirname(path), file));
}

/** Equal for equal addresses, and readable for people. */
export function keyOf({ path }: Address): string {
  return path;
}

/** @param allowHalfOpen - it stays writable when the other side has ended. */
export function connectTo({ path }: Address, allowHalfOpen = false): Socket {
  return connect({ path, allowHalfOpen });
}

/** A connection that emits no `data`: each chunk is given to `onChunk` (reads.node.ts), and is its own. */
export function connectReading({ path }: Address, onChunk: (chunk: Buffer) => void): Socket {
  return connect({ path, onread: readsOf(onChunk) });
}

export function listens(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTo(address);
    const answer = (found: boolean): void => {
      socket.destroy();
      resolve(found);
    };
    socket.once('connect', () => answer(true));
    socket.once('error', () => answer(false));
  });
}

type FetchHandler = (request: Request) => Response | Promise<Response>;

/** What removes old files may remove a socket that is in use. */
const SOCKET_CHECK_MS = 5_000;

export interface ServeOptions {
  /** Default {@link SOCKET_CHECK_MS}. */
  readonly checkMs?: number;
}

/**
 * Serves `handler` on a Unix socket with mode 0600. A stale socket file is replaced; a live one is refused; one that
 * somebody removes is made anew, and connections go on meanwhile.
 */
export async function serveAt(
  address: Address,
  handler: FetchHandler,
  { checkMs = SOCKET_CHECK_MS }: ServeOptions = {},
): Promise<Server> {
  const { path } = address;
  if (await listens(address))
    throw new PlatformError('data_folder_in_use', `another process listens on ${path}`);
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  const listener = getRequestListener(handler, { overrideGlobalObjects: false });
  const server = createServer((incoming, outgoing) => void listener(incoming, outgoing));
  // Long-lived streams (feed, logs) are normal between planes.
  server.requestTimeout = 0;
  await listenAt(server, path);
  let isLost = false;
  const check = setInterval(() => {
    // Closed by its owner.
    if (!server.listening && !isLost) return clearInterval(check);
    stat(path).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT' || (!server.listening && !isLost)) return;
      // What it has accepted stays: only the name that leads here is gone.
      if (server.listening) server.close();
      isLost = true;
      // Where the folder is gone too, the next check tries again.
      await listenAt(server, path).then(
        () => (isLost = false),
        () => undefined,
      );
    });
  }, checkMs);
  check.unref();
  return server;
}

async function listenAt(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chmod(path, 0o600);
}

export async function closeServer(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const force = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(force);
}

export interface PeerOptions {
  /** At most; calls beyond wait. */
  readonly connections?: number;
}

/** The plane that listens there. */
export function peerOf(address: Address, options: PeerOptions = {}): Peer {
  return new UnixPeer(address, options);
}

class UnixPeer implements Peer {
  readonly #pool: Pool;
  readonly #path: string;

  constructor({ path }: Address, { connections = 64 }: PeerOptions) {
    this.#path = path;
    // headersTimeout and bodyTimeout 0: long polls and feeds decide their own deadlines.
    this.#pool = new Pool('http://isoplane.internal', {
      socketPath: path,
      connections,
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

  async call<S extends z.ZodType>(path: string, schema: S, options: CallOptions = {}): Promise<z.infer<S>> {
    const response = await this.#request(path, options);
    const text = await response.body.text();
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    if (response.statusCode >= 400)
      throw fromProblem(body, `${options.method ?? 'GET'} ${path} answered ${response.statusCode}`);
    return schema.parse(body);
  }

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
