/**
 * The kernel's cgroup file systems, as few calls as are needed. Files are never created: outside a cgroup
 * file system (the folder of version 1 hierarchies is a plain one) a write must fail instead of leaving a
 * file behind.
 */
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeSync,
} from 'node:fs';

export interface CgroupTree {
  /** Where the hierarchies are mounted. */
  readonly root: string;
  /** Text of /proc/self/cgroup; empty where there is none. */
  readonly own: string;
  readonly ownPid: number;
  exists(path: string): boolean;
  /** May exist already. */
  makeGroup(path: string): void;
  /** Fails with EBUSY while a process is in it. */
  removeGroup(path: string): void;
  groupsIn(path: string): readonly string[];
  read(path: string): string;
  write(path: string, value: string): void;
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
    exists: existsSync,
    makeGroup: (path) => void mkdirSync(path, { recursive: true }),
    removeGroup: rmdirSync,
    groupsIn: (path) =>
      readdirSync(path, { withFileTypes: true }).flatMap((entry) =>
        entry.isDirectory() ? [entry.name] : [],
      ),
    read: (path) => readFileSync(path, 'latin1'),
    write: (path, value) => {
      const file = openSync(path, constants.O_WRONLY);
      try {
        writeSync(file, value);
      } finally {
        closeSync(file);
      }
    },
  };
}
