/** What Linux says about processes: family, CPU time, memory. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
  /** Own time and that of children it has waited for, in clock ticks. */
  readonly ticks: number;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // The process ended between the listing and the read, or belongs to somebody else.
    return undefined;
  }
}

function readStat(pid: number): Stat | undefined {
  const text = readText(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  const close = text.lastIndexOf(')');
  const fields = text.slice(close + 2).split(' ');
  // Fields counted from `state`: ppid 1, utime 11, stime 12, cutime 13, cstime 14.
  return {
    pid,
    parent: Number(fields[1]),
    name: text.slice(text.indexOf('(') + 1, close),
    ticks: [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0),
  };
}

function allStats(): Stat[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readStat(Number(name)) ?? []);
}

/** `root` and everything below it. */
export function processTree(root: number): Stat[] {
  const stats = allStats();
  const children = new Map<number, Stat[]>();
  for (const stat of stats) children.set(stat.parent, [...(children.get(stat.parent) ?? []), stat]);
  const found: Stat[] = [];
  const open = stats.filter((stat) => stat.pid === root);
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    found.push(next);
    open.push(...(children.get(next.pid) ?? []));
  }
  return found;
}

let ticksPerSecond: number | undefined;

/** CPU time that a process and all below it have used, in ms, including children that ended. */
export function treeCpuMs(root: number): number {
  ticksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return (processTree(root).reduce((sum, stat) => sum + stat.ticks, 0) * 1_000) / ticksPerSecond;
}

/** Proportional set size in KiB; undefined when it cannot be read. */
export function pssKb(pid: number): number | undefined {
  const found = /^Pss:\s+(\d+) kB/m.exec(readText(`/proc/${pid}/smaps_rollup`) ?? '')?.[1];
  return found === undefined ? undefined : Number(found);
}

export interface TreeMemory {
  readonly pssKb: number;
  readonly processes: number;
  /** Processes whose memory could not be read; they count as zero. */
  readonly unread: number;
}

export function treeMemory(root: number, keep: (stat: Stat) => boolean = () => true): TreeMemory {
  let total = 0;
  let processes = 0;
  let unread = 0;
  for (const stat of processTree(root)) {
    if (!keep(stat)) continue;
    const size = pssKb(stat.pid);
    processes += 1;
    if (size === undefined) unread += 1;
    else total += size;
  }
  return { pssKb: total, processes, unread };
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  // A zombie that nobody has waited for is dead to us.
  return !/^State:\s+Z/m.test(readText(`/proc/${pid}/status`) ?? 'State: Z');
}

/** Which of `pids` holds the other end of the loopback connection from our `localPort`. */
export function ownerOfPeer(localPort: number, pids: readonly number[]): number | undefined {
  const hex = localPort.toString(16).toUpperCase().padStart(4, '0');
  const row = (readText('/proc/net/tcp') ?? '')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .find((fields) => fields[2]?.endsWith(`:${hex}`) === true && fields[3] === '01');
  const inode = row?.[9];
  if (inode === undefined) return undefined;
  return pids.find((pid) => {
    try {
      return readdirSync(`/proc/${pid}/fd`).some((fd) => {
        try {
          return readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`;
        } catch {
          return false;
        }
      });
    } catch {
      return false;
    }
  });
}
