/** Whether somebody else gets a turn on the one thread meanwhile. */
import { setImmediate as turn } from 'node:timers/promises';

/** How often the event loop turned until the signal fires. */
export async function turnsUntil(signal: AbortSignal): Promise<number> {
  let turns = 0;
  for (; !signal.aborted; turns += 1) await turn();
  return turns;
}
