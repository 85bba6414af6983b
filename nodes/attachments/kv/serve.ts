/**
 * The HTTP conversation that workerd has with whoever serves a `kvNamespace` (facts: workerd's own
 * src/workerd/api/kv.c++): GET, PUT and DELETE of `/KEY`, GET of `/` lists, POST of `/bulk/get` reads several.
 *
 * The socket is the namespace. Code may also speak through it by other means than `env.KV`, so every request
 * is taken for hostile: all is bounded, and nothing in it names another namespace.
 */
import { KV_LIMITS } from '#shared/contracts/kv.ts';
import { createServer, STATUS_CODES, type IncomingMessage, type Server } from 'node:http';
import { HeldBytes } from '#shared/held-bytes.ts';
import { fieldOf } from '#shared/http/head.ts';
import type { PlainRequest } from '#shared/http/plain/connection.node.ts';
import type { ResponseWriter } from '#shared/http/writer.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import { readGarbage } from '#shared/runtime/read-garbage.node.ts';
import type { Shares } from '#shared/shares.ts';
import type { Log } from '#shared/runtime/log.ts';
import { asPlatformError, ERRORS, PlatformError } from '#shared/errors.ts';
import { drain } from '../drain.ts';
import {
  bulkRequestOf,
  checkCacheTtl,
  cursorOf,
  expiryOf,
  keyBytes,
  listRequestOf,
  metadataOf,
  type KvEntry,
} from './rules.ts';
import { bulkPieces, checkJson } from './bulk.ts';
import type { Line } from './line.ts';
import type { KvStore } from './store.ts';

export interface KvServerDeps {
  readonly store: Pick<KvStore, 'get' | 'put' | 'delete' | 'list'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly timers: Timers;
  /** Of all sockets. */
  readonly requests: Shares;
  readonly bodies: Shares;
  /** What blocks the thread goes through it. */
  readonly line: Pick<Line, 'run'>;
}

/** What a socket leads to, and whose it is. */
export interface KvSocket {
  readonly namespaceId: string;
  readonly account: string;
}

/** A body that stays silent for this long is given up; the function may make it as it is sent. */
const BODY_SILENT_MS_MAX = 10_000;
/** Of a body that was refused; then the connection is cut. */
const DRAIN_BYTES_MAX = 2 * KV_LIMITS.valueBytesMax;
const BULK_BODY_BYTES_MAX = 128 * 1_024;
/** A key in a URL: three characters a byte. */
const TARGET_LENGTH_MAX = 4_096;

/** A request, however it was read. */
interface KvRequest {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  /** All of it, or what is still to come. */
  readonly body: Buffer | IncomingMessage;
  readonly outgoing: ResponseWriter;
}

export function kvServer(deps: KvServerDeps, socket: KvSocket): Server {
  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, outgoing) => {
    const { method = '', url = '/', rawHeaders } = incoming;
    void answer(deps, socket, { method, url, rawHeaders, body: incoming, outgoing });
  });
  server.on('connect', (_incoming, duplex) => duplex.destroy());
  server.on('upgrade', (_incoming, duplex) => duplex.destroy());
  server.on('clientError', (_error, duplex) => duplex.destroy());
  return server;
}

export function servePlainKv(deps: KvServerDeps, socket: KvSocket): (request: PlainRequest) => void {
  return ({ method, target, rawHeaders, body, response }) =>
    void answer(deps, socket, { method, url: target.raw, rawHeaders, body, outgoing: response });
}

async function answer(deps: KvServerDeps, socket: KvSocket, request: KvRequest): Promise<void> {
  const { account } = socket;
  let entered = false;
  try {
    deps.requests.takeOrThrow(account, 1);
    entered = true;
    await route(deps, socket, request);
  } catch (thrown) {
    refuse(deps, asPlatformError(thrown), request);
  } finally {
    if (entered) deps.requests.give(account, 1);
  }
}

function refuse(deps: KvServerDeps, error: PlatformError, { body: rest, outgoing }: KvRequest): void {
  // Its function has ended: that is no failure of ours, and must not fill the log of all.
  if (outgoing.destroyed) return;
  if (error.code === 'internal' || error.code === 'kv_unavailable')
    deps.log.warn('kv_failed', { code: error.code, error: error.message });
  if (outgoing.headersSent) return void outgoing.destroy();
  const detail = error.publicDetail ?? ERRORS[error.code].message;
  const body = `${error.code}: ${detail}`;
  // workerd puts the reason phrase into the error that the promise rejects with.
  const bytes = Buffer.from(body);
  outgoing.writeHead(ERRORS[error.code].status, body.replaceAll(/[^ -~]/g, '?'), [
    'content-type',
    'text/plain; charset=utf-8',
    'content-length',
    String(bytes.byteLength),
  ]);
  outgoing.end(bytes);
  if (!Buffer.isBuffer(rest)) drain(rest, DRAIN_BYTES_MAX);
}

async function route(
  deps: KvServerDeps,
  { namespaceId: namespace, account }: KvSocket,
  request: KvRequest,
): Promise<void> {
  const { method, url: target, outgoing } = request;
  if (target.length > TARGET_LENGTH_MAX || !target.startsWith('/'))
    throw new PlatformError('kv_invalid', 'a bad request target');
  const at = target.indexOf('?');
  const path = at < 0 ? target.slice(1) : target.slice(1, at);
  const query = new URLSearchParams(at < 0 ? '' : target.slice(at + 1));
  const call: KvCall = { deps, namespace, account, query, request };
  switch (method) {
    case 'GET':
      return path === '' ? list(call) : get(call, keyIn(path, query));
    case 'PUT':
      return put(call, keyIn(path, query));
    case 'DELETE':
      await deps.store.delete(namespace, keyIn(path, query));
      return sendNothing(outgoing, 200);
    case 'POST':
      if (path === 'bulk/get') return bulk(call);
      break;
    default:
      break;
  }
  throw new PlatformError('kv_invalid', `${method} ${path}`);
}

interface KvCall {
  readonly deps: KvServerDeps;
  readonly namespace: string;
  readonly account: string;
  readonly query: URLSearchParams;
  readonly request: KvRequest;
}

function keyIn(path: string, query: URLSearchParams): Uint8Array {
  if (query.get('urlencoded')?.toLowerCase() !== 'true') return keyBytes(path);
  try {
    return keyBytes(decodeURIComponent(path));
  } catch (thrown) {
    if (thrown instanceof PlatformError) throw thrown;
    throw new PlatformError('kv_invalid', 'a key is badly encoded', { cause: thrown });
  }
}

function writeHead(outgoing: ResponseWriter, status: number, headers: string[]): void {
  outgoing.writeHead(status, STATUS_CODES[status] ?? '', headers);
}

function sendNothing(outgoing: ResponseWriter, status: number): void {
  writeHead(outgoing, status, ['content-length', '0']);
  outgoing.end();
}

/** A slow reader holds the answer in memory: it counts until it is gone. */
async function send(
  { deps, account, request: { outgoing } }: KvCall,
  headers: string[],
  body: Uint8Array,
): Promise<void> {
  const { byteLength } = body;
  deps.bodies.takeOrThrow(account, byteLength);
  try {
    if (outgoing.destroyed) return;
    writeHead(outgoing, 200, ['content-length', String(byteLength), ...headers]);
    await new Promise<void>((resolve) => {
      outgoing.once('close', resolve);
      outgoing.end(body);
    });
  } finally {
    deps.bodies.give(account, byteLength);
  }
}

async function get(call: KvCall, key: Uint8Array): Promise<void> {
  const { deps, namespace, account, query } = call;
  checkCacheTtl(query.get('cache_ttl'));
  const entry = await deps.line.run(account, () => deps.store.get(namespace, key));
  if (entry === undefined) return sendNothing(call.request.outgoing, 404);
  const { value, metadata, expires } = entry;
  const headers: string[] = [];
  if (metadata !== undefined) headers.push('cf-kv-metadata', Buffer.from(metadata).toString('latin1'));
  if (expires !== undefined) headers.push('cf-expiration', String(expires));
  await send(call, headers, value);
}

async function put(call: KvCall, key: Uint8Array): Promise<void> {
  const { deps, namespace, query, request } = call;
  const metadata = metadataOf(fieldOf(request.rawHeaders, 'cf-kv-metadata'));
  const expires = expiryOf(query, Math.floor(deps.clock.wallMs() / 1_000));
  await withBody(call, KV_LIMITS.valueBytesMax, (value) =>
    deps.store.put(namespace, key, { value, metadata, expires }),
  );
  sendNothing(request.outgoing, 200);
}

async function list(call: KvCall): Promise<void> {
  const { deps, namespace, account, query } = call;
  const wanted = listRequestOf(query);
  const body = await deps.line.run(account, async () => {
    const { keys, complete } = await deps.store.list(namespace, wanted);
    const last = keys.at(-1);
    return JSON.stringify({
      keys: keys.map(({ key, metadata, expires }) => ({
        name: Buffer.from(key).toString('utf8'),
        ...(expires === undefined ? {} : { expiration: expires }),
        // workerd parses it once more.
        ...(metadata === undefined ? {} : { metadata }),
      })),
      list_complete: complete,
      ...(complete || last === undefined ? {} : { cursor: cursorOf(last.key) }),
      cacheStatus: null,
    });
  });
  await send(call, ['content-type', 'application/json'], Buffer.from(body));
}

/** Its values are held once, and its text a piece at a time: it may be six times as long as they are. */
async function bulk(call: KvCall): Promise<void> {
  const { deps, namespace, account, request } = call;
  const { outgoing } = request;
  const { keys, ...form } = await withBody(call, BULK_BODY_BYTES_MAX, (body) =>
    bulkRequestOf(Buffer.from(body).toString('utf8')),
  );
  const entries = new Map<string, KvEntry | undefined>();
  let heldBytes = 0;
  try {
    for (const key of new Set(keys)) {
      const entry = await deps.line.run(account, () => deps.store.get(namespace, keyBytes(key)));
      entries.set(key, entry);
      if (entry === undefined) continue;
      const { byteLength } = entry.value;
      if (heldBytes + byteLength > KV_LIMITS.valueBytesMax) throw bulkTooLarge();
      deps.bodies.takeOrThrow(account, byteLength);
      heldBytes += byteLength;
      if (form.type === 'json') await inTurns(call, checkJson(entry), () => undefined);
    }
    writeHead(outgoing, 200, ['content-type', 'application/json']);
    await inTurns(call, bulkPieces(entries, form), (piece) => written(outgoing, piece));
    outgoing.end();
  } finally {
    deps.bodies.give(account, heldBytes);
  }
}

/** Each step in the line; `use` may wait, and no further step is made for whoever has gone. */
async function inTurns<T>(
  { deps, account, request }: KvCall,
  steps: Iterator<T, void>,
  use: (piece: T) => Promise<void> | undefined,
): Promise<void> {
  while (!request.outgoing.destroyed) {
    const { done, value } = await deps.line.run(account, () => steps.next());
    if (done === true) return;
    await use(value);
  }
}

/** Resolves when the reader has taken it, or has gone. */
function written(outgoing: ResponseWriter, piece: Uint8Array): Promise<void> | undefined {
  if (outgoing.write(piece) || outgoing.destroyed) return undefined;
  return new Promise<void>((resolve) => {
    const done = (): void => {
      outgoing.off('drain', done);
      outgoing.off('close', done);
      resolve();
    };
    outgoing.on('drain', done);
    outgoing.on('close', done);
  });
}

function bulkTooLarge(): PlatformError {
  return new PlatformError('kv_value_too_large', 'a bulk read is too large', {
    publicDetail: `Together the values have more than ${KV_LIMITS.valueBytesMax} bytes.`,
  });
}

const noTimer: Pick<Timer, 'cancel'> = { cancel: () => undefined };

/** Reads the body, and holds its bytes until `work` is done with them. */
async function withBody<T>(
  call: KvCall,
  bytesMax: number,
  work: (body: Uint8Array) => T | Promise<T>,
): Promise<T> {
  const { deps, account, request } = call;
  const { body: incoming } = request;
  if (Buffer.isBuffer(incoming)) {
    if (incoming.byteLength > bytesMax) throw tooLarge(bytesMax);
    return withWhole(call, incoming, work);
  }
  const announced = incoming.headers['content-length'];
  if (Number(announced ?? 0) > bytesMax) throw tooLarge(bytesMax);
  const held = new HeldBytes(deps.bodies, account, announced === undefined ? undefined : Number(announced));
  let silence: Pick<Timer, 'cancel'> = noTimer;
  // The stream ends with the error; its connection is of no more use.
  const listen = (): void => {
    silence.cancel();
    silence = deps.timers.after(BODY_SILENT_MS_MAX, () =>
      incoming.destroy(new PlatformError('body_too_slow', 'a KV body fell silent')),
    );
  };
  try {
    listen();
    // Not destroyed when it is refused: the answer goes out on the same connection.
    for await (const chunk of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
      if (held.length + chunk.byteLength > bytesMax) throw tooLarge(bytesMax);
      held.add(chunk);
      readGarbage.read(chunk.byteLength);
      listen();
    }
    silence.cancel();
    return await work(held.whole());
  } finally {
    silence.cancel();
    held.release();
  }
}

/** It came with its head, so it is small. */
async function withWhole<T>(
  { deps, account }: KvCall,
  body: Buffer,
  work: (body: Uint8Array) => T | Promise<T>,
): Promise<T> {
  deps.bodies.takeOrThrow(account, body.byteLength);
  try {
    return await work(body);
  } finally {
    deps.bodies.give(account, body.byteLength);
  }
}

function tooLarge(bytesMax: number): PlatformError {
  return new PlatformError('kv_value_too_large', 'a KV body is too large', {
    publicDetail: `A value has at most ${bytesMax} bytes.`,
  });
}
