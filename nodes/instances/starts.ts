/**
 * Starts take turns. Each computes for some 50 ms, and for seconds when its code does at its top level, so one
 * account that starts as fast as it can would keep all others waiting. A start holds its permit from the reading of
 * its code until it listens; code cannot wait at its top level, and `init`, which can, holds none.
 */
import { PlatformError } from '#shared/errors.ts';
import { Permits } from '#shared/permits.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import { Shares } from '#shared/shares.ts';

/** Two for each core: one computes while another waits for threads and sockets. */
const PERMITS_PER_CORE = 2;
const PERMITS_MIN = 4;
/** Callers wait about as long for an instance. */
export const WAIT_MS_MAX = 10_000;

export interface StartsOptions {
  readonly cores: number;
  readonly timers: Timers;
  /** Instead of what follows from the cores. */
  readonly permits?: number;
}

export class Starts {
  readonly #timers: Timers;
  readonly #permits: Permits;

  constructor({ cores, timers, permits }: StartsOptions) {
    this.#timers = timers;
    const total = permits ?? Math.max(PERMITS_MIN, PERMITS_PER_CORE * cores);
    this.#permits = new Permits({
      permits: new Shares('node.starts', { total }),
      places: new Shares('node.startPlaces'),
      goneCode: 'instance_lost',
    });
  }

  /** That wait for their turn. */
  get waiting(): number {
    return this.#permits.waiting;
  }

  /**
   * @param stopped - the start is not wanted any more, for the reason that it gives.
   * @throws {PlatformError} `share_full` when its turn does not come in time.
   */
  async run<T>(account: string, stopped: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    stopped?.throwIfAborted();
    const leave = new AbortController();
    const onStopped = (): void => leave.abort(stopped?.reason);
    stopped?.addEventListener('abort', onStopped, { once: true });
    const timer = this.#timers.after(WAIT_MS_MAX, () => leave.abort(this.#permits.full(account)));
    try {
      return await this.#permits.run(account, leave.signal, () => {
        timer.cancel();
        return work();
      });
    } finally {
      timer.cancel();
      stopped?.removeEventListener('abort', onStopped);
    }
  }
}

/** What a start hears that was stopped before its turn came. */
export function stoppedBeforeStart(): PlatformError {
  return new PlatformError('instance_lost', 'the instance was stopped before it had started');
}
