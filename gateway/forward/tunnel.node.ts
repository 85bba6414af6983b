/** WebSocket upgrades: after the handshake, bytes in both directions until one side ends. */
import { unsent } from '#shared/carry/ended.ts';
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { isFunctionError, OUTCOME } from '#shared/contracts/invoke.ts';
import type { ForwardOutcome, ForwardPlan } from '../ports.ts';
import { headText } from '#shared/http/answer.node.ts';
import { fieldOf } from '#shared/http/head.ts';
import { Join } from '#shared/upstream/join.node.ts';
import { responseHeaders } from '#shared/carry/headers.ts';
import { nextReportMs, SLOW_MS, type Watch, type Watched } from '#shared/carry/deadlines.ts';

/** Nothing was sent. */
const NOBODY: ReadonlySet<string | undefined> = new Set(['ECONNREFUSED', 'ENOENT', 'EAGAIN']);
export const UPGRADE = ['connection', 'Upgrade', 'upgrade', 'websocket'] as const;

interface Upgrade {
  readonly incoming: IncomingMessage;
  readonly socket: Duplex;
  /** Bytes the client sent behind the request head. */
  readonly head: Buffer;
  readonly target: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
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
  #join: Join | undefined;
  #over = false;

  // oxlint-disable-next-line max-params -- the same shape as Exchange
  constructor(upgrade: Upgrade, plan: ForwardPlan, watch: Watch, settle: (outcome: ForwardOutcome) => void) {
    this.#upgrade = upgrade;
    this.#plan = plan;
    this.#watch = watch;
    this.#settle = settle;
  }

  start(): void {
    const { incoming, socket, target, headers } = this.#upgrade;
    this.#startedMs = this.#watch.add(this);
    socket.on('close', this.#clientClosed);
    const request = httpRequest({
      method: incoming.method,
      path: target,
      headers: [...headers],
      setHost: false,
      createConnection: () => connect({ path: this.#plan.lease.endpoint.instance.path, allowHalfOpen: true }),
    });
    this.#request = request;
    request.on('upgrade', (response, connection, rest) => this.#joined(response, connection, rest));
    request.on('response', (response) => this.#relay(response));
    request.on('error', (error: NodeJS.ErrnoException) =>
      this.#finish(NOBODY.has(error.code) ? { kind: unsent(error) } : { kind: 'reset', replayable: true }),
    );
    request.end();
  }

  tick(nowMs: number): void {
    const { limits } = this.#plan.version;
    if (this.#instance !== undefined) {
      const silenceMsMax = this.#join?.silenceMsMax(limits.streamIdleMs) ?? limits.streamIdleMs;
      if (nowMs - this.#lastActiveMs < silenceMsMax) return;
      this.#upgrade.socket.destroy();
      return this.#answered(silenceMsMax < limits.streamIdleMs ? 'complete' : 'cut');
    }
    const ageMs = nowMs - this.#startedMs;
    if (ageMs >= this.#reportAtMs) {
      this.#reportAtMs = nextReportMs(ageMs, limits.cpuMs);
      this.#plan.onSlow(ageMs);
    }
    if (ageMs >= limits.timeoutMs) this.#finish({ kind: 'timeout', ageMs });
  }

  #joined(response: IncomingMessage, connection: Duplex, rest: Buffer): void {
    if (this.#over) return void connection.destroy();
    this.#instance = connection;
    this.#lastActiveMs = this.#watch.coarseMs;
    const { socket, head } = this.#upgrade;
    const { meter, subprotocol } = this.#plan;
    const chosen =
      subprotocol === undefined || fieldOf(response.rawHeaders, 'sec-websocket-protocol') !== undefined
        ? []
        : ['sec-websocket-protocol', subprotocol];
    const added = [...this.#plan.responseHeaders, ...chosen, ...UPGRADE];
    const headers = responseHeaders(response.rawHeaders, added, this.#plan);
    socket.write(headText(101, 'Switching Protocols', headers), 'latin1');
    if (rest.byteLength > 0) socket.write(rest);
    if (head.byteLength > 0) connection.write(head);
    meter.requestBytes += head.byteLength;
    meter.responseBytes += rest.byteLength;
    socket.off('close', this.#clientClosed);
    this.#join = Join.of(socket, connection, {
      onLeft: (chunk) => {
        this.#lastActiveMs = this.#watch.coarseMs;
        meter.requestBytes += chunk.byteLength;
      },
      onRight: (chunk) => {
        this.#lastActiveMs = this.#watch.coarseMs;
        meter.responseBytes += chunk.byteLength;
      },
      onEnding: () => {
        this.#lastActiveMs = this.#watch.coarseMs;
      },
      onOver: () => this.#answered('complete'),
    });
  }

  /** The function declined the upgrade: its plain answer goes out, and the connection ends with it. */
  #relay(response: IncomingMessage): void {
    const { socket } = this.#upgrade;
    const headers = responseHeaders(
      response.rawHeaders,
      [...this.#plan.responseHeaders, 'connection', 'close'],
      this.#plan,
    );
    const status = response.statusCode ?? 502;
    const outcome = fieldOf(response.rawHeaders, OUTCOME);
    if (isFunctionError(status, outcome)) {
      if (outcome === undefined) this.#plan.onBroken();
      return this.#finish({ kind: 'function_error' });
    }
    this.#instance = response.socket;
    this.#lastActiveMs = this.#watch.coarseMs;
    socket.write(headText(status, response.statusMessage ?? '', headers), 'latin1');
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
