/** Looks after a process that was started: asks it, looks at it, and says once that it hangs (liveness.ts). */
import { readFileSync } from 'node:fs';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import { firstLook, LIVENESS, look } from './liveness.ts';

export interface Watched {
  readonly pid: number;
  /** May be lost: the next look asks again. */
  ask(): void;
  hangs(how: string): void;
}

export class ProcessWatch implements Disposable {
  #answered = true;
  readonly #end: () => void;

  constructor(watched: Watched, { clock, timers }: { readonly clock: Clock; readonly timers: Timers }) {
    let pulse = firstLook(clock.monotonicMs());
    const timer = timers.every(LIVENESS.lookMs, () => {
      const seen = look(pulse, {
        nowMs: clock.monotonicMs(),
        answered: this.#answered,
        stopped: isStopped(watched.pid),
      });
      pulse = seen.pulse;
      this.#answered = false;
      if (seen.verdict === 'alive') return watched.ask();
      timer.cancel();
      watched.hangs(
        seen.verdict === 'stopped' ? 'it was stopped' : `no answer for ${Math.round(pulse.silentMs)} ms`,
      );
    });
    this.#end = () => timer.cancel();
  }

  answered(): void {
    this.#answered = true;
  }

  [Symbol.dispose](): void {
    this.#end();
  }
}

/** proc(5): the state follows the name, which is in parentheses and may hold any. `t` is a debugger's stop. */
function isStopped(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.charAt(stat.lastIndexOf(')') + 2) === 'T';
  } catch {
    // Gone, or a system without /proc: its end, or its silence, will be noticed.
    return false;
  }
}
