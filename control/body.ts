/** The body of a request to the API, chunk by chunk, never slower than the least rate. */
import { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import type { Authenticated } from './auth/authenticate.ts';

interface Arriving {
  readonly timers: Timers;
  /** Monotonic. */
  readonly nowMs: () => number;
}

function tooSlow(bytes: number): PlatformError {
  return new PlatformError('body_too_slow', `${bytes} bytes came too slowly`, {
    publicDetail: `After ${LIMITS.bodyGraceMs} ms a body must come at ${LIMITS.bodyBytesPerSecondMin} bytes a second or more.`,
  });
}

/** The signature is complete when the last chunk was taken. @throws {PlatformError} `body_too_slow`. */
export async function* bodyOf(
  request: Request,
  caller: Authenticated,
  { timers, nowMs }: Arriving,
): AsyncGenerator<Uint8Array> {
  let whole = false;
  const reader = request.body?.getReader();
  let bytes = 0;
  // Of the time in which we waited for the client.
  let waitedMs = 0;
  try {
    for (;;) {
      if (reader === undefined) break;
      const sinceMs = nowMs();
      const leftMs = LIMITS.bodyGraceMs + (bytes / LIMITS.bodyBytesPerSecondMin) * 1_000 - waitedMs;
      let giveUp: (error: PlatformError) => void = () => undefined;
      const slow = new Promise<never>((_resolve, reject) => (giveUp = reject));
      const timer = timers.after(Math.max(0, leftMs), () => giveUp(tooSlow(bytes)));
      const { done, value } = await Promise.race([reader.read(), slow]).finally(() => timer.cancel());
      if (done) break;
      waitedMs += nowMs() - sinceMs;
      bytes += value.byteLength;
      caller.hashBody(value);
      yield value;
    }
    caller.bodyRead();
    whole = true;
  } finally {
    if (!whole) {
      caller.abandon();
      void reader?.cancel().catch(() => undefined);
    }
  }
}
