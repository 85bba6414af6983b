/** Time as a parameter. Wall time may jump; decisions about durations use `monotonicMs`. */
export interface Clock {
  /** ms since the epoch; may jump in either direction. */
  wallMs(): number;
  /** ms from an arbitrary origin; never goes back. */
  monotonicMs(): number;
}

export interface Timer extends Disposable {
  cancel(): void;
}

export interface Timers {
  /** Runs once after `delayMs`. Does not keep the process alive. */
  after(delayMs: number, run: () => void): Timer;
  /** Runs every `periodMs`, first after one period. Does not keep the process alive. */
  every(periodMs: number, run: () => void): Timer;
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

function asTimer(cancel: () => void): Timer {
  return { cancel, [Symbol.dispose]: cancel };
}

function unref(handle: unknown): void {
  // workerd's timers are numbers; Node's keep the process alive unless told otherwise.
  if (
    typeof handle === 'object' &&
    handle !== null &&
    'unref' in handle &&
    typeof handle.unref === 'function'
  )
    handle.unref();
}

export const systemTimers: Timers = {
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    unref(handle);
    return asTimer(() => clearTimeout(handle));
  },
  every(periodMs, run) {
    const handle = setInterval(run, periodMs);
    unref(handle);
    return asTimer(() => clearInterval(handle));
  },
};
