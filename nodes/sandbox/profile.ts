/**
 * The command line of a slot, as data. Pure: what the machine has is found by `detect.ts`.
 *
 * Order of the wrappers: setpriv gives up root (bwrap then works in a user namespace of a user that owns
 * nothing), prlimit sets limits that the process can never raise, bwrap builds the empty world around
 * workerd and installs the system call filter last.
 */
import type { GuestIdentity } from '../slots/runner.ts';
import { INSTANCE_SOCKET, INSTANCE_SOCKET_FILE } from '../slots/sockets.ts';
import type { TierLimits } from './tiers.ts';

export interface SandboxProfile {
  /** Programs that are present and worked; undefined: done without. */
  readonly setpriv: string | undefined;
  readonly prlimit: string | undefined;
  readonly bwrap: string | undefined;
  /** bwrap 0.8 or newer. Without it seccomp alone refuses new namespaces. */
  readonly disableUserns: boolean;
  /** User that owns nothing; set when the agent is root. */
  readonly dropTo: GuestIdentity | undefined;
}

export interface SlotPaths {
  readonly rootfs: string;
  readonly slotDir: string;
  /** Outside a root file system of its own the binary is run where it lies. */
  readonly workerd: string;
}

/** Descriptors of the process beyond the standard three. */
export const CONTROL_FD = 3;
export const SECCOMP_FD = 4;
export const INFO_FD = 5;

const INNER_DIR = '/run/in';

export interface SlotCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** Whether descriptors {@link SECCOMP_FD} and {@link INFO_FD} are used. */
  readonly sandboxed: boolean;
}

/** Soft limit as given, hard limit for the largest instance: only the agent can move between the two. */
export interface DataLimit {
  readonly softBytes: number;
  readonly hardBytes: number;
}

/** What differs between the slots of one machine. */
export interface SlotTerms {
  /** Undefined: the agent's own user. */
  readonly identity: GuestIdentity | undefined;
  readonly tier: TierLimits;
  readonly data: DataLimit;
  /** Opens the debugger on a loopback port that the system chooses. */
  readonly inspect?: boolean;
}

export function slotCommand(profile: SandboxProfile, paths: SlotPaths, terms: SlotTerms): SlotCommand {
  const words = [
    ...setprivWords(profile, terms.identity),
    ...prlimitWords(profile, terms),
    ...bwrapWords(profile, paths),
    profile.bwrap === undefined ? paths.workerd : '/bin/workerd',
    'serve',
    '--binary',
    '-',
    `--socket-addr=${INSTANCE_SOCKET}=unix:${INSTANCE_SOCKET_FILE}`,
    `--control-fd=${CONTROL_FD}`,
    ...(terms.inspect === true ? ['--inspector-addr=127.0.0.1:0'] : []),
  ];
  const [file = paths.workerd, ...args] = words;
  return { file, args, sandboxed: profile.bwrap !== undefined };
}

function prlimitWords(profile: SandboxProfile, { tier, data, identity }: SlotTerms): readonly string[] {
  if (profile.prlimit === undefined) return [];
  return [
    profile.prlimit,
    '--core=0',
    '--fsize=0',
    '--memlock=0',
    '--msgqueue=0',
    `--nofile=${tier.openFilesMax}`,
    `--data=${data.softBytes}:${data.hardBytes}`,
    // Counted per user: with a shared one, one instance could use up what all of them may have.
    ...(tier.identity === 'own' && identity !== undefined ? [`--nproc=${tier.processesMax}`] : []),
  ];
}

function identityWords(identity: GuestIdentity | undefined): readonly string[] {
  return identity === undefined
    ? []
    : ['--reuid', String(identity.uid), '--regid', String(identity.gid), '--clear-groups'];
}

/**
 * Moves the soft limit of a running slot. As the slot's own user: root in a container may lack the
 * capability to change limits of others, the same user needs none. Inside, the filter refuses the call.
 */
export function dataLimitCommand(
  profile: SandboxProfile,
  target: { readonly pid: number; readonly identity: GuestIdentity | undefined },
  softBytes: number,
): readonly [file: string, ...args: string[]] | undefined {
  if (profile.prlimit === undefined) return undefined;
  const options = ['--pid', String(target.pid), `--data=${softBytes}:`];
  if (profile.setpriv === undefined || target.identity === undefined) return [profile.prlimit, ...options];
  return [profile.setpriv, ...identityWords(target.identity), profile.prlimit, ...options];
}

function setprivWords(profile: SandboxProfile, as: GuestIdentity | undefined): readonly string[] {
  if (profile.setpriv === undefined) return [];
  const identity = identityWords(as);
  const death = ['--pdeathsig', 'KILL'];
  // bwrap sees to both itself, but only from its own start on.
  if (profile.bwrap !== undefined)
    return identity.length === 0 ? [] : [profile.setpriv, ...identity, ...death];
  return [profile.setpriv, ...identity, ...death, '--no-new-privs'];
}

function bwrapWords(profile: SandboxProfile, paths: SlotPaths): readonly string[] {
  if (profile.bwrap === undefined) return [];
  return [
    profile.bwrap,
    ...namespaceWords(profile, paths),
    '--cap-drop',
    'ALL',
    '--as-pid-1',
    '--seccomp',
    String(SECCOMP_FD),
    '--info-fd',
    String(INFO_FD),
  ];
}

function namespaceWords(profile: SandboxProfile, paths: SlotPaths): readonly string[] {
  return [
    ...`--die-with-parent --new-session --clearenv --chdir ${INNER_DIR} --unshare-all --unshare-user`.split(
      ' ',
    ),
    ...(profile.disableUserns ? ['--disable-userns'] : []),
    '--ro-bind',
    paths.rootfs,
    '/',
    '--bind',
    paths.slotDir,
    INNER_DIR,
  ];
}

const MIB = 1_048_576;
/**
 * What V8 and workerd map as writable data before any user code runs, measured: 576 MiB starts, 512 MiB
 * does not. Most of it is reserved and never touched.
 */
const BASE_DATA_MIB = 640;

export const dataLimitBytes = (memoryMb: number): number => (BASE_DATA_MIB + memoryMb) * MIB;
