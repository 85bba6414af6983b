/** Long work on the one thread of control, with a turn for everybody else between its slices. */
import { setImmediate as othersTurn } from 'node:timers/promises';
import type { Slices } from './json-fields.ts';

export { othersTurn };

export async function inTurns<T>(slices: Slices<T>): Promise<T> {
  for (;;) {
    const step = slices.next();
    if (step.done === true) return step.value;
    await othersTurn();
  }
}
