/**
 * What carrying a request to an instance asks of those who want it: an HTTP server, a binding, a job. What differs
 * between them is data; nothing here knows what asks, or where the response goes.
 */
import type { Address } from '../contracts/address.ts';
import type { FunctionLimits } from '../contracts/config.ts';
import type { PlatformError } from '../errors.ts';
import type { Meter } from '../usage/meter.ts';
import type { ResponseRules } from './headers.ts';

/** What an instance is sent. */
export interface Carried {
  readonly address: Address;
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** Names and values in turn, as the instance gets them (headers.ts). */
  readonly headers: readonly string[];
}

/** A request with its body, and where the response goes. */
export interface CarriedRequest extends Carried {
  /** 0: there is none; undefined: it is not said. */
  readonly bodyBytes: number | undefined;
  /** undefined: there is none. */
  readonly body: RequestBody | undefined;
  readonly sink: ResponseSink;
}

export interface BodySink {
  /** False: no more until {@link RequestBody.resume}. */
  chunk(bytes: Buffer): boolean;
  end(): void;
  failed(error: PlatformError): void;
}

/** A body on its way to an instance. */
export interface RequestBody {
  /** All of it, when it is here: then it can be sent to several instances in turn. */
  readonly whole: Uint8Array | undefined;
  /** Hands it over as it comes. Once, and then no other instance can have it. */
  flow(sink: BodySink): void;
  resume(): void;
  /** Bytes that went the other way: who is being answered is not idle. */
  credit(bytes: number): void;
  /** No more is wanted. */
  stop(): void;
}

/** Receives one response. Its errors are its own: a receiver that fails is one that has gone. */
export interface ResponseSink {
  readonly gone: boolean;
  /** He says no more, and may still read: most that do so have gone. */
  readonly ended: boolean;
  /** One at a time; undefined: nobody listens any more. */
  listen(listener: SinkListener | undefined): void;
  /** @throws when it cannot be passed on; nothing has been sent then. */
  head(status: number, reason: string, headers: string[]): void;
  /** False: no more until {@link SinkListener.onReceiverReady}. */
  write(chunk: Buffer): boolean;
  end(): void;
  /** Breaks off: what was sent is not all. */
  cut(): void;
}

export interface SinkListener {
  onReceiverGone(): void;
  onReceiverReady(): void;
}

/** What holds for the request, whichever instance gets it. */
export interface CarryRules {
  readonly limits: FunctionLimits;
  /** Bytes of the bodies are counted here. */
  readonly meter: Meter;
  /** Names and values in turn, added to the instance's response. */
  readonly responseHeaders: readonly string[];
  /** What of the instance's response does not pass as it is. */
  readonly filter: ResponseRules | undefined;
  /** A receiver that takes nothing for this long is cut off; also after `limits.streamIdleMs`. */
  readonly stalledMsMax: number;
  /** No response head for a while, and again at limits.cpuMs and after: the agent looks at the process. */
  readonly onSlow: (ageMs: number) => void;
  /** The runtime ended the request, and the function's log knows nothing of it. */
  readonly onBroken: () => void;
}

/** A response head reached the client. `cut`: the stream broke after it; `client_gone`: the client left. */
export interface Answered {
  readonly kind: 'answered';
  readonly end: 'complete' | 'cut' | 'client_gone';
}

/** No response head reached the client. */
export type Unanswered =
  /**
   * Nothing was sent. `unreachable`: the instance does not listen any more. `busy`: its queue of connections is full; it
   * lives, and has more to do than it takes.
   */
  | { readonly kind: 'unreachable' | 'busy' }
  /** The instance closed before a response head. `replayable`: the body can be sent again. */
  | { readonly kind: 'reset'; readonly replayable: boolean }
  | { readonly kind: 'timeout'; readonly ageMs: number }
  | { readonly kind: 'function_error' }
  /** What the instance answered cannot be passed on. */
  | { readonly kind: 'response_invalid'; readonly cause: unknown }
  | { readonly kind: 'body_too_large' }
  | { readonly kind: 'body_failed'; readonly error: PlatformError }
  | { readonly kind: 'client_gone' };

export type CarryOutcome = Answered | Unanswered;
