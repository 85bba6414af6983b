/** Collects once a process has come to rest (idle-memory.ts). */
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import type { Timer, Timers } from './clock.ts';
import { collector } from './collector.node.ts';
import { IDLE_MEMORY, restOf, type Rest } from './idle-memory.ts';

/** Undefined where the system cannot say: without a free file descriptor /proc cannot be read. */
export function residentBytes(): number | undefined {
  try {
    return process.memoryUsage.rss();
  } catch {
    return undefined;
  }
}

export function giveMemoryBack(timers: Timers): Timer {
  let collect = collector();
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
    collect ??= collector();
    collect?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    rest = { ...rest, floorBytes: residentBytes() ?? bytes };
  });
}
