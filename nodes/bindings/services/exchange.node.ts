/** One request from a function to an instance of another, and the response back; both bodies stream. */
import { unsent } from '#shared/carry/ended.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FunctionLimits } from '#shared/contracts/config.ts';
import { isFunctionError, OUTCOME, REQUEST_ID } from '#shared/contracts/invoke.ts';
import { fieldOf } from '#shared/http/head.ts';
import { nextReportMs, SLOW_MS, type Watch, type Watched } from '#shared/carry/deadlines.ts';
import type { Meter } from '#shared/usage/meter.ts';
import type {
  UpstreamClient,
  UpstreamExchange,
  UpstreamFailure,
  UpstreamHandler,
} from '#shared/upstream/upstream.ts';
import { requestHeaders, responseHeaders } from '#shared/carry/headers.ts';

const ONE_WRITE_BYTES_MAX = 16_384;

export type ExchangeOutcome =
  /** `answered`: a head reached the caller, whatever came of the body. */
  | { readonly kind: 'answered' | 'function_error' | 'caller_gone' | 'body_too_large' }
  /** Nothing was sent: the instance does not listen any more, or its queue of connections is full. */
  | { readonly kind: 'unreachable' | 'busy' }
  /** The instance closed before a response head. */
  | { readonly kind: 'reset'; readonly replayable: boolean }
  /** What the instance answered cannot be passed on. */
  | { readonly kind: 'response_invalid'; readonly cause: unknown }
  | { readonly kind: 'timeout'; readonly ageMs: number };

export interface ExchangePlan {
  readonly socketPath: string;
  readonly requestId: string;
  /** Names and values in turn, added to the caller's own. */
  readonly headers: readonly string[];
  readonly limits: FunctionLimits;
  /** Of the target. */
  readonly meter: Meter;
  readonly watch: Watch;
  readonly onSlow: (ageMs: number) => void;
  /** The runtime ended the call, and the target's log knows nothing of it. */
  readonly onBroken: () => void;
}

/** 0: there is none; undefined: it is not said. */
function bodyBytesOf(incoming: IncomingMessage): number | undefined {
  const length = incoming.headers['content-length'];
  if (length !== undefined) return Number(length);
  return incoming.headers['transfer-encoding'] === undefined ? 0 : undefined;
}

export function exchange(
  client: UpstreamClient,
  inbound: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse },
  plan: ExchangePlan,
): Promise<ExchangeOutcome> {
  return new Promise((resolve) => new Exchange(inbound, plan, resolve).start(client));
}

class Exchange implements UpstreamHandler, Watched {
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  readonly #plan: ExchangePlan;
  readonly #settle: (outcome: ExchangeOutcome) => void;
  readonly #bodyLength: number | undefined;
  #upstream: UpstreamExchange | undefined;
  #startedMs = 0;
  #lastActiveMs = 0;
  #reportAtMs = SLOW_MS;
  #bodyBytes = 0;
  #pumping = false;
  #discarding = false;
  #headSent = false;
  /** True until the read that brought the head has been worked off: a body that came with it goes out with it. */
  #headFresh = false;
  /** Body bytes from that read. */
  #firstChunk: Buffer | undefined;
  #over = false;

  constructor(
    { incoming, outgoing }: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse },
    plan: ExchangePlan,
    settle: (outcome: ExchangeOutcome) => void,
  ) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#plan = plan;
    this.#settle = settle;
    this.#bodyLength = bodyBytesOf(incoming);
  }

  start(client: UpstreamClient): void {
    if (this.#outgoing.destroyed) return this.#settle({ kind: 'caller_gone' });
    this.#outgoing.on('close', this.#callerClosed);
    this.#startedMs = this.#plan.watch.add(this);
    this.#upstream = client.send(
      {
        socketPath: this.#plan.socketPath,
        method: this.#incoming.method ?? 'GET',
        target: this.#incoming.url ?? '/',
        headers: requestHeaders(this.#incoming.rawHeaders, this.#plan.headers),
        bodyBytes: this.#bodyLength,
      },
      this,
    );
  }

  onReady(): void {
    // Only once it is connected: until then the body is whole and may go to another instance.
    if (this.#over || this.#bodyLength === 0) return;
    this.#pumping = true;
    this.#incoming.on('data', this.#bodyChunk);
    this.#incoming.on('end', this.#bodyEnd);
  }

  onDrain(): void {
    if (this.#pumping) this.#incoming.resume();
  }

  onHead(status: number, reason: string, raw: readonly string[]): void {
    const outcome = status === 500 ? fieldOf(raw, OUTCOME) : undefined;
    if (isFunctionError(status, outcome)) {
      if (outcome === undefined) this.#plan.onBroken();
      this.#discarding = true;
      return;
    }
    try {
      const headers = responseHeaders(raw, [REQUEST_ID, this.#plan.requestId]);
      this.#outgoing.writeHead(status, reason, headers);
    } catch (thrown) {
      // Node judged a byte otherwise than we did: never without an answer.
      this.#upstream?.abort();
      return this.#finish({ kind: 'response_invalid', cause: thrown });
    }
    this.#headSent = true;
    this.#active();
    this.#headFresh = true;
    queueMicrotask(this.#flush);
  }

  onData(chunk: Buffer): boolean {
    if (this.#discarding) return true;
    this.#plan.meter.responseBytes += chunk.byteLength;
    if (this.#headFresh && this.#firstChunk === undefined) {
      this.#firstChunk = chunk;
      return true;
    }
    this.#flush();
    this.#active();
    if (this.#outgoing.write(chunk)) return true;
    this.#outgoing.once('drain', this.#callerDrained);
    return false;
  }

  onEnd(): void {
    if (this.#discarding) return this.#finish({ kind: 'function_error' });
    const first = this.#firstChunk;
    this.#firstChunk = undefined;
    this.#headFresh = false;
    if (first === undefined) this.#outgoing.end();
    // Node joins a head and a text into one write; a head and a buffer are two.
    else if (first.byteLength <= ONE_WRITE_BYTES_MAX) this.#outgoing.end(first.toString('latin1'), 'latin1');
    else this.#outgoing.end(first);
    this.#finish({ kind: 'answered' });
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
    const { limits, onSlow } = this.#plan;
    if (this.#headSent) {
      if (nowMs - this.#lastActiveMs < limits.streamIdleMs) return;
      this.#upstream?.abort();
      return this.#cut();
    }
    const ageMs = nowMs - this.#startedMs;
    if (ageMs >= this.#reportAtMs) {
      this.#reportAtMs = nextReportMs(ageMs, limits.cpuMs);
      onSlow(ageMs);
    }
    if (ageMs < limits.timeoutMs) return;
    this.#upstream?.abort();
    this.#finish({ kind: 'timeout', ageMs });
  }

  /** What came with the head goes out with it; without a body the caller gets the head now. */
  readonly #flush = (): void => {
    if (this.#over || !this.#headFresh) return;
    this.#headFresh = false;
    const first = this.#firstChunk;
    this.#firstChunk = undefined;
    if (first === undefined) this.#outgoing.flushHeaders();
    else this.#outgoing.write(first);
  };

  #active(): void {
    this.#lastActiveMs = this.#plan.watch.coarseMs;
  }

  readonly #bodyChunk = (chunk: Buffer): void => {
    this.#active();
    this.#bodyBytes += chunk.byteLength;
    this.#plan.meter.requestBytes += chunk.byteLength;
    if (this.#bodyBytes > this.#plan.limits.requestBodyBytes) {
      this.#upstream?.abort();
      if (this.#headSent) this.#cut();
      else this.#finish({ kind: 'body_too_large' });
      return;
    }
    if (this.#upstream?.write(chunk) === false) this.#incoming.pause();
  };

  readonly #bodyEnd = (): void => {
    this.#upstream?.end();
  };

  readonly #callerDrained = (): void => {
    if (this.#over) return;
    this.#active();
    this.#upstream?.resume();
  };

  readonly #callerClosed = (): void => {
    if (this.#over) return;
    this.#upstream?.abort();
    this.#finish({ kind: this.#headSent ? 'answered' : 'caller_gone' });
  };

  /** The head is out: all that can be said is that the rest is missing. */
  #cut(): void {
    if (this.#over) return;
    this.#plan.meter.errors += 1;
    this.#outgoing.destroy();
    this.#finish({ kind: 'answered' });
  }

  #finish(outcome: ExchangeOutcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#plan.watch.delete(this);
    this.#outgoing.off('close', this.#callerClosed);
    if (this.#pumping) {
      this.#pumping = false;
      this.#incoming.off('data', this.#bodyChunk);
      this.#incoming.off('end', this.#bodyEnd);
      // The rest of a body that nobody wants is read and thrown away, so that the connection can go on.
      this.#incoming.resume();
    }
    this.#upstream = undefined;
    this.#settle(outcome);
  }
}
