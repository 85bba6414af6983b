/** The body of a request to the API, chunk by chunk, never slower than the least rate. */
import type { IncomingMessage } from 'node:http';
import { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import { readGarbage } from '#shared/runtime/read-garbage.node.ts';
import type { Authenticated } from './auth/authenticate.ts';

interface Arriving {
  readonly timers: Timers;
  /** Monotonic. */
  readonly nowMs: () => number;
}

/** How often it is looked whether a body is late. */
const LOOK_MS = 1_000;

function tooSlow(bytes: number): PlatformError {
  return new PlatformError('body_too_slow', `${bytes} bytes came too slowly`, {
    publicDetail: `After ${LIMITS.bodyGraceMs} ms a body must come at ${LIMITS.bodyBytesPerSecondMin} bytes a second or more.`,
  });
}

/**
 * Straight from the connection where there is one: it hands on all that is here as one piece. A stream in between
 * would keep each chunk by itself, and of a body in chunks of one byte 65,000 of them, twice.
 */
export function chunksOf(request: Request, incoming: IncomingMessage | undefined): Chunks | undefined {
  // Left open when it is given up: the refusal goes out on the same connection.
  if (incoming !== undefined)
    return incoming.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
  return request.body?.[Symbol.asyncIterator]();
}

type Chunks = AsyncIterator<Uint8Array>;

/** The signature is complete when the last chunk was taken. @throws {PlatformError} `body_too_slow`. */
export async function* bodyOf(
  chunks: Chunks | undefined,
  caller: Authenticated,
  { timers, nowMs }: Arriving,
): AsyncGenerator<Uint8Array> {
  let whole = false;
  let waitingSinceMs: number | undefined;
  let giveUp: (error: PlatformError) => void = () => undefined;
  // One timer, and not one for each chunk with a time of its own: Node keeps a list of those of each time until then.
  const timer = timers.every(LOOK_MS, () => {
    if (waitingSinceMs === undefined) return;
    const mayMs = LIMITS.bodyGraceMs + (bytes / LIMITS.bodyBytesPerSecondMin) * 1_000;
    if (waitedMs + nowMs() - waitingSinceMs >= mayMs) giveUp(tooSlow(bytes));
  });
  let bytes = 0;
  // Of the time in which we waited for the client.
  let waitedMs = 0;
  try {
    for (;;) {
      if (chunks === undefined) break;
      const sinceMs = nowMs();
      waitingSinceMs = sinceMs;
      const slow = new Promise<never>((_resolve, reject) => (giveUp = reject));
      const { done, value } = await Promise.race([chunks.next(), slow]);
      waitingSinceMs = undefined;
      if (done === true) break;
      waitedMs += nowMs() - sinceMs;
      bytes += value.byteLength;
      readGarbage.read(value.byteLength);
      caller.hashBody(value);
      yield value;
    }
    caller.bodyRead();
    whole = true;
  } finally {
    timer.cancel();
    if (!whole) {
      caller.abandon();
      void chunks?.return?.().catch(() => undefined);
    }
  }
}
