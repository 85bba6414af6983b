/**
 * One WebSocket upgrade to an instance: after the handshake, bytes in both directions until both sides have ended. An
 * instance that declines answers like any other, and the connection ends with that.
 */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { isFunctionError, OUTCOME } from '../contracts/invoke.ts';
import { headText } from '../http/answer.node.ts';
import { fieldOf } from '../http/head.ts';
import { connectTo } from '../runtime/transport.node.ts';
import { Join } from '../upstream/join.node.ts';
import { nextReportMs, SLOW_MS, type Watch, type Watched } from './deadlines.ts';
import { unsent } from './ended.ts';
import { responseHeaders } from './headers.ts';
import type { Answered, Carried, CarryOutcome, CarryRules } from './ports.ts';

/** Errors of a connection that never stood. */
const NOBODY: ReadonlySet<string | undefined> = new Set(['ECONNREFUSED', 'ENOENT', 'EAGAIN']);
/** Node's parser could not read the answer. */
const MALFORMED_PREFIX = 'HPE_';
const UPGRADE = ['connection', 'Upgrade', 'upgrade', 'websocket'] as const;

export interface CarriedUpgrade extends Carried {
  readonly socket: Duplex;
  /** Bytes the client sent behind the request head. */
  readonly head: Buffer;
  /** Subprotocol that is answered when the instance chooses none. */
  readonly subprotocol: string | undefined;
}

/** Sends it once. @param settle - told once, when both directions are over. */
export function tunnel(
  upgrade: CarriedUpgrade,
  rules: CarryRules,
  watch: Watch,
  settle: (outcome: CarryOutcome) => void,
): void {
  new Tunnel(upgrade, rules, watch, settle).start();
}

class Tunnel implements Watched {
  watchedAt: number | undefined;
  readonly #upgrade: CarriedUpgrade;
  readonly #rules: CarryRules;
  readonly #watch: Watch;
  readonly #settle: (outcome: CarryOutcome) => void;
  #request: ClientRequest | undefined;
  /** Once a response head has gone out. */
  #instance: Duplex | undefined;
  #startedMs = 0;
  #lastActiveMs = 0;
  /** Age at which the agent is told next that the request is slow. */
  #reportAtMs = SLOW_MS;
  #join: Join | undefined;
  #over = false;

  // oxlint-disable-next-line max-params -- the same shape as Exchange
  constructor(
    upgrade: CarriedUpgrade,
    rules: CarryRules,
    watch: Watch,
    settle: (outcome: CarryOutcome) => void,
  ) {
    this.#upgrade = upgrade;
    this.#rules = rules;
    this.#watch = watch;
    this.#settle = settle;
  }

  start(): void {
    const { socket, address, method, target, headers } = this.#upgrade;
    if (socket.destroyed) return this.#settle({ kind: 'client_gone' });
    socket.on('close', this.#clientClosed);
    this.#startedMs = this.#watch.add(this);
    const request = httpRequest({
      method,
      path: target,
      headers: [...headers, ...UPGRADE],
      setHost: false,
      createConnection: () => connectTo(address, true),
    });
    this.#request = request;
    request.on('upgrade', (response, connection, rest) => this.#joined(response, connection, rest));
    request.on('response', (response) => this.#relay(response));
    request.on('error', (error: NodeJS.ErrnoException) => this.#failed(error));
    request.end();
  }

  tick(nowMs: number): void {
    const { limits, onSlow } = this.#rules;
    if (this.#instance !== undefined) {
      const silenceMsMax = this.#join?.silenceMsMax(limits.streamIdleMs) ?? limits.streamIdleMs;
      if (nowMs - this.#lastActiveMs < silenceMsMax) return;
      // Once one side has ended, what the other still has to say is waited for no longer.
      return this.#leave(silenceMsMax < limits.streamIdleMs ? 'complete' : 'cut');
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
    const { socket, head, subprotocol } = this.#upgrade;
    const { meter, responseHeaders: own, filter } = this.#rules;
    const chosen =
      subprotocol === undefined || fieldOf(response.rawHeaders, 'sec-websocket-protocol') !== undefined
        ? []
        : ['sec-websocket-protocol', subprotocol];
    const headers = responseHeaders(response.rawHeaders, [...own, ...chosen, ...UPGRADE], filter);
    socket.write(headText(101, 'Switching Protocols', headers), 'latin1');
    if (rest.byteLength > 0) socket.write(rest);
    if (head.byteLength > 0) connection.write(head);
    meter.requestBytes += head.byteLength;
    meter.responseBytes += rest.byteLength;
    socket.off('close', this.#clientClosed);
    this.#join = Join.of(socket, connection, {
      onLeft: (chunk) => {
        this.#active();
        meter.requestBytes += chunk.byteLength;
      },
      onRight: (chunk) => {
        this.#active();
        meter.responseBytes += chunk.byteLength;
      },
      onEnding: () => this.#active(),
      onOver: () => this.#answered('complete'),
    });
  }

  /** The function declined the upgrade: its plain answer goes out, and the connection ends with it. */
  #relay(response: IncomingMessage): void {
    const status = response.statusCode ?? 502;
    const outcome = status === 500 ? fieldOf(response.rawHeaders, OUTCOME) : undefined;
    if (isFunctionError(status, outcome)) {
      if (outcome === undefined) this.#rules.onBroken();
      return this.#finish({ kind: 'function_error' });
    }
    this.#begin(response.socket);
    const { socket } = this.#upgrade;
    const { responseHeaders: own, filter, meter } = this.#rules;
    const headers = responseHeaders(response.rawHeaders, [...own, 'connection', 'close'], filter);
    socket.write(headText(status, response.statusMessage ?? '', headers), 'latin1');
    response.on('data', (chunk: Buffer) => {
      this.#active();
      meter.responseBytes += chunk.byteLength;
    });
    response.on('end', () => this.#answered('complete'));
    response.on('error', () => this.#leave('cut'));
    response.pipe(socket);
  }

  #failed(error: NodeJS.ErrnoException): void {
    if (this.#instance !== undefined) return this.#leave('cut');
    if (NOBODY.has(error.code)) return this.#finish({ kind: unsent(error) });
    if (error.code?.startsWith(MALFORMED_PREFIX) === true)
      return this.#finish({ kind: 'response_invalid', cause: error });
    this.#finish({ kind: 'reset', replayable: true });
  }

  #begin(instance: Duplex): void {
    this.#instance = instance;
    this.#active();
  }

  #active(): void {
    this.#lastActiveMs = this.#watch.coarseMs;
  }

  readonly #clientClosed = (): void => {
    if (this.#instance === undefined) this.#finish({ kind: 'client_gone' });
    else this.#answered('complete');
  };

  /** A head is out: only closing the connection tells the client. */
  #leave(end: Answered['end']): void {
    if (this.#over) return;
    this.#upgrade.socket.destroy();
    this.#answered(end);
  }

  #answered(end: Answered['end']): void {
    this.#finish({ kind: 'answered', end });
  }

  #finish(outcome: CarryOutcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#watch.delete(this);
    this.#upgrade.socket.off('close', this.#clientClosed);
    this.#instance?.destroy();
    this.#request?.destroy();
    this.#settle(outcome);
  }
}
