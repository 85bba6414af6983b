/**
 * Groups of slots on a tree of folders that behaves like the kernel's where it matters: groups come with
 * their files, what is not there cannot be written, a group that holds processes passes nothing down and is
 * not removed. The real hierarchy of this machine is used by every other test of the node.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'vitest';
import { FakeClock, waitFor } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { openCgroups, type Cgroups } from './cgroup.ts';
import { ownPath } from './cgroup-places.ts';
import type { CgroupTree } from './cgroup-tree.ts';
import { TIER_LIMITS } from './tiers.ts';

const AGENT_PID = 4_242;
const MIB = 1_048_576;
const standard = { tier: TIER_LIMITS.standard, memoryMb: 128 };
const strict = { tier: TIER_LIMITS.strict, memoryMb: 64 };

let folder: TempFolder;
let clock: FakeClock;
beforeEach(async () => {
  folder = await tempFolder();
  clock = new FakeClock();
});
afterEach(() => folder[Symbol.asyncDispose]());

const busy = (): Error => Object.assign(new Error('EBUSY'), { code: 'EBUSY' });
const denied = (): Error => Object.assign(new Error('EACCES'), { code: 'EACCES' });

interface Machine {
  readonly own: string;
  /** Groups that the agent may change, relative to the root; those below are included. */
  readonly writable: readonly string[];
  /** Files of a new group by the first folder of its path. */
  readonly files: (hierarchy: string) => Readonly<Record<string, string>>;
  readonly isV2: boolean;
}

class FakeTree {
  readonly root: string;
  readonly own: string;
  readonly ownPid = AGENT_PID;
  readonly #machine: Machine;

  constructor(root: string, machine: Machine) {
    this.root = root;
    this.own = machine.own;
    this.#machine = machine;
  }

  exists(path: string): boolean {
    return existsSync(path);
  }

  makeGroup(path: string): void {
    if (existsSync(path)) return;
    this.#allow(dirname(path));
    if (!existsSync(dirname(path))) this.makeGroup(dirname(path));
    mkdirSync(path);
    for (const [file, text] of Object.entries(this.#machine.files(this.#hierarchy(path))))
      writeFileSync(join(path, file), this.#inherited(path, file, text));
  }

  removeGroup(path: string): void {
    if (!existsSync(path)) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
    this.#allow(dirname(path));
    if (this.groupsIn(path).length > 0 || this.#processes(path).length > 0) throw busy();
    rmSync(path, { recursive: true });
  }

  groupsIn(path: string): readonly string[] {
    return readdirSync(path).filter((name) => statSync(join(path, name)).isDirectory());
  }

  read(path: string): string {
    return readFileSync(path, 'utf8');
  }

  write(path: string, value: string): void {
    this.#allow(dirname(path));
    if (!existsSync(path)) throw denied();
    if (path.endsWith('cgroup.procs')) return this.#move(path, value);
    if (path.endsWith('cgroup.subtree_control')) {
      if (dirname(path) !== this.root && this.#processes(dirname(path)).length > 0) throw busy();
      value = value.replaceAll('+', '');
    }
    writeFileSync(path, value);
  }

  /** The process leaves the group that it was in, within its hierarchy. */
  #move(path: string, pid: string): void {
    const top = this.#machine.isV2 ? this.root : join(this.root, this.#hierarchy(dirname(path)));
    for (const name of readdirSync(top, { recursive: true, encoding: 'utf8' }))
      if (name.endsWith('cgroup.procs')) {
        const file = join(top, name);
        writeFileSync(
          file,
          readFileSync(file, 'utf8')
            .split('\n')
            .filter((line) => line !== pid)
            .join('\n'),
        );
      }
    writeFileSync(path, `${readFileSync(path, 'utf8')}${pid}\n`);
  }

  #processes(group: string): readonly string[] {
    return readFileSync(join(group, 'cgroup.procs'), 'utf8')
      .split('\n')
      .filter((line) => line !== '');
  }

  #hierarchy(path: string): string {
    return relative(this.root, path).split('/')[0] ?? '';
  }

  #inherited(path: string, file: string, text: string): string {
    if (!this.#machine.isV2 || file !== 'cgroup.controllers') return text;
    return readFileSync(join(dirname(path), 'cgroup.subtree_control'), 'utf8');
  }

  #allow(group: string): void {
    const path = relative(this.root, group);
    if (!this.#machine.writable.some((top) => path === top || top === '' || path.startsWith(`${top}/`)))
      throw denied();
  }
}

const V2_FILES = {
  'cgroup.controllers': '',
  'cgroup.subtree_control': '',
  'cgroup.procs': '',
  'memory.max': 'max',
  'memory.events': 'oom 0\noom_kill 0\n',
  'pids.max': 'max',
  'cpu.weight': '100',
};

/** A unified hierarchy as systemd sets it up, with the groups on the way to our own. */
function unified(
  own: string,
  writable: readonly string[],
  others: Readonly<Record<string, string>> = {},
): FakeTree {
  const setUp = new FakeTree(folder.path, { own: '', writable: [''], files: () => V2_FILES, isV2: true });
  for (const [file, text] of Object.entries(V2_FILES)) writeFileSync(join(folder.path, file), text);
  writeFileSync(join(folder.path, 'cgroup.controllers'), 'cpuset cpu io memory pids');
  let path = folder.path;
  for (const name of own.split('/').filter((part) => part !== '')) {
    setUp.write(join(path, 'cgroup.subtree_control'), '+cpu +memory +pids');
    path = join(path, name);
    setUp.makeGroup(path);
  }
  setUp.write(join(path, 'cgroup.procs'), String(AGENT_PID));
  for (const [group, pid] of Object.entries(others))
    setUp.write(join(folder.path, group, 'cgroup.procs'), pid);
  return new FakeTree(folder.path, {
    own: `0::${own || '/'}\n`,
    writable,
    files: () => V2_FILES,
    isV2: true,
  });
}

const V1_FILES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  memory: { 'cgroup.procs': '', 'memory.limit_in_bytes': '9', 'memory.oom_control': 'oom_kill 0\n' },
  pids: { 'cgroup.procs': '', 'pids.max': 'max' },
  cpu: { 'cgroup.procs': '', 'cpu.shares': '1024' },
};

function separate(own: string, mounted = ['memory', 'pids', 'cpu']): FakeTree {
  const tree = new FakeTree(folder.path, {
    own,
    writable: mounted,
    files: (hierarchy) => V1_FILES[hierarchy] ?? {},
    isV2: false,
  });
  for (const name of mounted) {
    mkdirSync(join(folder.path, name));
    for (const [file, text] of Object.entries(V1_FILES[name] ?? {}))
      writeFileSync(join(folder.path, name, file), text);
  }
  return tree;
}

/** The same tree, as the agent sees it. */
const asTree = (fake: FakeTree): CgroupTree => ({
  root: fake.root,
  own: fake.own,
  ownPid: fake.ownPid,
  exists: async (path) => fake.exists(path),
  makeGroup: async (path) => fake.makeGroup(path),
  removeGroup: async (path) => fake.removeGroup(path),
  groupsIn: async (path) => fake.groupsIn(path),
  read: async (path) => fake.read(path),
  write: async (path, value) => fake.write(path, value),
});

const open = (fake: FakeTree): Promise<Cgroups | undefined> =>
  openCgroups({ name: 'iso-n1', timers: clock, tree: asTree(fake) });
const at = (path: string): string => readFileSync(join(folder.path, path), 'utf8').trim();

describe('version 2', () => {
  test('as root, groups are made below the root and limited before the process is in', async ({ expect }) => {
    const groups = await open(unified('/system.slice/iso.service', ['']));
    expect(groups).toMatchObject({ version: 2, weighsCpu: true });
    expect(at('iso-n1/cgroup.subtree_control')).toBe('memory pids cpu');
    await groups?.add(7, standard);
    expect(at('iso-n1/7/memory.max')).toBe(String((128 + 96 + 32) * MIB));
    expect(at('iso-n1/7/pids.max')).toBe('64');
    expect(at('iso-n1/7/cpu.weight')).toBe('100');
    expect(at('iso-n1/7/cgroup.procs')).toBe('7');
    await groups?.add(8, strict);
    expect(at('iso-n1/8/memory.max')).toBe(String((64 + 96 + 16) * MIB));
    expect([at('iso-n1/8/pids.max'), at('iso-n1/8/cpu.weight')]).toEqual(['32', '50']);
    await groups?.setLimits(7, { ...standard, memoryMb: 512 });
    expect(at('iso-n1/7/memory.max')).toBe(String((512 + 96 + 32) * MIB));
  });

  test('in a delegated unit, groups are made beside our own', async ({ expect }) => {
    const groups = await open(unified('/system.slice/iso.service/planes', ['system.slice/iso.service']));
    expect(groups?.version).toBe(2);
    await groups?.add(7, standard);
    expect(at('system.slice/iso.service/iso-n1/7/cgroup.procs')).toBe('7');
    expect(at('system.slice/iso.service/planes/cgroup.procs')).toBe(String(AGENT_PID));
  });

  test('alone in a delegated group, the agent moves into a leaf and groups are made below', async ({
    expect,
  }) => {
    const groups = await open(unified('/iso.service', ['iso.service']));
    expect(groups?.version).toBe(2);
    await groups?.add(7, standard);
    expect(at('iso.service/iso-n1/7/cgroup.procs')).toBe('7');
    expect(at('iso.service/isoplane-agent/cgroup.procs')).toBe(String(AGENT_PID));
  });

  test('with others in a delegated group, nobody is moved and nothing is left', async ({ expect }) => {
    const tree = unified('/iso.service', ['iso.service'], { 'iso.service': '99' });
    expect(await open(tree)).toBeUndefined();
    expect(at('iso.service/cgroup.procs').split('\n').toSorted()).toEqual([String(AGENT_PID), '99']);
    expect(tree.groupsIn(join(folder.path, 'iso.service'))).toEqual([]);
  });

  test('where nothing is ours to change there are no groups, and nothing is left', async ({ expect }) => {
    const tree = unified('/user.slice', []);
    expect(await open(tree)).toBeUndefined();
    expect(tree.groupsIn(folder.path)).toEqual(['user.slice']);
  });
});

describe('version 1', () => {
  test('groups are made below our own in each hierarchy', async ({ expect }) => {
    const tree = separate('9:name=systemd:/\n8:pids:/\n4:memory:/box/a\n1:cpu,cpuacct:/\n0::/\n');
    tree.makeGroup(join(folder.path, 'memory/box/a'));
    const groups = await open(tree);
    expect(groups).toMatchObject({ version: 1, weighsCpu: true });
    await groups?.add(7, standard);
    expect(at('memory/box/a/iso-n1/7/memory.limit_in_bytes')).toBe(String((128 + 96 + 32) * MIB));
    expect(at('pids/iso-n1/7/pids.max')).toBe('64');
    expect(existsSync(join(folder.path, 'cpu/iso-n1/7'))).toBe(false);
    await groups?.add(8, strict);
    expect(at('cpu/iso-n1/8/cpu.shares')).toBe('512');
    expect(at('cpu/iso-n1/8/cgroup.procs')).toBe('8');
  });

  test('works without a cpu hierarchy, not without one of pids', async ({ expect }) => {
    expect(await open(separate('', ['memory', 'pids']))).toMatchObject({ version: 1, weighsCpu: false });
    rmSync(folder.path, { recursive: true });
    mkdirSync(folder.path);
    expect(await open(separate('', ['memory', 'cpu']))).toBeUndefined();
    expect(readdirSync(join(folder.path, 'memory')).includes('iso-n1')).toBe(false);
  });

  test('a folder of hierarchies is not taken for version 2: nothing is made in it', async ({ expect }) => {
    await open(separate('', []));
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test('says that the kernel killed for memory', async ({ expect }) => {
    const groups = await open(separate(''));
    await groups?.add(7, standard);
    expect(await groups?.ranOutOfMemory(7)).toBe(false);
    writeFileSync(join(folder.path, 'memory/iso-n1/7/memory.oom_control'), 'under_oom 0\noom_kill 1\n');
    expect(await groups?.ranOutOfMemory(7)).toBe(true);
    expect(await groups?.ranOutOfMemory(8)).toBe(false);
  });
});

describe('the end of a group', () => {
  test('one that is still busy is tried again until it is gone', async ({ expect }) => {
    const tree = separate('');
    const groups = await open(tree);
    await groups?.add(7, standard);
    await groups?.remove(7);
    expect(existsSync(join(folder.path, 'memory/iso-n1/7'))).toBe(true);
    for (const hierarchy of ['memory', 'pids'])
      writeFileSync(join(folder.path, hierarchy, 'iso-n1/7/cgroup.procs'), '');
    clock.advance(60);
    await waitFor('both to be gone', () =>
      ['memory', 'pids'].every((hierarchy) => !existsSync(join(folder.path, hierarchy, 'iso-n1/7'))),
    );
    await groups?.close();
    expect(existsSync(join(folder.path, 'memory/iso-n1'))).toBe(false);
  });

  test('groups of an agent that crashed are removed by the next', async ({ expect }) => {
    const tree = separate('');
    await (await open(tree))?.add(7, standard);
    for (const hierarchy of ['memory', 'pids'])
      writeFileSync(join(folder.path, hierarchy, 'iso-n1/7/cgroup.procs'), '');
    await open(tree);
    expect(tree.groupsIn(join(folder.path, 'memory/iso-n1'))).toEqual([]);
  });
});

describe('ownPath()', () => {
  test('finds the group of a controller, and of version 2', ({ expect }) => {
    const own = '4:memory:/process/a:b\n1:cpu,cpuacct:/c\n0::/user.slice\n';
    expect([ownPath(own, 'memory'), ownPath(own, 'cpuacct'), ownPath(own, ''), ownPath(own, 'pids')]).toEqual(
      ['/process/a:b', '/c', '/user.slice', ''],
    );
  });
});
