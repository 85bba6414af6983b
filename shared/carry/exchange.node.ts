/**
 * One request to an instance and the response to whoever wants it, both bodies streaming with back-pressure.
 *
 * Owns the deadlines: the response head within limits.timeoutMs, then never silent for longer than
 * limits.streamIdleMs. Whichever side goes first takes the other one down.
 */
import { isFunctionError, OUTCOME } from '../contracts/invoke.ts';
import type { PlatformError } from '../errors.ts';
import { fieldOf } from '../http/head.ts';
import type {
  UpstreamClient,
  UpstreamExchange,
  UpstreamFailure,
  UpstreamHandler,
} from '../upstream/upstream.ts';
import { nextReportMs, SLOW_MS, type Watch, type Watched } from './deadlines.ts';
import { unsent } from './ended.ts';
import { responseHeaders } from './headers.ts';
import type { Answered, BodySink, CarriedRequest, CarryOutcome, CarryRules, SinkListener } from './ports.ts';

/** A client that has ended its side may still read, but most have gone: a silent stream is not kept for it longer. */
const CLIENT_ENDED_MS_MAX = 2_000;

const COMPLETE: Answered = { kind: 'answered', end: 'complete' };
const CUT: Answered = { kind: 'answered', end: 'cut' };
const LEFT: Answered = { kind: 'answered', end: 'client_gone' };

export interface CarryTools {
  readonly client: UpstreamClient;
  readonly watch: Watch;
}

/** Sends it once. @param settle - told once, when both bodies are over. */
export function exchange(
  { client, watch }: CarryTools,
  request: CarriedRequest,
  rules: CarryRules,
  settle: (outcome: CarryOutcome) => void,
): void {
  new Exchange(request, rules, watch, settle).start(client);
}

class Exchange implements UpstreamHandler, Watched, BodySink, SinkListener {
  watchedAt: number | undefined;
  readonly #request: CarriedRequest;
  readonly #rules: CarryRules;
  readonly #watch: Watch;
  readonly #settle: (outcome: CarryOutcome) => void;
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
  #discarding = false;
  #over = false;

  // oxlint-disable-next-line max-params -- made once per request: an options object would cost an allocation
  constructor(
    request: CarriedRequest,
    rules: CarryRules,
    watch: Watch,
    settle: (outcome: CarryOutcome) => void,
  ) {
    this.#request = request;
    this.#rules = rules;
    this.#watch = watch;
    this.#settle = settle;
  }

  start(client: UpstreamClient): void {
    const { sink, address, method, target, headers, bodyBytes, body } = this.#request;
    if (sink.gone) return this.#settle({ kind: 'client_gone' });
    const whole = body?.whole?.byteLength;
    // Another version than the one that it was kept for may take less.
    if (whole !== undefined && whole > this.#rules.limits.requestBodyBytes)
      return this.#settle({ kind: 'body_too_large' });
    sink.listen(this);
    this.#startedMs = this.#watch.add(this);
    this.#upstream = client.send({ address, method, target, headers, bodyBytes: whole ?? bodyBytes }, this);
  }

  onReady(): void {
    const { body } = this.#request;
    if (this.#over || body === undefined) return;
    const { whole } = body;
    if (whole !== undefined) {
      if (whole.byteLength > 0) this.#upstream?.write(whole);
      this.#rules.meter.requestBytes += whole.byteLength;
      this.#upstream?.end();
      return;
    }
    // Only now: until then the body is as it was, and may go to another instance.
    this.#pumping = true;
    body.flow(this);
  }

  onDrain(): void {
    if (this.#pumping) this.#request.body?.resume();
  }

  onHead(status: number, reason: string, raw: readonly string[]): void {
    const outcome = status === 500 ? fieldOf(raw, OUTCOME) : undefined;
    if (isFunctionError(status, outcome)) {
      // Without a word of our entry module it is workerd's own answer, of which nothing stands in the log yet.
      if (outcome === undefined) this.#rules.onBroken();
      this.#discarding = true;
      return;
    }
    try {
      const headers = responseHeaders(raw, this.#rules.responseHeaders, this.#rules.filter);
      this.#request.sink.head(status, reason, headers);
    } catch (thrown) {
      // The receiver judged a byte otherwise than we did: never without an answer.
      this.#upstream?.abort();
      return this.#finish({ kind: 'response_invalid', cause: thrown });
    }
    this.#headSent = true;
    this.#active();
  }

  onData(chunk: Buffer): boolean {
    if (this.#discarding) return true;
    this.#rules.meter.responseBytes += chunk.byteLength;
    if (this.#pumping) this.#request.body?.credit(chunk.byteLength);
    this.#active();
    if (this.#request.sink.write(chunk)) return true;
    this.#clientBlocked = true;
    return false;
  }

  onEnd(): void {
    if (this.#discarding) return this.#finish({ kind: 'function_error' });
    this.#request.sink.end();
    this.#finish(COMPLETE);
  }

  onFailure(failure: UpstreamFailure, error: unknown): void {
    if (this.#discarding) return this.#finish({ kind: 'function_error' });
    if (this.#headSent) {
      this.#rules.onBroken();
      return this.#leave(CUT);
    }
    if (failure === 'unreachable') return this.#finish({ kind: unsent(error) });
    if (failure === 'malformed') return this.#finish({ kind: 'response_invalid', cause: error });
    this.#finish({ kind: 'reset', replayable: !this.#pumping });
  }

  tick(nowMs: number): void {
    const { limits, onSlow } = this.#rules;
    if (this.#headSent) return this.#tickAnswering(nowMs - this.#lastActiveMs);
    const ageMs = nowMs - this.#startedMs;
    if (ageMs >= this.#reportAtMs) {
      this.#reportAtMs = nextReportMs(ageMs, limits.cpuMs);
      onSlow(ageMs);
    }
    if (ageMs < limits.timeoutMs) return;
    this.#upstream?.abort();
    this.#finish({ kind: 'timeout', ageMs });
  }

  #tickAnswering(silentMs: number): void {
    const { limits, stalledMsMax } = this.#rules;
    const silenceMsMax = this.#clientBlocked
      ? Math.min(limits.streamIdleMs, stalledMsMax)
      : limits.streamIdleMs;
    const left = silentMs >= CLIENT_ENDED_MS_MAX && this.#request.sink.ended;
    if (silentMs < silenceMsMax && !left) return;
    this.#upstream?.abort();
    this.#leave(silentMs < silenceMsMax ? LEFT : CUT);
  }

  #active(): void {
    this.#lastActiveMs = this.#watch.coarseMs;
  }

  /** The stream ends after its head: all that can be said is that the rest is missing. */
  #leave(outcome: Answered): void {
    if (this.#over) return;
    this.#finish(outcome);
    this.#request.sink.cut();
  }

  #finish(outcome: CarryOutcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#watch.delete(this);
    this.#request.sink.listen(undefined);
    if (this.#pumping) this.#request.body?.stop();
    this.#upstream = undefined;
    this.#settle(outcome);
  }

  onReceiverReady(): void {
    if (this.#over) return;
    this.#clientBlocked = false;
    this.#active();
    this.#upstream?.resume();
  }

  onReceiverGone(): void {
    if (this.#over) return;
    this.#upstream?.abort();
    this.#finish(this.#headSent ? LEFT : { kind: 'client_gone' });
  }

  /** Of the request. */
  chunk(bytes: Buffer): boolean {
    this.#active();
    this.#bodyBytes += bytes.byteLength;
    this.#rules.meter.requestBytes += bytes.byteLength;
    if (this.#bodyBytes > this.#rules.limits.requestBodyBytes) {
      this.#upstream?.abort();
      if (this.#headSent) this.#leave(CUT);
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
    if (this.#headSent) this.#leave(CUT);
    else this.#finish({ kind: 'body_failed', error });
  }
}
