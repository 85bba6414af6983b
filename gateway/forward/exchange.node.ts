/**
 * One request to an instance and its response to the client, both bodies streaming with back-pressure.
 *
 * Owns the deadlines: the response head within limits.timeoutMs, then never silent for longer than
 * limits.streamIdleMs. Whichever side goes first takes the other one down.
 */
import { unsent } from '#shared/carry/ended.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { isFunctionError, OUTCOME } from '#shared/contracts/invoke.ts';
import type { PlatformError } from '#shared/errors.ts';
import { fieldOf } from '#shared/http/head.ts';
import { LIMITS } from '#shared/limits.ts';
import type { ForwardOutcome, ForwardPlan } from '../ports.ts';
import { responseHeaders } from '#shared/carry/headers.ts';
import type { Intake, IntakeSink } from './intake.node.ts';
import type {
  UpstreamClient,
  UpstreamExchange,
  UpstreamFailure,
  UpstreamHandler,
} from '#shared/upstream/upstream.ts';
import { nextReportMs, SLOW_MS, type Watch, type Watched } from '#shared/carry/deadlines.ts';

const ONE_WRITE_BYTES_MAX = 16_384;
/** A client that has ended its side may still read, but most have gone: a silent stream is not kept for it longer. */
const CLIENT_ENDED_MS_MAX = 2_000;

export interface ExchangeRequest {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  readonly target: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly bodyBytes: number | undefined;
  /** undefined: there is no body. */
  readonly intake: Intake | undefined;
}

export class Exchange implements UpstreamHandler, Watched, IntakeSink {
  readonly #request: ExchangeRequest;
  readonly #plan: ForwardPlan;
  readonly #watch: Watch;
  readonly #settle: (outcome: ForwardOutcome) => void;
  #upstream: UpstreamExchange | undefined;
  #startedMs = 0;
  #lastActiveMs = 0;
  /** Age at which the agent is told next that the request is slow. */
  #reportAtMs = SLOW_MS;
  #bodyBytes = 0;
  #pumping = false;
  /** The response waits for the client to take it. */
  #clientBlocked = false;
  #headSent = false;
  /** True until the read that brought the response head has been worked off. */
  #headFresh = false;
  /** Body bytes from that read. */
  #firstChunk: Buffer | undefined;
  #discarding = false;
  #over = false;

  // oxlint-disable-next-line max-params -- made once per request: an options object would cost an allocation
  constructor(
    request: ExchangeRequest,
    plan: ForwardPlan,
    watch: Watch,
    settle: (outcome: ForwardOutcome) => void,
  ) {
    this.#request = request;
    this.#plan = plan;
    this.#watch = watch;
    this.#settle = settle;
  }

  start(client: UpstreamClient): void {
    const { incoming, outgoing, target, headers, bodyBytes, intake } = this.#request;
    outgoing.on('close', this.#clientClosed);
    this.#startedMs = this.#watch.add(this);
    this.#upstream = client.send(
      {
        socketPath: this.#plan.lease.endpoint.instance.path,
        method: incoming.method ?? 'GET',
        target,
        headers,
        bodyBytes: intake?.whole?.byteLength ?? bodyBytes,
      },
      this,
    );
  }

  onReady(): void {
    const { intake } = this.#request;
    if (this.#over || intake === undefined) return;
    const { whole } = intake;
    if (whole !== undefined) {
      if (whole.byteLength > 0) this.#upstream?.write(whole);
      this.#plan.meter.requestBytes += whole.byteLength;
      this.#upstream?.end();
      return;
    }
    this.#pumping = true;
    intake.flow(this);
  }

  onDrain(): void {
    if (this.#pumping) this.#request.intake?.resume();
  }

  onHead(status: number, reason: string, raw: readonly string[]): void {
    const headers = responseHeaders(raw, this.#plan.responseHeaders, this.#plan);
    const outcome = fieldOf(raw, OUTCOME);
    if (isFunctionError(status, outcome)) {
      // Without a word of our entry module it is workerd's own answer, of which nothing stands in the log yet.
      if (outcome === undefined) this.#plan.onBroken();
      this.#discarding = true;
      return;
    }
    try {
      this.#request.outgoing.writeHead(status, reason, headers);
    } catch (thrown) {
      // Node judged a byte otherwise than we did: never without an answer.
      this.#upstream?.abort();
      return this.#finish({ kind: 'response_invalid', cause: thrown });
    }
    this.#headSent = true;
    this.#lastActiveMs = this.#watch.coarseMs;
    // A body that came in the same read goes out with the head; otherwise the client gets the head now.
    this.#headFresh = true;
    queueMicrotask(this.#flushHead);
  }

  onData(chunk: Buffer): boolean {
    if (this.#discarding) return true;
    this.#plan.meter.responseBytes += chunk.byteLength;
    if (this.#pumping) this.#request.intake?.credit(chunk.byteLength);
    if (this.#headFresh && this.#firstChunk === undefined) {
      this.#firstChunk = chunk;
      return true;
    }
    this.#writeFirstChunk();
    this.#lastActiveMs = this.#watch.coarseMs;
    if (this.#request.outgoing.write(chunk)) return true;
    this.#clientBlocked = true;
    this.#request.outgoing.once('drain', this.#clientDrained);
    return false;
  }

  onEnd(): void {
    if (this.#discarding) return this.#finish({ kind: 'function_error' });
    const first = this.#firstChunk;
    this.#firstChunk = undefined;
    this.#headFresh = false;
    if (first === undefined) this.#request.outgoing.end();
    // Node joins a head and a text into one write; a head and a buffer cost it half as much again.
    else if (first.byteLength <= ONE_WRITE_BYTES_MAX)
      this.#request.outgoing.end(first.toString('latin1'), 'latin1');
    else this.#request.outgoing.end(first);
    this.#finish({ kind: 'answered', response: RESPONSE_ALREADY_SENT, end: 'complete' });
  }

  onFailure(failure: UpstreamFailure, error: unknown): void {
    if (this.#discarding) return this.#finish({ kind: 'function_error' });
    if (this.#headSent) {
      this.#plan.onBroken();
      return this.#cut();
    }
    if (failure === 'unreachable') return this.#finish({ kind: unsent(error) });
    if (failure === 'malformed') return this.#finish({ kind: 'response_invalid', cause: error });
    this.#finish({ kind: 'reset', replayable: !this.#pumping });
  }

  tick(nowMs: number): void {
    const { limits } = this.#plan.version;
    if (this.#headSent) {
      const silenceMsMax = this.#clientBlocked
        ? Math.min(limits.streamIdleMs, LIMITS.clientStalledMsMax)
        : limits.streamIdleMs;
      const silentMs = nowMs - this.#lastActiveMs;
      if (silentMs < silenceMsMax) {
        if (silentMs < CLIENT_ENDED_MS_MAX || !this.#request.incoming.socket.readableEnded) return;
        this.#upstream?.abort();
        return this.#leave('client_gone');
      }
      this.#upstream?.abort();
      return this.#cut();
    }
    const ageMs = nowMs - this.#startedMs;
    if (ageMs >= this.#reportAtMs) {
      this.#reportAtMs = nextReportMs(ageMs, limits.cpuMs);
      this.#plan.onSlow(ageMs);
    }
    if (ageMs < limits.timeoutMs) return;
    this.#upstream?.abort();
    this.#finish({ kind: 'timeout', ageMs });
  }

  /** The stream breaks after its head: only closing the connection tells the client. */
  #cut(): void {
    this.#leave('cut');
  }

  #leave(end: 'cut' | 'client_gone'): void {
    this.#finish({ kind: 'answered', response: RESPONSE_ALREADY_SENT, end });
    this.#request.outgoing.destroy();
  }

  #finish(outcome: ForwardOutcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#watch.delete(this);
    this.#request.outgoing.off('close', this.#clientClosed);
    if (this.#pumping) this.#request.intake?.stop();
    this.#settle(outcome);
  }

  readonly #flushHead = (): void => {
    if (!this.#headFresh || this.#over) return;
    this.#headFresh = false;
    if (this.#firstChunk === undefined) this.#request.outgoing.flushHeaders();
    else this.#writeFirstChunk();
  };

  #writeFirstChunk(): void {
    const first = this.#firstChunk;
    if (first === undefined) return;
    this.#firstChunk = undefined;
    this.#headFresh = false;
    this.#request.outgoing.write(first);
  }

  readonly #clientDrained = (): void => {
    if (this.#over) return;
    this.#clientBlocked = false;
    this.#lastActiveMs = this.#watch.coarseMs;
    this.#upstream?.resume();
  };

  readonly #clientClosed = (): void => {
    if (this.#over) return;
    this.#upstream?.abort();
    this.#finish(
      this.#headSent
        ? { kind: 'answered', response: RESPONSE_ALREADY_SENT, end: 'client_gone' }
        : { kind: 'client_gone' },
    );
  };

  /** Of the request. */
  chunk(bytes: Buffer): boolean {
    this.#lastActiveMs = this.#watch.coarseMs;
    this.#bodyBytes += bytes.byteLength;
    this.#plan.meter.requestBytes += bytes.byteLength;
    if (this.#bodyBytes > this.#plan.version.limits.requestBodyBytes) {
      this.#upstream?.abort();
      if (this.#headSent) this.#cut();
      else this.#finish({ kind: 'body_too_large' });
      return false;
    }
    return this.#upstream?.write(bytes) !== false;
  }

  end(): void {
    this.#upstream?.end();
  }

  failed(error: PlatformError): void {
    if (this.#over) return;
    this.#upstream?.abort();
    if (this.#headSent) this.#cut();
    else this.#finish({ kind: 'body_failed', error });
  }
}
