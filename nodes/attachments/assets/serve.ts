/**
 * What `env.ASSETS.fetch()` reaches: the same answers as at the gateway, but never compressed, because code may
 * read them, and never the code itself. Code may speak through the socket by other means, too: a request is
 * taken for hostile, and leads to nothing but the version's files.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AssetLibrary } from '#shared/assets/library.node.ts';
import { changed } from '#shared/assets/representation.ts';
import { sendFile } from '#shared/assets/send.node.ts';
import { asPlatformError, PlatformError, problemParts } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import { drain } from '../drain.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { AssetsTarget } from './kind.ts';

export interface AssetServerDeps {
  readonly library: AssetLibrary;
  readonly log: Log;
}

const DRAIN_BYTES_MAX = LIMITS.requestBodyBytesMax;

export function assetServer(deps: AssetServerDeps, target: AssetsTarget): Server {
  const server = createServer(
    { maxHeaderSize: LIMITS.headerBytesMax + LIMITS.urlBytesMax, keepAliveTimeout: 60_000 },
    (incoming, outgoing) => void answer(deps, target, incoming, outgoing),
  );
  server.on('connect', (_incoming, duplex) => duplex.destroy());
  server.on('upgrade', (_incoming, duplex) => duplex.destroy());
  server.on('clientError', (_error, duplex) => duplex.destroy());
  return server;
}

async function answer(
  deps: AssetServerDeps,
  target: AssetsTarget,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  try {
    await serve(deps, target, incoming, outgoing);
  } catch (thrown) {
    const error = asPlatformError(thrown);
    if (error.code === 'internal') deps.log.error('assets_call_failed', { error: thrown });
    if (outgoing.headersSent) outgoing.destroy();
    else {
      const { status, headers, body } = problemParts(error);
      outgoing.writeHead(status, [...headers].flat()).end(body);
    }
  }
  drain(incoming, DRAIN_BYTES_MAX);
}

function urlOf(incoming: IncomingMessage): URL {
  try {
    return new URL(incoming.url ?? '/', `http://${incoming.headers.host ?? 'assets'}`);
  } catch (thrown) {
    throw new PlatformError('bad_request', 'not a URL', { cause: thrown });
  }
}

async function serve(
  { library }: AssetServerDeps,
  { account, key, served }: AssetsTarget,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const { pathname, search, host, hostname } = urlOf(incoming);
  const method = incoming.method ?? 'GET';
  const site = await library.site(account, key, served);
  const decision = site.decide({
    method,
    scheme: 'http',
    host,
    hostname,
    path: pathname,
    query: search,
    standIns: true,
  });
  const bare = (status: number, headers: readonly string[]): void =>
    void outgoing.writeHead(status, [...changed(headers, decision.changes), 'content-length', '0']).end();
  switch (decision.kind) {
    case 'none':
    case 'missing':
      return bare(404, []);
    case 'method':
      return bare(405, ['allow', 'GET, HEAD']);
    case 'redirect':
      return bare(decision.status, ['location', decision.location]);
    case 'file': {
      const request = { method, header: (name: string) => valueOf(incoming, name) };
      await sendFile(library, {
        account,
        request,
        outgoing,
        decision,
        anyone: served.anyone,
        mayCompress: false,
        extra: [],
      });
    }
  }
}

function valueOf({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' || value === undefined ? value : value.join(', ');
}
