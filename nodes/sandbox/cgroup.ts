/**
 * A memory and process group per slot, where this agent may make one: the kernel then ends a process
 * that outgrows it, whatever the memory is used for.
 *
 * Which hierarchy can be used is found by trying, best first (cgroup-places.ts). Without any, RLIMIT_DATA
 * and the watchdog's sampling do the work.
 */
import { join } from 'node:path';
import type { Timers } from '#shared/runtime/clock.ts';
import { MEMORY_OVERHEAD_MB } from '../limits/watch.ts';
import { cgroupPlaces, type CgroupPlace, type GroupLimits, type Hierarchy } from './cgroup-places.ts';
import { systemCgroupTree, type CgroupTree } from './cgroup-tree.ts';
import type { TierLimits } from './tiers.ts';

const MIB = 1_048_576;

export interface GroupTerms {
  readonly tier: TierLimits;
  readonly memoryMb: number;
}

export interface Cgroups {
  readonly version: 1 | 2;
  /** Whether a tier's share of the CPU can be set. */
  readonly weighsCpu: boolean;
  /** Moves a waiting slot into a group of its own. @throws when the kernel refuses; the slot must not run then. */
  add(pid: number, terms: GroupTerms): Promise<void>;
  /** @throws when the kernel refuses; the slot must not run then. */
  setLimits(pid: number, terms: GroupTerms): Promise<void>;
  ranOutOfMemory(pid: number): Promise<boolean>;
  remove(pid: number): Promise<void>;
  close(): Promise<void>;
}

export interface CgroupOptions {
  /** Folder of this agent, unlike that of any other on the machine. */
  readonly name: string;
  readonly timers: Timers;
  /** Default: the system's. */
  readonly tree?: CgroupTree;
}

const OOM_KILLED = /^oom_kill [1-9]/m;
/** A group whose process is not quite gone is tried again after this, and then less and less often. */
const SWEEP_MS_MIN = 50;
const SWEEP_MS_MAX = 10_000;
const CLOSE_ATTEMPTS_MAX = 20;

const limitsOf = ({ tier, memoryMb }: GroupTerms): GroupLimits => ({
  memoryBytes: (memoryMb + MEMORY_OVERHEAD_MB + tier.extraMemoryMb) * MIB,
  processesMax: tier.processesMax,
  cpuWeight: tier.cpuWeight,
});

const TRIAL: GroupLimits = { memoryBytes: 64 * MIB, processesMax: 32, cpuWeight: 100 };

export async function openCgroups(options: CgroupOptions): Promise<Cgroups | undefined> {
  const tree = options.tree ?? systemCgroupTree();
  for (const place of await cgroupPlaces(tree, options.name)) {
    try {
      const hierarchies = await prepare(tree, place);
      return new Groups(tree, { version: place.version, hierarchies }, options.timers);
    } catch {
      // not here, or not ours to change
    }
  }
  return undefined;
}

/** @returns the hierarchies that work; those that are not optional all do. */
async function prepare(tree: CgroupTree, place: CgroupPlace): Promise<readonly Hierarchy[]> {
  await place.prepare?.(tree);
  const working: Hierarchy[] = [];
  for (const hierarchy of place.hierarchies) {
    try {
      await tryHierarchy(tree, hierarchy);
      working.push(hierarchy);
    } catch (thrown) {
      await tryRemove(tree, hierarchy.folder);
      if (hierarchy.optional) continue;
      for (const { folder } of working) await tryRemove(tree, folder);
      throw thrown;
    }
  }
  return working;
}

async function tryHierarchy(tree: CgroupTree, { folder, controllers, limits }: Hierarchy): Promise<void> {
  await tree.makeGroup(folder);
  if (controllers !== undefined) await tree.write(join(folder, 'cgroup.subtree_control'), controllers);
  // Groups of a crashed agent's slots, whose processes died with it.
  for (const name of await tree.groupsIn(folder)) await tryRemove(tree, join(folder, name));
  const trial = join(folder, 'trial');
  await tree.makeGroup(trial);
  try {
    await writeLimits(tree, trial, limits(TRIAL));
  } finally {
    await tree.removeGroup(trial);
  }
}

async function writeLimits(
  tree: CgroupTree,
  group: string,
  limits: ReturnType<Hierarchy['limits']>,
): Promise<void> {
  for (const { file, value, optional } of limits) {
    try {
      await tree.write(join(group, file), value);
    } catch (thrown) {
      if (optional !== true) throw thrown;
    }
  }
}

/** False when a dying process is still in it. */
async function tryRemove(tree: CgroupTree, folder: string): Promise<boolean> {
  try {
    await tree.removeGroup(folder);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

class Groups implements Cgroups {
  readonly version: 1 | 2;
  readonly weighsCpu: boolean;
  readonly #tree: CgroupTree;
  readonly #hierarchies: readonly Hierarchy[];
  readonly #timers: Timers;
  /** Groups to be removed that were busy. */
  readonly #leftovers = new Set<string>();
  #sweepMs = SWEEP_MS_MIN;
  #sweeping = false;
  #closed = false;

  constructor(
    tree: CgroupTree,
    found: { readonly version: 1 | 2; readonly hierarchies: readonly Hierarchy[] },
    timers: Timers,
  ) {
    this.#tree = tree;
    this.version = found.version;
    this.#hierarchies = found.hierarchies;
    this.weighsCpu = found.hierarchies.some((hierarchy) => hierarchy.weighsCpu);
    this.#timers = timers;
  }

  async add(pid: number, terms: GroupTerms): Promise<void> {
    await Promise.all(
      this.#hierarchiesFor(terms).map(async (hierarchy) => {
        const group = groupOf(hierarchy, pid);
        this.#leftovers.delete(group);
        await this.#tree.makeGroup(group);
        // Before the process is in it: there is no moment without a limit.
        await writeLimits(this.#tree, group, hierarchy.limits(limitsOf(terms)));
        await this.#tree.write(join(group, 'cgroup.procs'), String(pid));
      }),
    );
  }

  async setLimits(pid: number, terms: GroupTerms): Promise<void> {
    await Promise.all(
      this.#hierarchiesFor(terms).map((hierarchy) =>
        writeLimits(this.#tree, groupOf(hierarchy, pid), hierarchy.limits(limitsOf(terms))),
      ),
    );
  }

  async ranOutOfMemory(pid: number): Promise<boolean> {
    for (const hierarchy of this.#hierarchies) {
      const text = await this.#tree.read(join(groupOf(hierarchy, pid), hierarchy.eventsFile)).catch(() => '');
      if (OOM_KILLED.test(text)) return true;
    }
    return false;
  }

  async remove(pid: number): Promise<void> {
    for (const hierarchy of this.#hierarchies) this.#leftovers.add(groupOf(hierarchy, pid));
    await this.#sweep();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (let attempt = 0; attempt < CLOSE_ATTEMPTS_MAX; attempt += 1) {
      await this.#sweep();
      if (this.#leftovers.size === 0) break;
      // The last processes are on their way out.
      await new Promise<void>((resolve) => void this.#timers.after(SWEEP_MS_MIN, resolve));
    }
    for (const { folder } of this.#hierarchies) await tryRemove(this.#tree, folder);
  }

  /** A hierarchy that only weighs is entered by those alone whose weight is not everyone's. */
  #hierarchiesFor({ tier }: GroupTerms): readonly Hierarchy[] {
    return this.#hierarchies.filter((hierarchy) => !hierarchy.optional || tier.cpuWeight !== TRIAL.cpuWeight);
  }

  async #sweep(): Promise<void> {
    for (const group of this.#leftovers)
      if (await tryRemove(this.#tree, group)) this.#leftovers.delete(group);
    if (this.#leftovers.size === 0) this.#sweepMs = SWEEP_MS_MIN;
    else if (!this.#sweeping && !this.#closed) {
      this.#sweeping = true;
      this.#timers.after(this.#sweepMs, () => {
        this.#sweeping = false;
        this.#sweepMs = Math.min(SWEEP_MS_MAX, this.#sweepMs * 2);
        void this.#sweep();
      });
    }
  }
}

const groupOf = (hierarchy: Hierarchy, pid: number): string => join(hierarchy.folder, String(pid));
