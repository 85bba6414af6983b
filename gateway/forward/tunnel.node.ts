/** WebSocket upgrades: after the handshake, bytes in both directions until one side ends. */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { OUTCOME } from '#shared/contracts/invoke.ts';
import type { ForwardOutcome, ForwardPlan } from '../ports.ts';
import { requestHeaders, responseHeaders } from './headers.ts';
import { nextReportMs, SLOW_MS, type Watch, type Watched } from '#shared/leases/watch.ts';

const UPGRADE = ['connection', 'Upgrade', 'upgrade', 'websocket'] as const;

/** WebSockets know no half-closed state: a client that has gone is not waited for longer than this. */
const CLIENT_ENDED_MS_MAX = 1_000;

interface Upgrade {
  readonly incoming: IncomingMessage;
  readonly socket: Duplex;
  /** Bytes the client sent behind the request head. */
  readonly head: Buffer;
  readonly target: string;
}

/** Status line and headers as text. Values come from parsed messages, so they hold no line breaks. */
export function headText(status: number, reason: string, headers: readonly string[]): string {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let index = 0; index < headers.length; index += 2)
    text += `${headers[index]}: ${headers[index + 1]}\r\n`;
  return `${text}\r\n`;
}

export function tunnel(upgrade: Upgrade, plan: ForwardPlan, watch: Watch): Promise<ForwardOutcome> {
  return new Promise((resolve) => new Tunnel(upgrade, plan, watch, resolve).start());
}

class Tunnel implements Watched {
  readonly #upgrade: Upgrade;
  readonly #plan: ForwardPlan;
  readonly #watch: Watch;
  readonly #settle: (outcome: ForwardOutcome) => void;
  #request: ClientRequest | undefined;
  #instance: Duplex | undefined;
  #startedMs = 0;
  #lastActiveMs = 0;
  /** Age at which the agent is told next that the request is slow. */
  #reportAtMs = SLOW_MS;
  #clientEnded = false;
  #over = false;

  // oxlint-disable-next-line max-params -- the same shape as Exchange
  constructor(upgrade: Upgrade, plan: ForwardPlan, watch: Watch, settle: (outcome: ForwardOutcome) => void) {
    this.#upgrade = upgrade;
    this.#plan = plan;
    this.#watch = watch;
    this.#settle = settle;
  }

  start(): void {
    const { incoming, socket, target } = this.#upgrade;
    this.#startedMs = this.#watch.add(this);
    socket.on('close', this.#clientClosed);
    const request = httpRequest({
      socketPath: this.#plan.lease.endpoint.instance.path,
      method: incoming.method,
      path: target,
      headers: requestHeaders(incoming.rawHeaders, [...this.#plan.requestHeaders, ...UPGRADE]),
      setHost: false,
      agent: false,
    });
    this.#request = request;
    request.on('upgrade', (response, connection, rest) => this.#join(response, connection, rest));
    request.on('response', (response) => this.#relay(response));
    request.on('error', (error: NodeJS.ErrnoException) =>
      this.#finish(
        error.code === 'ECONNREFUSED' || error.code === 'ENOENT'
          ? { kind: 'unreachable' }
          : { kind: 'reset', replayable: true },
      ),
    );
    request.end();
  }

  tick(nowMs: number): void {
    const { limits } = this.#plan.version;
    if (this.#instance !== undefined) {
      const silenceMsMax = this.#clientEnded
        ? Math.min(CLIENT_ENDED_MS_MAX, limits.streamIdleMs)
        : limits.streamIdleMs;
      if (nowMs - this.#lastActiveMs < silenceMsMax) return;
      this.#upgrade.socket.destroy();
      return this.#answered('cut');
    }
    const ageMs = nowMs - this.#startedMs;
    if (ageMs >= this.#reportAtMs) {
      this.#reportAtMs = nextReportMs(ageMs, limits.cpuMs);
      this.#plan.onSlow(ageMs);
    }
    if (ageMs >= limits.timeoutMs) this.#finish({ kind: 'timeout', ageMs });
  }

  #join(response: IncomingMessage, connection: Duplex, rest: Buffer): void {
    if (this.#over) return void connection.destroy();
    this.#instance = connection;
    this.#lastActiveMs = this.#watch.coarseMs;
    const { socket, head } = this.#upgrade;
    const { headers } = responseHeaders(
      response.rawHeaders,
      [...this.#plan.responseHeaders, ...UPGRADE],
      OUTCOME,
    );
    socket.write(headText(101, 'Switching Protocols', headers), 'latin1');
    if (rest.byteLength > 0) socket.write(rest);
    if (head.byteLength > 0) connection.write(head);
    const { meter } = this.#plan;
    meter.requestBytes += head.byteLength;
    meter.responseBytes += rest.byteLength;
    socket.on('data', (chunk: Buffer) => {
      this.#lastActiveMs = this.#watch.coarseMs;
      meter.requestBytes += chunk.byteLength;
    });
    socket.on('end', () => {
      this.#lastActiveMs = this.#watch.coarseMs;
      this.#clientEnded = true;
    });
    connection.on('data', (chunk: Buffer) => {
      this.#lastActiveMs = this.#watch.coarseMs;
      meter.responseBytes += chunk.byteLength;
    });
    connection.on('error', () => socket.destroy());
    // What the instance sent last still reaches the client: pipe() ends the socket after it.
    connection.on('close', () => socket.end(() => socket.destroy()));
    socket.pipe(connection);
    connection.pipe(socket);
  }

  /** The function declined the upgrade: its plain answer goes out, and the connection ends with it. */
  #relay(response: IncomingMessage): void {
    const { socket } = this.#upgrade;
    const { headers, outcome } = responseHeaders(
      response.rawHeaders,
      [...this.#plan.responseHeaders, 'connection', 'close'],
      OUTCOME,
    );
    if (outcome === 'function_error') return this.#finish({ kind: 'function_error' });
    this.#instance = response.socket;
    this.#lastActiveMs = this.#watch.coarseMs;
    socket.write(headText(response.statusCode ?? 502, response.statusMessage ?? '', headers), 'latin1');
    response.on('data', (chunk: Buffer) => {
      this.#plan.meter.responseBytes += chunk.byteLength;
    });
    response.on('end', () => this.#answered('complete'));
    response.on('error', () => {
      socket.destroy();
      this.#answered('cut');
    });
    response.pipe(socket);
  }

  readonly #clientClosed = (): void => {
    if (this.#instance === undefined) this.#finish({ kind: 'client_gone' });
    else this.#answered('complete');
  };

  #answered(end: 'complete' | 'cut'): void {
    this.#finish({ kind: 'answered', response: RESPONSE_ALREADY_SENT, end });
  }

  #finish(outcome: ForwardOutcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#watch.delete(this);
    this.#upgrade.socket.off('close', this.#clientClosed);
    this.#instance?.destroy();
    this.#request?.destroy();
    this.#settle(outcome);
  }
}
