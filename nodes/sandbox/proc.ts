/** What the kernel says of a process. Synchronous: these files are made in memory and take microseconds. */
import { readFileSync } from 'node:fs';
import type { Sample } from '../limits/watch.ts';

/** USER_HZ is 100 on every Linux that Node runs on. */
const TICK_MS = 10;
/** Pages are 4 KiB on x86-64; larger ones (some arm64 kernels) only make the reading too low. */
const PAGE_BYTES = 4_096;

/**
 * undefined: the process is gone, or this system has no /proc.
 *
 * @param previous - of the same process: when its main thread has not run since, nothing else is read. Most
 *   instances of a node are idle most of the time.
 */
export function sampleProcess(pid: number, nowMs: number, previous?: Sample): Sample | undefined {
  try {
    const ranMs = runnableMs(pid);
    if (ranMs !== undefined && ranMs === previous?.runnableMs) return { ...previous, atMs: nowMs };
    const cpuMs = parseCpuMs(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    const [, resident = 0, shared = 0] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ').map(Number);
    if (cpuMs === undefined) return undefined;
    const privateBytes = (resident - shared) * PAGE_BYTES;
    return { atMs: nowMs, cpuMs, runnableMs: ranMs ?? cpuMs, privateBytes };
  } catch {
    return undefined;
  }
}

const NS_PER_MS = 1_000_000;

/** Time on a core and time spent waiting for one, of the main thread. Some kernels do not count it. */
function runnableMs(pid: number): number | undefined {
  try {
    const [ran, waited] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ').map(Number);
    return ran === undefined || waited === undefined ? undefined : (ran + waited) / NS_PER_MS;
  } catch {
    return undefined;
  }
}

/** Fields 14 and 15 of /proc/PID/stat; the name in field 2 may hold spaces and parentheses. */
export function parseCpuMs(stat: string): number | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  return Number.isFinite(ticks) ? ticks * TICK_MS : undefined;
}
