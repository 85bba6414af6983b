/**
 * The proxy of one instance, on a socket that only its process can reach: whoever speaks here is known.
 *
 * Order for each request: count it, read where it goes, ask the rules, look up and judge the address, add
 * what the owner wants added, forward.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { asPlatformError, problemResponse, PlatformError } from '#shared/errors.ts';
import { parseVersionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Shares } from '#shared/shares.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import { Budget } from './budget.ts';
import { Connections } from './connections.ts';
import type { Dial } from './dial.ts';
import { Exchange, type ExchangeEnd } from './exchange.ts';
import { headerOf, requestHeaders, type Injected } from './headers.ts';
import type { EgressTerms } from './kind.ts';
import { EGRESS_ERROR, refusal } from './refusal.ts';
import { compileRules, type Rules } from './rules.ts';
import type { Secrets } from './secrets.ts';
import { parseConnect, parseTarget, type ConnectTarget, type Target } from './target.ts';
import { joinSockets } from './tunnel.ts';
import { isWebSocket, upgrade, writeHead } from './upgrade.ts';

const REQUEST_ID = 'isoplane-request-id';
const REQUEST_ID_LENGTH_MAX = 200;
/**
 * Connections of the instance beyond its limit of outbound ones: what is one too many is told so. Who opens more than
 * that at once finds his connection closed.
 */
const INBOUND_EXTRA_MAX = 200;
const HEAD_MS_MAX = 10_000;
const REPEATABLE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);
/** Would show the function what the proxy added. */
const REFLECTING: ReadonlySet<string> = new Set(['TRACE', 'TRACK']);

export interface EgressUsage {
  readonly requests: number;
  readonly bytes: number;
}

export interface SlotProxyOptions {
  readonly terms: EgressTerms;
  readonly dial: Dial;
  readonly connections: Shares;
  readonly secrets: Pick<Secrets, 'value'>;
  readonly clock: Clock;
  readonly onRefused: (error: PlatformError, requestId: string | undefined) => void;
}

export class SlotProxy {
  /** It does not listen yet. */
  readonly server: Server;
  readonly #options: SlotProxyOptions;
  readonly #rules: Rules;
  readonly #budget: Budget;
  readonly #connections: Connections;
  readonly #inbound = new Set<Duplex>();
  #requests = 0;
  #bytes = 0;
  readonly #countBytes = (bytes: number): void => {
    this.#bytes += bytes;
  };

  constructor(options: SlotProxyOptions) {
    const { rules, limits } = options.terms;
    this.#options = options;
    this.#rules = compileRules(rules);
    this.#budget = new Budget({ subrequestsMax: limits.subrequests, windowMs: limits.timeoutMs });
    const { dial, connections } = options;
    this.#connections = new Connections({
      connectionsMax: limits.connections,
      shares: connections,
      account: parseVersionId(options.terms.versionId).account,
      dial,
      rules: this.#rules,
    });
    this.server = createServer({
      // workerd sends the absolute form alone.
      requireHostHeader: false,
      maxHeaderSize: LIMITS.headerBytesMax + LIMITS.urlBytesMax,
      headersTimeout: HEAD_MS_MAX,
      // Uploads may take long; silence is bounded below.
      requestTimeout: 0,
      keepAliveTimeout: 0,
    });
    this.server.maxConnections = limits.connections + INBOUND_EXTRA_MAX;
    this.server.on('connection', (socket: Duplex) => {
      this.#inbound.add(socket);
      socket.once('close', () => this.#inbound.delete(socket));
    });
    this.server.on('request', (incoming, outgoing) => void this.#request(incoming, outgoing));
    this.server.on('connect', (incoming, socket, head) => void this.#connect(incoming, socket, head));
    this.server.on('clientError', (error, socket) => void this.#unreadable(error, socket));
    this.server.on('upgrade', (incoming, socket, head) => void this.#upgrade(incoming, socket, head));
  }

  get terms(): EgressTerms {
    return this.#options.terms;
  }

  /** Connections to targets that are open now. */
  get open(): number {
    return this.#connections.open;
  }

  /** Since the last call. */
  takeUsage(): EgressUsage {
    const usage = { requests: this.#requests, bytes: this.#bytes };
    this.#requests = 0;
    this.#bytes = 0;
    return usage;
  }

  close(): void {
    this.server.close();
    this.#connections.close();
    for (const socket of this.#inbound) socket.destroy();
  }

  async #request(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const tag = tagOf(incoming);
    try {
      const target = this.#admit(tag, () => parseTarget(incoming.url ?? ''));
      if (REFLECTING.has(incoming.method ?? ''))
        throw refusal('egress_denied', `the method ${incoming.method} is not forwarded`);
      const end = await this.#exchange(incoming, outgoing, target);
      // A function that took its request back knows.
      if (end.kind === 'failed' && !outgoing.destroyed) throw end.error;
    } catch (thrown) {
      const error = this.#refused(thrown, tag);
      // Half an answer must not look whole.
      if (outgoing.headersSent) return void outgoing.destroy();
      if (outgoing.destroyed) return;
      const { status, headers, body } = await problemOf(error);
      outgoing.writeHead(status, headers);
      outgoing.end(body);
      incoming.resume();
    }
  }

  async #exchange(incoming: IncomingMessage, outgoing: ServerResponse, target: Target): Promise<ExchangeEnd> {
    const { timeoutMs, streamIdleMs } = this.terms.limits;
    const options = {
      path: target.path,
      headers: requestHeaders(incoming.rawHeaders, target.authority, await this.#injected(target)),
      headMs: timeoutMs,
      idleMs: streamIdleMs,
      countBytes: this.#countBytes,
    };
    const bodiless =
      incoming.headers['content-length'] === undefined && incoming.headers['transfer-encoding'] === undefined;
    for (let attempt = 0; ; attempt += 1) {
      const connection =
        attempt === 0 ? await this.#connections.acquire(target) : await this.#connections.fresh(target);
      const end = await Exchange.run(incoming, outgoing, connection, options);
      if (end.kind === 'done') this.#connections.release(connection);
      else this.#connections.discard(connection);
      const repeat =
        end.kind === 'failed' &&
        end.reused &&
        bodiless &&
        REPEATABLE.has(incoming.method ?? '') &&
        attempt === 0;
      if (!repeat) return end;
    }
  }

  async #connect(incoming: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy());
    try {
      const target = this.#admit(undefined, () => parseConnect(incoming.url ?? ''));
      const out = await this.#connections.socket(target);
      if (socket.destroyed) return void out.destroy();
      writeHead(socket, 200, []);
      if (head.byteLength > 0) out.write(head);
      joinSockets(socket, out, { countBytes: this.#countBytes, idleMs: this.terms.limits.streamIdleMs });
    } catch (thrown) {
      await answerRaw(socket, this.#refused(thrown, undefined));
    }
  }

  async #upgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const tag = tagOf(incoming);
    socket.on('error', () => socket.destroy());
    try {
      const target = this.#admit(tag, () => parseTarget(incoming.url ?? ''));
      if (!isWebSocket(incoming.rawHeaders) || incoming.method !== 'GET')
        throw refusal('egress_denied', 'only upgrades to WebSocket are forwarded');
      const injected = await this.#injected(target);
      const out = await this.#connections.socket(target);
      if (socket.destroyed) return void out.destroy();
      const { timeoutMs: headMs, streamIdleMs: idleMs } = this.terms.limits;
      await upgrade(socket, head, out, {
        path: target.path,
        headers: requestHeaders(incoming.rawHeaders, target.authority, injected),
        headMs,
        idleMs,
        countBytes: this.#countBytes,
      }).catch((thrown: unknown) => {
        out.destroy();
        throw thrown instanceof PlatformError
          ? thrown
          : refusal('egress_failed', `the WebSocket handshake with ${target.host} failed`, thrown);
      });
    } catch (thrown) {
      await answerRaw(socket, this.#refused(thrown, tag));
    }
  }

  /** workerd's requests can be read; of headers that are too large, Node's own answer would look like the target's. */
  async #unreadable(error: NodeJS.ErrnoException, socket: Duplex): Promise<void> {
    if (!socket.writable) return void socket.destroy();
    if (error.code !== 'HPE_HEADER_OVERFLOW')
      return void socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
    await answerRaw(socket, this.#refused(refusal('egress_denied', 'the headers are too large'), undefined));
  }

  /** @throws {PlatformError} when it is one too many, not readable, or against the rules. */
  #admit<T extends ConnectTarget>(
    tag: string | undefined,
    parse: () => { kind: 'target'; target: T } | { kind: 'refused'; reason: string },
  ): T {
    const { limits } = this.terms;
    if (!this.#budget.take(tag, this.#options.clock.monotonicMs()))
      throw refusal(
        'subrequests_exceeded',
        tag === undefined
          ? `the instance opened more than ${limits.subrequests} connections within ${limits.timeoutMs} ms (limits.subrequests)`
          : `the request made more than ${limits.subrequests} outbound requests (limits.subrequests)`,
      );
    const parsed = parse();
    if (parsed.kind === 'refused') throw refusal('egress_denied', parsed.reason);
    const { host, port } = parsed.target;
    if (!this.#rules.allows(host, port))
      throw refusal('egress_denied', `the rules do not allow ${host} at port ${port}`);
    this.#requests += 1;
    return parsed.target;
  }

  async #injected(target: Target): Promise<readonly Injected[]> {
    const wanted = this.#rules.headersFor(target);
    if (wanted.length === 0) return [];
    const { account } = parseVersionId(this.terms.versionId);
    return Promise.all(
      wanted.map(async ({ header, prefix, secret }) => ({
        name: header,
        value: prefix + (await this.#options.secrets.value(`${account}/${secret}`)),
      })),
    );
  }

  #refused(thrown: unknown, tag: string | undefined): PlatformError {
    const error = asPlatformError(thrown);
    this.#options.onRefused(error, tag);
    return error;
  }
}

function tagOf(incoming: IncomingMessage): string | undefined {
  const tag = headerOf(incoming.rawHeaders, REQUEST_ID);
  return tag === undefined || tag === '' || tag.length > REQUEST_ID_LENGTH_MAX ? undefined : tag;
}

async function problemOf(
  error: PlatformError,
): Promise<{ readonly status: number; readonly headers: Record<string, string>; readonly body: string }> {
  const response = problemResponse(error);
  return {
    status: response.status,
    headers: { ...Object.fromEntries(response.headers), [EGRESS_ERROR]: error.code },
    body: await response.text(),
  };
}

async function answerRaw(socket: Duplex, error: PlatformError): Promise<void> {
  if (socket.destroyed) return;
  const { status, headers, body } = await problemOf(error);
  writeHead(socket, status, [
    ...Object.entries(headers).flat(),
    'content-length',
    String(Buffer.byteLength(body)),
    'connection',
    'close',
  ]);
  socket.end(body);
}
