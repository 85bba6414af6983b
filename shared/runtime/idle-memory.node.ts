/** Collects once a process has come to rest (idle-memory.ts). */
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Timer, Timers } from './clock.ts';
import { IDLE_MEMORY, restOf, type Rest } from './idle-memory.ts';

type Collect = (options: {
  readonly type: 'major';
  readonly execution: 'sync';
  readonly flavor: string;
}) => void;

/** The collector of V8, which nothing else in the process sees: the flag holds for new contexts alone. */
function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as Collect;
  setFlagsFromString('--no-expose-gc');
  return collect;
}

/** Undefined where the system cannot say: without a free file descriptor /proc cannot be read. */
export function residentBytes(): number | undefined {
  try {
    return process.memoryUsage.rss();
  } catch {
    return undefined;
  }
}

export function giveMemoryBack(timers: Timers): Timer {
  const collect = collector();
  let before = performance.eventLoopUtilization();
  let rest: Rest = { looks: 0, floorBytes: residentBytes() ?? 0 };
  return timers.every(IDLE_MEMORY.lookMs, () => {
    const { utilization } = performance.eventLoopUtilization(before);
    before = performance.eventLoopUtilization();
    const bytes = residentBytes();
    if (bytes === undefined) return;
    const seen = restOf(rest, { busyRatio: utilization, residentBytes: bytes });
    ({ rest } = seen);
    if (!seen.collect) return;
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    rest = { ...rest, floorBytes: residentBytes() ?? bytes };
  });
}
