/** Calls at a steady pace, for latencies that do not depend on how fast the answers come. */
import { getRequest, RawConnection } from '../support/raw.ts';

export interface PacedResult {
  readonly latenciesMs: readonly number[];
  /** Answers other than 200, and broken connections. */
  readonly failures: number;
}

/** A few callers with one call every `everyMs` each; a late answer delays only its own caller. */
export async function pacedCalls(
  target: { readonly url: string; readonly host: string },
  pace: { readonly callers: number; readonly everyMs: number },
  until: Promise<unknown>,
): Promise<PacedResult> {
  const latenciesMs: number[] = [];
  let failures = 0;
  const over = new AbortController();
  const end = (): void => over.abort();
  until.then(end, end);
  const request = getRequest(target.host);
  const call = async (index: number): Promise<void> => {
    let connection = await RawConnection.open(target.url);
    await pause((index * pace.everyMs) / pace.callers);
    while (!over.signal.aborted) {
      const beganMs = performance.now();
      try {
        if ((await connection.send(request)).status !== 200) failures += 1;
        latenciesMs.push(performance.now() - beganMs);
      } catch {
        failures += 1;
        connection = await RawConnection.open(target.url);
      }
      await pause(Math.max(0, pace.everyMs - (performance.now() - beganMs)));
    }
    connection[Symbol.dispose]();
  };
  await Promise.all(Array.from({ length: pace.callers }, (_, index) => call(index)));
  return { latenciesMs, failures };
}

export const pause = (durationMs: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, durationMs));
