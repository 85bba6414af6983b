/** A WebSocket from a function to an instance of another: after the handshake, bytes until one side ends. */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { isFunctionError, OUTCOME, REQUEST_ID } from '#shared/contracts/invoke.ts';
import { nextReportMs, SLOW_MS, type Watched } from '#shared/carry/deadlines.ts';
import { unsent } from '#shared/carry/ended.ts';
import type { ExchangeOutcome, ExchangePlan } from './exchange.node.ts';
import { headText } from '#shared/http/answer.node.ts';
import { fieldOf } from '#shared/http/head.ts';
import { Join } from '#shared/upstream/join.node.ts';
import { requestHeaders, responseHeaders } from '#shared/carry/headers.ts';

const UPGRADE = ['connection', 'Upgrade', 'upgrade', 'websocket'] as const;
const NOBODY: ReadonlySet<string | undefined> = new Set(['ECONNREFUSED', 'ENOENT', 'EAGAIN']);

export interface UpgradeInbound {
  readonly incoming: IncomingMessage;
  readonly socket: Duplex;
  /** Bytes the caller sent behind the request head. */
  readonly head: Buffer;
}

export function upgrade(inbound: UpgradeInbound, plan: ExchangePlan): Promise<ExchangeOutcome> {
  return new Promise((resolve) => new Upgrade(inbound, plan, resolve).start());
}

class Upgrade implements Watched {
  readonly #inbound: UpgradeInbound;
  readonly #plan: ExchangePlan;
  readonly #settle: (outcome: ExchangeOutcome) => void;
  #request: ClientRequest | undefined;
  #instance: Duplex | undefined;
  #startedMs = 0;
  #lastActiveMs = 0;
  #reportAtMs = SLOW_MS;
  #join: Join | undefined;
  #over = false;

  constructor(inbound: UpgradeInbound, plan: ExchangePlan, settle: (outcome: ExchangeOutcome) => void) {
    this.#inbound = inbound;
    this.#plan = plan;
    this.#settle = settle;
  }

  start(): void {
    const { incoming, socket } = this.#inbound;
    if (socket.destroyed) return this.#settle({ kind: 'caller_gone' });
    socket.on('close', this.#callerClosed);
    this.#startedMs = this.#plan.watch.add(this);
    const request = httpRequest({
      method: incoming.method,
      path: incoming.url,
      headers: requestHeaders(incoming.rawHeaders, [...this.#plan.headers, ...UPGRADE]),
      setHost: false,
      createConnection: () => connect({ path: this.#plan.socketPath, allowHalfOpen: true }),
    });
    this.#request = request;
    request.on('upgrade', (response, connection, rest) => this.#joined(response, connection, rest));
    request.on('response', (response) => this.#decline(response));
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#instance !== undefined) this.#cut();
      else if (NOBODY.has(error.code)) this.#finish({ kind: unsent(error) });
      else this.#finish({ kind: 'reset', replayable: true });
    });
    request.end();
  }

  tick(nowMs: number): void {
    const { limits, onSlow } = this.#plan;
    if (this.#instance !== undefined) {
      const silenceMsMax = this.#join?.silenceMsMax(limits.streamIdleMs) ?? limits.streamIdleMs;
      if (nowMs - this.#lastActiveMs >= silenceMsMax) this.#cut();
      return;
    }
    const ageMs = nowMs - this.#startedMs;
    if (ageMs >= this.#reportAtMs) {
      this.#reportAtMs = nextReportMs(ageMs, limits.cpuMs);
      onSlow(ageMs);
    }
    if (ageMs >= limits.timeoutMs) this.#finish({ kind: 'timeout', ageMs });
  }

  #joined(response: IncomingMessage, connection: Duplex, rest: Buffer): void {
    if (this.#over) return void connection.destroy();
    this.#begin(connection);
    const { socket, head } = this.#inbound;
    const headers = responseHeaders(response.rawHeaders, [REQUEST_ID, this.#plan.requestId, ...UPGRADE]);
    socket.write(headText(101, 'Switching Protocols', headers), 'latin1');
    if (rest.byteLength > 0) socket.write(rest);
    if (head.byteLength > 0) connection.write(head);
    const { meter } = this.#plan;
    meter.requestBytes += head.byteLength;
    meter.responseBytes += rest.byteLength;
    socket.off('close', this.#callerClosed);
    this.#join = Join.of(socket, connection, {
      onLeft: (chunk) => {
        this.#active();
        meter.requestBytes += chunk.byteLength;
      },
      onRight: this.#answerChunk,
      onEnding: () => this.#active(),
      onOver: () => this.#finish({ kind: 'answered' }),
    });
  }

  /** The function declined: its plain answer goes out, and the connection ends with it. */
  #decline(response: IncomingMessage): void {
    const status = response.statusCode ?? 502;
    const outcome = status === 500 ? fieldOf(response.rawHeaders, OUTCOME) : undefined;
    if (isFunctionError(status, outcome)) {
      if (outcome === undefined) this.#plan.onBroken();
      return this.#finish({ kind: 'function_error' });
    }
    this.#begin(response.socket);
    const { socket } = this.#inbound;
    const own = [REQUEST_ID, this.#plan.requestId, 'connection', 'close'];
    const headers = responseHeaders(response.rawHeaders, own);
    socket.write(headText(status, response.statusMessage ?? '', headers), 'latin1');
    response.on('data', this.#answerChunk);
    response.on('end', () => this.#finish({ kind: 'answered' }));
    response.on('error', () => {
      this.#plan.meter.errors += 1;
      this.#cut();
    });
    response.pipe(socket);
  }

  #begin(instance: Duplex): void {
    this.#instance = instance;
    this.#active();
  }

  #active(): void {
    this.#lastActiveMs = this.#plan.watch.coarseMs;
  }

  readonly #answerChunk = (chunk: Buffer): void => {
    this.#active();
    this.#plan.meter.responseBytes += chunk.byteLength;
  };

  readonly #callerClosed = (): void => {
    this.#finish({ kind: this.#instance === undefined ? 'caller_gone' : 'answered' });
  };

  #cut(): void {
    if (this.#over) return;
    this.#inbound.socket.destroy();
    this.#finish({ kind: 'answered' });
  }

  #finish(outcome: ExchangeOutcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#plan.watch.delete(this);
    this.#inbound.socket.off('close', this.#callerClosed);
    this.#instance?.destroy();
    this.#request?.destroy();
    this.#settle(outcome);
  }
}
