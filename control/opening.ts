/**
 * A control plane that may have to wait for its database or its bucket. A platform that was in use starts without it, so that
 * gateways, schedulers and nodes go on with what they have, and callers hear why nothing can be changed.
 */
import { PlatformError, problemResponse } from '#shared/errors.ts';
import type { Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';

type Handler = (request: Request, env?: object) => Response | Promise<Response>;

/** What the database and all that depends on it make up. */
export interface Whole extends AsyncDisposable {
  /** Behind the public address. */
  readonly api: Handler;
  /** Behind the socket for the other planes. */
  readonly internal: Handler;
  endStreams(): void;
}

export interface OpeningOptions {
  readonly open: (isInUse: boolean) => Promise<Whole>;
  /** The platform was in use: what it serves does not depend on a database. */
  readonly mayWait: boolean;
  readonly timers: Timers;
  readonly log: Log;
  readonly newRequestId: () => string;
}

const AGAIN_MS = 1_000;
const RETRY_AFTER_MS = 2_000;
/** Passes by itself, or by what an operator does elsewhere. */
const AWAY: ReadonlySet<string> = new Set([
  'database_unreachable',
  'database_refused',
  'blobs_unreachable',
  'blobs_refused',
]);

export class Opening implements AsyncDisposable {
  readonly #options: OpeningOptions;
  #whole: Whole | undefined;
  #reason = new PlatformError('control_unavailable', 'starting');
  #again: Timer | undefined;
  #trying: Promise<void> | undefined;

  constructor(options: OpeningOptions) {
    this.#options = options;
  }

  readonly api: Handler = (request, env) =>
    this.#whole === undefined ? this.#refuse(request) : this.#whole.api(request, env);

  readonly internal: Handler = (request, env) =>
    this.#whole === undefined ? this.#refuse(request) : this.#whole.internal(request, env);

  /** @throws {PlatformError} what does not pass by itself, and on a new platform whatever it is. */
  async begin(): Promise<void> {
    const { mayWait, log, timers } = this.#options;
    try {
      await this.#open();
    } catch (thrown) {
      if (!mayWait || !(thrown instanceof PlatformError) || !AWAY.has(thrown.code)) throw thrown;
      this.#reason = thrown;
      log.error(thrown.code, { error: thrown });
      this.#again = timers.every(AGAIN_MS, () => {
        this.#trying ??= this.#openLate().finally(() => {
          this.#trying = undefined;
        });
      });
    }
  }

  async #open(): Promise<void> {
    this.#whole = await this.#options.open(this.#options.mayWait);
  }

  async #openLate(): Promise<void> {
    const { log } = this.#options;
    try {
      await this.#open();
    } catch (thrown) {
      const reason =
        thrown instanceof PlatformError
          ? thrown
          : new PlatformError('internal', 'cannot open', { cause: thrown });
      if (reason.code !== this.#reason.code) log.error(reason.code, { error: reason });
      this.#reason = reason;
      return;
    }
    this.#again?.cancel();
    log.info('database_back');
  }

  #refuse(request: Request): Response {
    // The process lives, which is what this asks.
    if (new URL(request.url).pathname === '/healthz') return Response.json({ ok: true });
    const { code, message } = this.#reason;
    const refusal = new PlatformError(code, message, { retryAfterMs: RETRY_AFTER_MS });
    return problemResponse(refusal, this.#options.newRequestId());
  }

  endStreams(): void {
    this.#whole?.endStreams();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#again?.cancel();
    await this.#trying;
    await this.#whole?.[Symbol.asyncDispose]();
  }
}
