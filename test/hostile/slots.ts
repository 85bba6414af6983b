/** Slots of a running node as the machine sees them: nothing here asks the node's own code. */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import type { TestPlatform } from '../support/platform.ts';
import { processTree } from '../support/proc.ts';

export interface SlotProcess {
  /** workerd's. */
  readonly pid: number;
  /** Command line that built the world around it, up to and without the program; empty without a sandbox. */
  readonly wrapper: readonly string[];
  /** Its folder on this machine. */
  readonly folder: string;
}

const WORKERD = 'workerd';
const BWRAP = 'bwrap';

function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return []; // it ended meanwhile
  }
}

/** Value of an option that takes one or more. */
export function optionOf(line: readonly string[], option: string): string | undefined {
  const at = line.indexOf(option);
  return at < 0 ? undefined : line[at + 1];
}

function slotOf(pid: number, parent: number, parentName: string): SlotProcess | undefined {
  if (parentName !== BWRAP) {
    try {
      return { pid, wrapper: [], folder: readlinkSync(`/proc/${pid}/cwd`) };
    } catch {
      return undefined;
    }
  }
  const line = commandLine(parent);
  const folder = optionOf(line, '--bind');
  const program = line.indexOf(`/bin/${WORKERD}`);
  return folder === undefined || program < 0 ? undefined : { pid, wrapper: line.slice(0, program), folder };
}

/** Waiting and running ones. */
export function slotsOf(platform: TestPlatform): readonly SlotProcess[] {
  const tree = processTree(platform.platform.pids()['node'] ?? 0);
  const names = new Map(tree.map(({ pid, name }) => [pid, name]));
  return tree
    .filter(({ name }) => name === WORKERD)
    .flatMap(({ pid, parent }) => slotOf(pid, parent, names.get(parent) ?? '') ?? []);
}

export function slotFolders(platform: TestPlatform): readonly string[] {
  const [slot] = slotsOf(platform);
  if (slot === undefined) throw new Error('the node has no slot');
  return readdirSync(dirname(slot.folder));
}
