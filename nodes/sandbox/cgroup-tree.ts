/**
 * The kernel's cgroup file systems, as few calls as are needed. Never synchronous: moving a process into a
 * group waits for the kernel's own grace periods, which would stop the agent for several ms each time.
 *
 * Files are never created: outside a cgroup file system (the folder of version 1 hierarchies is a plain one)
 * a write must fail instead of leaving a file behind.
 */
import { constants, readFileSync } from 'node:fs';
import { access, mkdir, open, readdir, readFile, rmdir } from 'node:fs/promises';

export interface CgroupTree {
  /** Where the hierarchies are mounted. */
  readonly root: string;
  /** Text of /proc/self/cgroup; empty where there is none. */
  readonly own: string;
  readonly ownPid: number;
  exists(path: string): Promise<boolean>;
  /** May exist already. */
  makeGroup(path: string): Promise<void>;
  /** Fails with EBUSY while a process is in it. */
  removeGroup(path: string): Promise<void>;
  groupsIn(path: string): Promise<readonly string[]>;
  read(path: string): Promise<string>;
  write(path: string, value: string): Promise<void>;
}

function ownGroups(): string {
  try {
    return readFileSync('/proc/self/cgroup', 'latin1');
  } catch {
    return '';
  }
}

export function systemCgroupTree(): CgroupTree {
  return {
    root: '/sys/fs/cgroup',
    own: ownGroups(),
    ownPid: process.pid,
    exists: (path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    makeGroup: async (path) => {
      await mkdir(path, { recursive: true });
    },
    removeGroup: (path) => rmdir(path),
    groupsIn: async (path) => {
      const entries = await readdir(path, { withFileTypes: true });
      return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
    },
    read: (path) => readFile(path, 'latin1'),
    write: async (path, value) => {
      const file = await open(path, constants.O_WRONLY);
      try {
        await file.write(value);
      } finally {
        await file.close();
      }
    },
  };
}
