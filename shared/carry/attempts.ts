/**
 * Carries a request to a version: a place on an instance, an attempt, and what follows when it was not answered.
 * The same for whoever wants it (gateways, bindings, jobs); runs wherever its ports do.
 *
 * A request is sent again only when nothing of it can have been done (the instance did not listen, or took no more
 * connections), or when it may be repeated (by its method, or by an idempotency key), its body can be, and it is not
 * to blame for the end of its instance; then once. Everything else gets the reason's own code, so that callers
 * know whether to try again.
 */
import type { FunctionLimits } from '../contracts/config.ts';
import { PlatformError } from '../errors.ts';
import type { AgentPort, Admitted, Leasable, LeaseSource, Permit } from '../leases/ports.ts';
import type { Clock, Timers } from '../runtime/clock.ts';
import type { Meter, UsageMeters } from '../usage/meter.ts';
import { afterReset, afterTimeout, instanceBusy, instanceLost } from './ended.ts';
import type { Answered, Unanswered } from './ports.ts';

/** Each may meet an instance that has just ended: the scheduler hears of it a moment after us. */
const UNREACHABLE_RETRIES_MAX = 5;
const PAUSE_MS_MIN = 10;
/** While an instance takes no more connections. */
const BUSY_PAUSE_MS_MAX = 100;

export interface CarryDeps {
  readonly leases: LeaseSource;
  readonly agent: AgentPort;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly usage: UsageMeters;
}

export type CarriedVersion = Leasable & { readonly limits: Pick<FunctionLimits, 'cpuMs'> };

/** One try, on a place that is held until {@link Carriage.deliver} is over. */
export interface Attempt<V> {
  readonly version: V;
  readonly permit: Permit;
  /** Of the version. */
  readonly meter: Meter;
  /** It goes to a second instance: the first ended through no fault of the request. */
  readonly resent: boolean;
  readonly onSlow: (ageMs: number) => void;
  readonly onBroken: () => void;
}

/** One request, as whoever wants it carried describes it. */
export interface Carriage<V extends CarriedVersion, A extends Answered> {
  readonly requestId: string;
  /** It may be sent twice when its body can be. */
  readonly repeatable: boolean;
  /** Whom it goes to. Asked anew before each attempt: between two the alias may have moved. @throws {PlatformError} */
  version(): V;
  /** Whose instance it must be, with isolation `session`. */
  session(version: V): string | undefined;
  readonly gone: boolean;
  /** Runs `listener` when the client goes while it waits for a place. At most one listener at a time. */
  onGone(listener: (() => void) | undefined): void;
  deliver(attempt: Attempt<V>): Promise<A | Unanswered>;
  /** Another attempt follows. */
  onAgain?(): void;
  /** It is over, and no instance got anything of it. */
  onUnsent?(): void;
  /** Requests, errors and what is open are counted by `deliver`. */
  readonly countsItself?: boolean;
}

/**
 * @returns undefined when the client has gone: nobody reads an answer.
 * @throws {PlatformError} why it was not answered.
 */
export async function attempts<V extends CarriedVersion, A extends Answered>(
  deps: CarryDeps,
  carriage: Carriage<V, A>,
): Promise<A | undefined> {
  const progress: Progress = { reached: false, resent: false, unreachable: 0, busy: 0, busySinceMs: 0 };
  try {
    for (;;) {
      const version = carriage.version();
      const admitting = admit(deps, carriage, version);
      const admitted = admitting instanceof Promise ? await admitting : admitting;
      if (admitted.kind === 'refused') throw admitted.error;
      if (admitted.kind === 'cancelled') return undefined;
      const { permit } = admitted;
      let sent = true;
      let pauseMs: number;
      const tally = new Tally(deps.usage.of(version.id), carriage.countsItself !== true);
      try {
        const attempt = attemptOf(deps, carriage, { version, permit, progress, meter: tally.meter });
        const outcome = await carriage.deliver(attempt);
        sent = outcome.kind !== 'unreachable' && outcome.kind !== 'busy';
        if (sent && !progress.reached) tally.reached();
        if (outcome.kind === 'answered') return tally.answered(outcome);
        if (outcome.kind === 'client_gone') return undefined;
        pauseMs = await pauseAfter(deps, carriage, { outcome, permit, version, progress });
      } catch (thrown) {
        tally.failed();
        throw thrown;
      } finally {
        // What fails in a way that nobody foresaw may have been sent.
        progress.reached ||= sent;
        tally.close();
        permit.release(sent);
      }
      carriage.onAgain?.();
      if (pauseMs > 0) await new Promise<void>((resolve) => deps.timers.after(pauseMs, resolve));
    }
  } finally {
    if (!progress.reached) carriage.onUnsent?.();
  }
}

/** Counts one attempt, where nobody else does. */
class Tally {
  readonly meter: Meter;
  readonly #one: number;

  constructor(meter: Meter, counts: boolean) {
    this.meter = meter;
    this.#one = counts ? 1 : 0;
    meter.open += this.#one;
  }

  reached(): void {
    this.meter.requests += this.#one;
  }

  answered<A extends Answered>(outcome: A): A {
    if (outcome.end === 'cut') this.failed();
    return outcome;
  }

  failed(): void {
    this.meter.errors += this.#one;
  }

  close(): void {
    this.meter.open -= this.#one;
  }
}

interface Progress {
  /** An instance got it: it is counted once, however often it is sent. */
  reached: boolean;
  resent: boolean;
  unreachable: number;
  busy: number;
  /** Of the first attempt that found its instance busy. */
  busySinceMs: number;
}

function admit<V extends CarriedVersion, A extends Answered>(
  { leases }: CarryDeps,
  carriage: Carriage<V, A>,
  version: V,
): Admitted | Promise<Admitted> {
  const waiting: { cancel?: () => void } = {};
  const admitted = leases.admit(version, waiting, carriage.session(version));
  if (!(admitted instanceof Promise)) return admitted;
  carriage.onGone(() => waiting.cancel?.());
  if (carriage.gone) waiting.cancel?.();
  return admitted.finally(() => carriage.onGone(undefined));
}

interface Place<V> {
  readonly version: V;
  readonly permit: Permit;
  readonly progress: Progress;
}

function attemptOf<V extends CarriedVersion>(
  { agent }: CarryDeps,
  { requestId }: Pick<Carriage<V, Answered>, 'requestId'>,
  { version, permit, progress, meter }: Place<V> & { readonly meter: Meter },
): Attempt<V> {
  return {
    version,
    permit,
    meter,
    resent: progress.resent,
    onBroken: () => agent.broken(permit.lease, requestId),
    onSlow: (ageMs) => {
      if (ageMs < version.limits.cpuMs) agent.slow(permit.lease, ageMs);
      else agent.overdue(permit.lease, { requestId, kind: 'cpu', ageMs, inFlight: permit.inFlight() });
    },
  };
}

interface Failed<V> extends Place<V> {
  readonly outcome: Exclude<Unanswered, { kind: 'client_gone' }>;
}

/**
 * What follows: another attempt after a pause, or the error that says why there is none. A request that nothing was sent
 * of waits for a busy instance as long as it would for a place.
 */
async function pauseAfter<V extends CarriedVersion, A extends Answered>(
  { agent, clock }: CarryDeps,
  { requestId, repeatable }: Carriage<V, A>,
  { outcome, permit, version, progress }: Failed<V>,
): Promise<number> {
  switch (outcome.kind) {
    case 'busy': {
      const nowMs = clock.monotonicMs();
      if (progress.busy === 0) progress.busySinceMs = nowMs;
      const leftMs = version.scaling.queueTimeoutMs - (nowMs - progress.busySinceMs);
      if (leftMs <= 0) throw instanceBusy();
      progress.busy += 1;
      return Math.min(leftMs, BUSY_PAUSE_MS_MAX, pauseOf(progress.busy));
    }
    case 'unreachable':
      permit.lost();
      progress.unreachable += 1;
      if (progress.unreachable > UNREACHABLE_RETRIES_MAX) throw instanceLost('no instance could be reached');
      return pauseOf(progress.unreachable);
    case 'reset':
      await afterReset(agent, permit, {
        requestId,
        maySend: repeatable && !progress.resent && outcome.replayable,
      });
      progress.resent = true;
      return 0;
    case 'timeout':
      throw afterTimeout(agent, permit, { requestId, ageMs: outcome.ageMs });
    case 'function_error':
      throw new PlatformError('function_error', 'the handler threw');
    case 'response_invalid':
      throw new PlatformError('response_invalid', 'the head of the response was refused', {
        cause: outcome.cause,
      });
    case 'body_failed':
      throw outcome.error;
    case 'body_too_large':
      throw new PlatformError('body_too_large', 'the request body passed its bound while streaming');
  }
}

/** @param count - of the failure that it follows, from 1. */
function pauseOf(count: number): number {
  return PAUSE_MS_MIN * 2 ** Math.min(count - 1, 10);
}
