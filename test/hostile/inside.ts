/** Runs a program in the very confinement of a slot of a running node. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { buildRootfs } from '#nodes/sandbox/rootfs.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { processTree } from '../support/proc.ts';
import { optionOf, type SlotProcess } from './slots.ts';

const PERL = '/usr/bin/perl';
/** Inside, it lies where workerd lay. */
const PROGRAM_NAMES = ['perl', 'workerd'];
/** Resource limits in /proc that a slot sets, and the names that prlimit knows them by. */
const LIMIT_NAMES: Readonly<Record<string, string>> = {
  'Max file size': 'fsize',
  'Max data size': 'data',
  'Max core file size': 'core',
  'Max open files': 'nofile',
  'Max processes': 'nproc',
  'Max locked memory': 'memlock',
  'Max stack size': 'stack',
};

function limitsOf(pid: number): readonly string[] {
  const lines = readFileSync(`/proc/${pid}/limits`, 'utf8').split('\n');
  return lines.flatMap((line) => {
    const [name, soft, hard] = line.split(/\s{2,}/);
    const option = LIMIT_NAMES[name ?? ''];
    return option === undefined ? [] : [`--${option}=${soft}:${hard}`];
  });
}

/** Confinement as the kernel states it: equal texts, equal confinement. */
export function confinementOf(pid: number): Readonly<Record<string, string>> {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): string => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1] ?? '';
  return Object.fromEntries(
    ['Uid', 'Gid', 'Groups', 'CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp'].map((name) => [
      name,
      field(name).trim(),
    ]),
  );
}

async function filterOf(rootfs: string): Promise<string> {
  const folder = dirname(rootfs);
  const filters = (await readdir(folder)).filter((name) => name.endsWith('.bpf')).sort();
  const [first] = filters;
  if (first === undefined) throw new Error(`no system call filter lies beside ${basename(rootfs)}`);
  return join(folder, filters.includes('seccomp.bpf') ? 'seccomp.bpf' : first);
}

/** The wrapper with another root, folder and filter descriptor; what only reports to the agent is left out. */
function replaced(wrapper: readonly string[], rootfs: string, slotDir: string): readonly string[] {
  const words = [...wrapper];
  const set = (option: string, value: string): void => {
    const at = words.indexOf(option);
    if (at < 0) throw new Error(`the slot was started without ${option}`);
    words[at + 1] = value;
  };
  set('--ro-bind', rootfs);
  set('--bind', slotDir);
  const info = words.indexOf('--info-fd');
  if (info >= 0) words.splice(info, 2);
  return words;
}

export interface InsideResult {
  readonly output: string;
  /** Of the program, while it ran. */
  readonly confinement: Readonly<Record<string, string>>;
}

/** @param folder - empty, traversable by everybody; the program's own folder is made below it. */
export async function runInside(slot: SlotProcess, folder: string, script: string): Promise<InsideResult> {
  await stat(PERL); // Without it the suite proves nothing, so that is a failure.
  const slotDir = join(folder, 'slot');
  const perlRoot = join(folder, 'perl');
  await rm(slotDir, { recursive: true, force: true });
  await mkdir(slotDir, { mode: 0o700 });
  await mkdir(perlRoot, { recursive: true, mode: 0o755 });
  await chmod(folder, 0o711);
  // It waits for a line, so that its confinement can be read while it lives.
  await writeFile(join(slotDir, 'try.pl'), `<STDIN>;\n${script}`, { mode: 0o644 });
  const owner = await stat(slot.folder);
  if (process.getuid?.() === 0) await chown(slotDir, owner.uid, owner.gid);
  const limits = limitsOf(slot.pid);
  if (slot.wrapper.length === 0)
    return start({ words: ['prlimit', ...limits, PERL, 'try.pl'], slotDir, filter: undefined });
  const rootfs = optionOf(slot.wrapper, '--ro-bind') ?? '';
  const identity =
    process.getuid?.() === 0
      ? ['setpriv', '--reuid', String(owner.uid), '--regid', String(owner.gid), '--clear-groups']
      : [];
  const wrapper = replaced(slot.wrapper, await buildRootfs(perlRoot, PERL), slotDir);
  return start({
    words: [...identity, 'prlimit', ...limits, ...wrapper, '/bin/workerd', 'try.pl'],
    slotDir,
    filter: { path: await filterOf(rootfs), fd: Number(optionOf(slot.wrapper, '--seccomp')) },
  });
}

interface Start {
  readonly words: readonly string[];
  readonly slotDir: string;
  readonly filter: { readonly path: string; readonly fd: number } | undefined;
}

async function start({ words, slotDir, filter }: Start): Promise<InsideResult> {
  const [file = '', ...args] = words;
  const stdio: ('ignore' | 'pipe' | number)[] = ['pipe', 'pipe', 'pipe'];
  const opened = filter === undefined ? undefined : openSync(filter.path, 'r');
  if (filter !== undefined && opened !== undefined) {
    while (stdio.length < filter.fd) stdio.push('ignore');
    stdio[filter.fd] = opened;
  }
  const child = spawn(file, args, { stdio, cwd: slotDir, env: { PATH: '/usr/bin:/bin' } });
  if (opened !== undefined) closeSync(opened);
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  const ended = new Promise((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', reject);
  });
  const confinement = await confinementOfChild(child.pid ?? 0).catch((thrown: unknown) => {
    child.kill('SIGKILL');
    throw new Error(`the program does not run: ${output}`, { cause: thrown });
  });
  child.stdin?.end('go\n');
  await ended;
  return { output, confinement };
}

async function confinementOfChild(pid: number): Promise<Readonly<Record<string, string>>> {
  const program = await waitFor(
    'the program to run',
    () => processTree(pid).find(({ name }) => PROGRAM_NAMES.includes(name))?.pid,
  );
  return confinementOf(program);
}
