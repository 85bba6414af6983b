/**
 * Scheduling priority of a process that burns CPU without yielding: the kernel then runs everybody else
 * first, so that a loop does not slow its neighbours until its budget is over.
 *
 * Lowering is every process's right, raising again needs CAP_SYS_NICE. Without it nothing is lowered: code
 * that computes for long and within its limit would be slow for the rest of its life.
 */
import { readdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/** Nice 5 weighs a third of nice 0, and whoever wakes up goes before it; with 10 a full machine starves it. */
const LOWERED = 5;

export interface Priority {
  lower(pid: number): void;
  restore(pid: number): void;
}

/** Nice values belong to threads, not to processes. */
function setAll(pid: number, nice: number): void {
  try {
    for (const tid of readdirSync(`/proc/${pid}/task`)) setPriority(Number(tid), nice);
  } catch {
    // The process ended meanwhile, or a thread of it.
  }
}

/** Tried on this very process, which may always go back to where it was. */
function mayRaise(): boolean {
  try {
    const current = getPriority();
    setPriority(current - 1);
    setPriority(current);
    return true;
  } catch {
    return false;
  }
}

/** undefined: this agent may not give a priority back. */
export function openPriority(): Priority | undefined {
  if (!mayRaise()) return undefined;
  const normal = getPriority();
  return { lower: (pid) => setAll(pid, normal + LOWERED), restore: (pid) => setAll(pid, normal) };
}

export const NO_PRIORITY: Priority = { lower: () => undefined, restore: () => undefined };
