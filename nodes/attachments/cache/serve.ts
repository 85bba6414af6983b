/**
 * The HTTP conversation that workerd has with whoever serves `caches` (facts: workerd's own
 * src/workerd/api/cache.c++), with absolute URLs: GET asks, PUT brings a whole response as its body, PURGE
 * removes. A named cache comes as a header. The answer to GET says HIT or MISS in cf-cache-status.
 *
 * Code may speak through the socket by other means than `caches`, so every request is taken for hostile: what it
 * can reach is its own version's entries.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { asPlatformError } from '#shared/errors.ts';
import { HeldBytes } from '#shared/held-bytes.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import { readGarbage } from '#shared/runtime/read-garbage.node.ts';
import type { SharedCache } from '#shared/shared-cache.ts';
import type { Shares } from '#shared/shares.ts';
import { ResponseParser } from '#shared/upstream/response-parser.ts';
import type { CacheTarget } from './kind.ts';
import { answerOf, storedOf, type Received, type Stored } from './rules.ts';

export interface CacheServerDeps {
  readonly entries: SharedCache<Stored>;
  /** Bytes of responses that are being put. */
  readonly bodies: Shares;
  readonly requests: Shares;
  readonly clock: Clock;
  readonly log: Log;
}

/** One response, its head included: as large as Workers keeps on its smallest plan would be 512 MB; memory is dearer here. */
const PUT_BYTES_MAX = 8 * 1_048_576;
const URL_LENGTH_MAX = 32 * 1_024;
const BODY_SILENT_MS_MAX = 10_000;
const NAMESPACE = 'cf-cache-namespace';

/** Versions' keys do not begin one another: ids hold no space. */
export const keyPrefix = (versionId: string): string => `${versionId} `;

export function cacheServer(deps: CacheServerDeps, target: CacheTarget): Server {
  // A proxy request names its host in the URL.
  const server = createServer(
    { keepAliveTimeout: 60_000, requireHostHeader: false },
    (incoming, outgoing) => {
      void serve(deps, target, incoming, outgoing);
    },
  );
  server.on('connect', (_incoming, socket) => socket.destroy());
  server.on('upgrade', (_incoming, socket) => socket.destroy());
  server.on('clientError', (_error, socket) => socket.destroy());
  return server;
}

async function serve(
  deps: CacheServerDeps,
  target: CacheTarget,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const { account } = target;
  // A cache that is full or busy is one in which nothing is found.
  if (!deps.requests.take(account, 1)) return refuse(incoming, outgoing);
  try {
    await route(deps, target, incoming, outgoing);
  } catch (thrown) {
    const error = asPlatformError(thrown);
    if (error.code === 'internal') deps.log.debug('cache_failed', { error: thrown });
    refuse(incoming, outgoing);
  } finally {
    deps.requests.give(account, 1);
  }
}

function refuse(incoming: IncomingMessage, outgoing: ServerResponse): void {
  if (outgoing.headersSent || outgoing.destroyed) return void outgoing.destroy();
  if (incoming.method === 'GET') return miss(outgoing);
  // What is left of the body is not waited for.
  outgoing.writeHead(413, { 'content-length': 0, connection: 'close' }).end();
}

function miss(outgoing: ServerResponse): void {
  outgoing.writeHead(504, { 'cf-cache-status': 'MISS', 'content-length': 0 }).end();
}

async function route(
  deps: CacheServerDeps,
  { account, versionId }: CacheTarget,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const { method, url = '', headers } = incoming;
  if (url.length > URL_LENGTH_MAX) return refuse(incoming, outgoing);
  const key = `${keyPrefix(versionId)}${String(headers[NAMESPACE] ?? '')}\n${url}`;
  const nowMs = deps.clock.wallMs();
  switch (method) {
    case 'GET': {
      const stored = freshOf(deps, account, key, nowMs);
      if (stored === undefined) return miss(outgoing);
      const answer = answerOf(stored, headers, nowMs);
      // The length comes last: Node would read header bytes anew that come after it.
      const length = answer.status === 304 ? [] : ['content-length', String(answer.body.byteLength)];
      outgoing.writeHead(answer.status, answer.reason, [...answer.headers, ...length]);
      outgoing.end(answer.body);
      return;
    }
    case 'PUT': {
      const stored = storedOf(url, await receivedIn(deps, account, incoming), nowMs);
      if (stored === undefined) deps.entries.delete(account, key);
      else deps.entries.set(account, key, stored);
      outgoing.writeHead(204).end();
      return;
    }
    case 'PURGE': {
      const found = freshOf(deps, account, key, nowMs) !== undefined;
      deps.entries.delete(account, key);
      outgoing.writeHead(found ? 200 : 404, { 'content-length': 0 }).end();
      return;
    }
    default:
      outgoing.writeHead(405, { 'content-length': 0 }).end();
  }
}

function freshOf(deps: CacheServerDeps, account: string, key: string, nowMs: number): Stored | undefined {
  const stored = deps.entries.get(account, key);
  if (stored === undefined || nowMs < stored.expiresMs) return stored;
  deps.entries.delete(account, key);
  return undefined;
}

/** The response that a PUT has as its body. @throws when it is none, too large, or stalls. */
async function receivedIn(
  { bodies }: CacheServerDeps,
  account: string,
  incoming: IncomingMessage,
): Promise<Received> {
  const body = new HeldBytes(bodies, account);
  let head: Omit<Received, 'body'> | undefined;
  let complete = false;
  const parser = new ResponseParser();
  parser.start(
    {
      onHead: (status, reason, headers) => {
        head = { status, reason, headers };
      },
      onBody: (chunk) => body.add(chunk),
      onComplete: () => {
        complete = true;
      },
    },
    'GET',
  );
  incoming.setTimeout(BODY_SILENT_MS_MAX, () => incoming.destroy());
  try {
    let bytes = 0;
    for await (const chunk of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.byteLength;
      readGarbage.read(chunk.byteLength);
      if (bytes > PUT_BYTES_MAX) throw new Error(`a response of more than ${PUT_BYTES_MAX} bytes`);
      parser.feed(chunk);
    }
    parser.end();
    if (head === undefined || !complete) throw new Error('the response ended in the middle');
    return { ...head, body: body.whole().slice() };
  } finally {
    incoming.setTimeout(0);
    body.release();
  }
}
