/**
 * How tightly each tier holds an instance, as data. What the machine has to enforce it with is found by
 * detect.ts; profile.ts turns both into a command line, cgroup.node.ts into a group.
 */
import type { Tier } from '#shared/contracts/config.ts';

export interface TierLimits {
  /**
   * `shared`: all instances run as one user that owns nothing else. `own`: a user for this instance alone,
   * so that the kernel keeps it apart from others also where namespaces would not.
   */
  readonly identity: 'shared' | 'own';
  /**
   * RLIMIT_NOFILE, at which workerd ends. A request has a bounded number of calls open (nodes/entry/open.worker.ts);
   * one that opens sockets by itself finds the proxy full before.
   */
  readonly openFilesMax: number;
  /** Threads in the group, and RLIMIT_NPROC where the user is the instance's own. workerd runs 2 to 10. */
  readonly processesMax: number;
  /** Share of the CPU when the machine is full, as cgroup v2 counts it; 100 is what everything else has. */
  readonly cpuWeight: number;
  /** Memory beside the code's own that the group allows above the watchdog's bound, in MB. */
  readonly extraMemoryMb: number;
}

export const TIER_LIMITS: Readonly<Record<Tier, TierLimits>> = {
  standard: {
    identity: 'shared',
    openFilesMax: 4_096,
    processesMax: 64,
    cpuWeight: 100,
    // Page cache and kernel memory count in a group, so the watchdog's bound is reached first.
    extraMemoryMb: 32,
  },
  strict: {
    identity: 'own',
    openFilesMax: 2_048,
    processesMax: 32,
    cpuWeight: 50,
    extraMemoryMb: 16,
  },
};
