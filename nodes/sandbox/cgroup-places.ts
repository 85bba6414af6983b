/**
 * Where groups could be made on this machine, best first. Decides from what the tree says; nothing is
 * changed before a place is tried.
 *
 * Version 2, "no internal processes": a group that holds processes cannot pass controllers to groups below
 * it (the kernel's cgroup-v2.rst). So the groups of slots go beside the agent's group, never below it:
 * 1. below the root, when that is writable (root without a namespace of its own);
 * 2. below the parent of our own group, when it was delegated to us (systemd: Delegate=yes with
 *    DelegateSubgroup=, so that the unit's group itself holds no process);
 * 3. below our own group after moving ourselves into a leaf of it, which works when we are alone in it.
 *
 * Version 1: below our own group in each hierarchy, so that what limits the agent limits its slots too.
 */
import { dirname, join } from 'node:path';
import type { CgroupTree } from './cgroup-tree.ts';

export interface GroupLimits {
  readonly memoryBytes: number;
  readonly processesMax: number;
  readonly cpuWeight: number;
}

interface LimitFile {
  readonly file: string;
  readonly value: string;
  /** The kernel may lack it. */
  readonly optional?: boolean;
}

export interface Hierarchy {
  /** Groups of slots are made below it. */
  readonly folder: string;
  /** Version 2: what is passed down to them. */
  readonly controllers: string | undefined;
  readonly limits: (limits: GroupLimits) => readonly LimitFile[];
  /** Says how often a process of the group was killed for memory. */
  readonly eventsFile: string;
  readonly weighsCpu: boolean;
  /** Done without where it does not work. */
  readonly optional: boolean;
}

export interface CgroupPlace {
  readonly version: 1 | 2;
  readonly hierarchies: readonly Hierarchy[];
  /** Runs first; what it changes must be harmless when the place is given up. */
  readonly prepare?: (tree: CgroupTree) => Promise<void>;
}

/** Leaf that the agent moves into when it must share its group's folder with the slots. */
const AGENT_LEAF = 'isoplane-agent';
const NEEDED = ['memory', 'pids'];
const CPU_WEIGHT_DEFAULT = 100;
/** cpu.shares of a group that nobody changed, as version 1 counts. */
const CPU_SHARES_DEFAULT = 1_024;

export async function cgroupPlaces(tree: CgroupTree, name: string): Promise<readonly CgroupPlace[]> {
  return [...(await versionTwoPlaces(tree, name)), ...(await versionOnePlaces(tree, name))];
}

/** Our group in a hierarchy; `''` at its root, in a namespace of its own, or unknown. */
export function ownPath(own: string, controller: string): string {
  const line = own.split('\n').find((text) => {
    const controllers = text.split(':')[1];
    return controller === '' ? controllers === '' : controllers?.split(',').includes(controller) === true;
  });
  const path = line?.split(':').slice(2).join(':').trim() ?? '/';
  return path === '/' ? '' : path;
}

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

async function versionTwoPlaces(tree: CgroupTree, name: string): Promise<readonly CgroupPlace[]> {
  // On a machine with version 1 this file is missing, or lists what version 1 has left over: nothing.
  if (!(await tree.exists(join(tree.root, 'cgroup.controllers')))) return [];
  const own = ownPath(tree.own, '');
  const parents = [...new Set([tree.root, ...(own === '' ? [] : [join(tree.root, dirname(own))])])];
  const beside = await Promise.all(parents.map((parent) => versionTwoPlace(tree, parent, name)));
  const self = join(tree.root, own);
  const below = own === '' ? undefined : await versionTwoPlace(tree, self, name);
  const places =
    below === undefined ? beside : [...beside, { ...below, prepare: () => moveIntoLeaf(tree, self) }];
  return places.filter((place) => place !== undefined);
}

async function versionTwoPlace(
  tree: CgroupTree,
  parent: string,
  name: string,
): Promise<CgroupPlace | undefined> {
  const available = words(await readOr(tree, join(parent, 'cgroup.controllers'), ''));
  if (!NEEDED.every((controller) => available.includes(controller))) return undefined;
  const withCpu = available.includes('cpu');
  const controllers = [...NEEDED, ...(withCpu ? ['cpu'] : [])]
    .map((controller) => `+${controller}`)
    .join(' ');
  return {
    version: 2,
    prepare: () => passDown(tree, parent, controllers),
    hierarchies: [
      {
        folder: join(parent, name),
        controllers,
        limits: ({ memoryBytes, processesMax, cpuWeight }) => [
          { file: 'memory.max', value: String(memoryBytes) },
          // Swap accounting may be absent; everything else must work.
          { file: 'memory.swap.max', value: '0', optional: true },
          { file: 'pids.max', value: String(processesMax) },
          ...(withCpu && cpuWeight !== CPU_WEIGHT_DEFAULT
            ? [{ file: 'cpu.weight', value: String(cpuWeight) }]
            : []),
        ],
        eventsFile: 'memory.events',
        weighsCpu: withCpu,
        optional: false,
      },
    ],
  };
}

/** Usually systemd has done it already; then nothing is written. */
async function passDown(tree: CgroupTree, parent: string, controllers: string): Promise<void> {
  const file = join(parent, 'cgroup.subtree_control');
  const passed = words(await readOr(tree, file, ''));
  if (!words(controllers).every((controller) => passed.includes(controller.slice(1))))
    await tree.write(file, controllers);
}

async function moveIntoLeaf(tree: CgroupTree, self: string): Promise<void> {
  const leaf = join(self, AGENT_LEAF);
  const file = join(self, 'cgroup.subtree_control');
  const controllers = words(await readOr(tree, join(self, 'cgroup.controllers'), ''));
  const wanted = [...NEEDED, 'cpu'].filter((controller) => controllers.includes(controller));
  await tree.makeGroup(leaf);
  await tree.write(join(leaf, 'cgroup.procs'), String(tree.ownPid));
  try {
    await tree.write(file, wanted.map((controller) => `+${controller}`).join(' '));
  } catch (thrown) {
    // Others are in the group with us, and they are not ours to move.
    await tree.write(join(self, 'cgroup.procs'), String(tree.ownPid));
    await tree.removeGroup(leaf);
    throw thrown;
  }
}

async function readOr(tree: CgroupTree, path: string, fallback: string): Promise<string> {
  try {
    return await tree.read(path);
  } catch {
    return fallback;
  }
}

async function versionOnePlaces(tree: CgroupTree, name: string): Promise<readonly CgroupPlace[]> {
  const folderOf = (controller: string): string =>
    join(tree.root, controller, ownPath(tree.own, controller), name);
  // A hierarchy that is not mounted must not become a plain folder of that name.
  const mounted = (controller: string): Promise<boolean> =>
    tree.exists(join(tree.root, controller, ownPath(tree.own, controller), 'cgroup.procs'));
  if ((await Promise.all(NEEDED.map(mounted))).includes(false)) return [];
  const withCpu = await mounted('cpu');
  const plain = { controllers: undefined, weighsCpu: false, optional: false };
  return [
    {
      version: 1,
      hierarchies: [
        {
          ...plain,
          folder: folderOf('memory'),
          limits: ({ memoryBytes }) => [{ file: 'memory.limit_in_bytes', value: String(memoryBytes) }],
          eventsFile: 'memory.oom_control',
        },
        {
          ...plain,
          folder: folderOf('pids'),
          limits: ({ processesMax }) => [{ file: 'pids.max', value: String(processesMax) }],
          eventsFile: 'pids.max',
        },
        ...(withCpu
          ? [
              {
                ...plain,
                folder: folderOf('cpu'),
                limits: ({ cpuWeight }: GroupLimits) => [
                  {
                    file: 'cpu.shares',
                    value: String(Math.round((cpuWeight * CPU_SHARES_DEFAULT) / CPU_WEIGHT_DEFAULT)),
                  },
                ],
                eventsFile: 'cpu.shares',
                weighsCpu: true,
                optional: true,
              },
            ]
          : []),
      ],
    },
  ];
}
