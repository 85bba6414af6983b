/**
 * A memory and process group per slot, where this agent may make one: the kernel then ends a process
 * that outgrows it, whatever the memory is used for.
 *
 * Version 2 needs the controllers passed down from the root group, version 1 a mounted hierarchy; both
 * are found by trying. Without either, RLIMIT_DATA and the watchdog's sampling do the work.
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MEMORY_OVERHEAD_MB } from '../limits/watch.ts';

const ROOT = '/sys/fs/cgroup';
const MIB = 1_048_576;
/** workerd runs about ten threads; user code cannot start any. */
const PROCESSES_MAX = 128;
/** Page cache and kernel memory count here too, so the watchdog's bound is reached first. */
const EXTRA_MB = 32;

interface Hierarchy {
  readonly folder: string;
  readonly limits: (memoryBytes: number) => readonly (readonly [file: string, value: string])[];
  /** Whether the text of `eventsFile` says that a process was killed for memory. */
  readonly eventsFile: string;
}

export interface Cgroups {
  readonly version: 1 | 2;
  /** Moves a waiting slot into a group of its own. */
  add(pid: number): void;
  /** @throws when the kernel refuses; the slot must not run then. */
  setMemory(pid: number, memoryMb: number): void;
  ranOutOfMemory(pid: number): boolean;
  remove(pid: number): void;
  close(): void;
}

const OOM_KILLED = /^oom_kill [1-9]/m;

/** Where this process is in a hierarchy; `''` at its root, in a namespace of its own, or unknown. */
function ownPath(controller: string): string {
  try {
    const lines = readFileSync('/proc/self/cgroup', 'latin1').split('\n');
    const own = lines.find((line) => line.split(':')[1]?.split(',').includes(controller));
    const path = own?.split(':').slice(2).join(':') ?? '/';
    return path === '/' ? '' : path;
  } catch {
    return '';
  }
}

/** Beside the groups of the system: a group that holds processes, as ours does, cannot pass controllers down. */
function v2(name: string): readonly Hierarchy[] {
  return [
    {
      folder: join(ROOT, name),
      limits: (bytes) => [
        ['memory.max', String(bytes)],
        ['memory.swap.max', '0'],
        ['pids.max', String(PROCESSES_MAX)],
      ],
      eventsFile: 'memory.events',
    },
  ];
}

/** Below our own group, so that what limits the agent limits its slots too. */
function v1(name: string): readonly Hierarchy[] {
  return [
    {
      folder: join(ROOT, 'memory', ownPath('memory'), name),
      limits: (bytes) => [['memory.limit_in_bytes', String(bytes)]],
      eventsFile: 'memory.oom_control',
    },
    {
      folder: join(ROOT, 'pids', ownPath('pids'), name),
      limits: () => [['pids.max', String(PROCESSES_MAX)]],
      eventsFile: 'pids.max',
    },
  ];
}

function prepare(hierarchies: readonly Hierarchy[], isV2: boolean): void {
  for (const { folder, limits } of hierarchies) {
    mkdirSync(folder, { recursive: true });
    if (isV2) writeFileSync(join(folder, 'cgroup.subtree_control'), '+memory +pids');
    removeStale(folder);
    const trial = join(folder, 'trial');
    mkdirSync(trial);
    try {
      for (const [file, value] of limits(64 * MIB)) writeLimit(trial, file, value);
    } finally {
      rmdirSync(trial);
    }
  }
}

/** Swap accounting may be absent; everything else must work. */
function writeLimit(folder: string, file: string, value: string): void {
  try {
    writeFileSync(join(folder, file), value);
  } catch (thrown) {
    if (file !== 'memory.swap.max') throw thrown;
  }
}

/** Groups of a crashed agent's slots, whose processes died with it. */
function removeStale(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true }))
    if (entry.isDirectory()) tryRemove(join(folder, entry.name));
}

/** False when a dying process is still in it. */
function tryRemove(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

/** @param name - folder of this agent, unlike that of any other on the machine. */
export function openCgroups(name: string): Cgroups | undefined {
  for (const version of [2, 1] as const) {
    const hierarchies = version === 2 ? v2(name) : v1(name);
    try {
      prepare(hierarchies, version === 2);
    } catch {
      continue; // not here, or not ours to change
    }
    return createCgroups(version, hierarchies);
  }
  return undefined;
}

function createCgroups(version: 1 | 2, hierarchies: readonly Hierarchy[]): Cgroups {
  const groupOf = (hierarchy: Hierarchy, pid: number): string => join(hierarchy.folder, String(pid));
  /** Groups to be removed; one that is busy now is tried again when the next slot ends. */
  const leftovers = new Set<string>();
  const sweep = (): void => {
    for (const group of leftovers) if (tryRemove(group)) leftovers.delete(group);
  };
  return {
    version,
    add: (pid) => {
      for (const hierarchy of hierarchies) {
        const group = groupOf(hierarchy, pid);
        mkdirSync(group, { recursive: true });
        writeFileSync(join(group, 'cgroup.procs'), String(pid));
      }
    },
    setMemory: (pid, memoryMb) => {
      const bytes = (memoryMb + MEMORY_OVERHEAD_MB + EXTRA_MB) * MIB;
      for (const hierarchy of hierarchies)
        for (const [file, value] of hierarchy.limits(bytes)) writeLimit(groupOf(hierarchy, pid), file, value);
    },
    ranOutOfMemory: (pid) =>
      hierarchies.some((hierarchy) => {
        try {
          return OOM_KILLED.test(readFileSync(join(groupOf(hierarchy, pid), hierarchy.eventsFile), 'latin1'));
        } catch {
          return false;
        }
      }),
    remove: (pid) => {
      for (const hierarchy of hierarchies) leftovers.add(groupOf(hierarchy, pid));
      sweep();
    },
    close: () => {
      sweep();
      for (const { folder } of hierarchies) tryRemove(folder);
    },
  };
}
