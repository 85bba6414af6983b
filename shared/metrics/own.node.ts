/** What every plane says of itself: its process, and what accounts share in it. */
import { readdirSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { getHeapStatistics } from 'node:v8';
import { residentBytes } from '../runtime/idle-memory.node.ts';
import type { Shares } from '../shares.ts';
import type { Sample } from './samples.ts';

const MICROSECONDS = 1_000_000;

export function processSamples(): Sample[] {
  const { user, system } = process.cpuUsage();
  const resident = residentBytes();
  const openFds = openFileDescriptors();
  return [
    { name: 'isoplane_process_start_time_seconds', value: performance.timeOrigin / 1_000 },
    ...(resident === undefined
      ? []
      : [{ name: 'isoplane_process_resident_memory_bytes', value: resident } as const]),
    { name: 'isoplane_process_heap_used_bytes', value: getHeapStatistics().used_heap_size },
    { name: 'isoplane_process_cpu_seconds_total', value: (user + system) / MICROSECONDS },
    ...(openFds === undefined ? [] : [{ name: 'isoplane_process_open_fds', value: openFds } as const]),
    {
      name: 'isoplane_event_loop_busy_seconds_total',
      value: performance.eventLoopUtilization().active / 1_000,
    },
  ];
}

/** Undefined where the system does not say. */
function openFileDescriptors(): number | undefined {
  try {
    // Without the one that reads.
    return readdirSync('/proc/self/fd').length - 1;
  } catch {
    return undefined;
  }
}

export function shareSamples(shared: readonly Shares[]): Sample[] {
  return shared.flatMap(({ name: label, used, total, refusals }): Sample[] => [
    { name: 'isoplane_share_used', label, value: used },
    { name: 'isoplane_share_total', label, value: total },
    { name: 'isoplane_share_refusals_total', label, value: refusals },
  ]);
}
