/**
 * What this machine can enforce, found by really starting workerd in a slot, best profile first.
 *
 * A program that exists may still fail: user namespaces can be off, a container may forbid mounts, a
 * temporary folder may be mounted noexec.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import type { Tier } from '#shared/contracts/config.ts';
import type { NodeStatus } from '#shared/contracts/nodes.ts';
import { systemTimers } from '#shared/runtime/clock.ts';
import type { WorkerdConfig } from '../workerd/config.ts';
import { INSTANCE_SOCKET } from '../slots/sockets.ts';
import { encodeWorkerdConfig } from '../workerd/encode.ts';
import { Slot } from '../slots/slot.ts';
import type { SlotRunner } from '../slots/runner.ts';
import type { Cgroups } from './cgroup.ts';
import { ownIdentities, sharedIdentity, type IdentitySource, type UidRange } from './identities.ts';
import { NO_PRIORITY, openPriority, type Priority } from './priority.ts';
import { processRunner } from './process-runner.ts';
import type { SandboxProfile } from './profile.ts';
import { findProgram, findWorkerd } from './binaries.ts';
import { buildRootfs, ensureTraversableFolder } from './rootfs.ts';
import { encodeBpf, seccompProgram } from './seccomp.ts';
import { TIER_LIMITS } from './tiers.ts';

/** The unprivileged user of Debian and most others; it owns nothing. */
const NOBODY = 65_534;
const TRIAL_MS_MAX = 10_000;
/** Of each profile: a machine that is short of memory, processes or files for a moment contains no less for it. */
const TRIALS = 3;
const TRIAL_PAUSE_MS = 250;

export interface Sandbox {
  readonly status: NodeStatus['sandbox'];
  readonly profile: SandboxProfile;
  readonly rootfs: string;
  readonly workerd: string;
  readonly seccompFile: string;
  /** Folders of slots are made below it. */
  readonly slotsDir: string;
  /** Whether each strict instance runs as a user of its own. */
  readonly strictUids: boolean;
  runner(tier: Tier, groups?: Cgroups): SlotRunner;
}

export interface DetectOptions {
  /** Private to this agent and short; the slots' unprivileged user must be able to pass through it. */
  readonly folder: string;
  /** `off`: run bare on purpose (platforms without any of this, debugging). */
  readonly mode: 'auto' | 'required' | 'off';
  /** Users of strict instances, when the agent is root. Default {@link STRICT_UIDS}. */
  readonly strictUids?: UidRange;
  /** See the process runner's. */
  readonly inspect?: boolean;
}

/**
 * In a range that systemd's table of user ids calls unused (systemd.io/UIDS-GIDS), so that neither users,
 * containers nor services have them.
 */
const STRICT_UIDS: UidRange = { first: 1_900_000_000, count: 10_000 };

interface Candidate {
  readonly profile: SandboxProfile;
  readonly level: NodeStatus['sandbox']['level'];
}

const BARE: SandboxProfile = {
  setpriv: undefined,
  prlimit: undefined,
  bwrap: undefined,
  disableUserns: false,
  dropTo: undefined,
};

/** Even bare processes must not outlive the agent, where that can be had. */
async function bareProfile(): Promise<SandboxProfile> {
  return { ...BARE, setpriv: process.platform === 'linux' ? await findProgram('setpriv') : undefined };
}

async function candidates(missing: string[]): Promise<readonly Candidate[]> {
  const [setpriv, prlimit, bwrap] = await Promise.all(['setpriv', 'prlimit', 'bwrap'].map(findProgram));
  const root = process.getuid?.() === 0;
  const dropTo = root ? { uid: NOBODY, gid: NOBODY } : undefined;
  if (process.platform !== 'linux') missing.push('Linux: namespaces, seccomp and limits exist only there');
  else {
    if (bwrap === undefined) missing.push('bwrap: install the package bubblewrap');
    if (prlimit === undefined) missing.push('prlimit: install the package util-linux');
    if (setpriv === undefined) missing.push('setpriv: install the package util-linux');
  }
  const limited = { ...BARE, setpriv, prlimit, dropTo: setpriv === undefined ? undefined : dropTo };
  const list: Candidate[] = [];
  const complete = prlimit !== undefined && (setpriv !== undefined || !root);
  if (bwrap !== undefined && (process.arch === 'x64' || process.arch === 'arm64')) {
    const level = complete ? 'full' : 'partial';
    // Without --disable-userns (bwrap before 0.8) the filter still refuses every new namespace.
    for (const disableUserns of [true, false])
      list.push({ level, profile: { ...limited, bwrap, disableUserns } });
  }
  if (setpriv !== undefined || prlimit !== undefined) list.push({ level: 'partial', profile: limited });
  return [...list, { level: 'none', profile: BARE }];
}

export async function detectSandbox(options: DetectOptions): Promise<Sandbox> {
  const workerd = await findWorkerd();
  await ensureTraversableFolder(options.folder);
  const slotsDir = join(options.folder, 's');
  await ensureTraversableFolder(slotsDir);
  const seccompFile = join(options.folder, 'seccomp.bpf');
  if (process.arch === 'x64' || process.arch === 'arm64')
    await writeFile(seccompFile, encodeBpf(seccompProgram(process.arch)), { mode: 0o600 });
  const missing: string[] = [];
  const list: readonly Candidate[] =
    options.mode === 'off'
      ? [
          { level: 'none', profile: await bareProfile() },
          { level: 'none', profile: BARE },
        ]
      : await candidates(missing);
  if (options.mode === 'off') missing.push('everything: switched off by ISOPLANE_SANDBOX=off');
  const failures: string[] = [];
  const priority = openPriority() ?? NO_PRIORITY;
  for (const { profile, level } of list) {
    const rootfs = profile.bwrap === undefined ? '' : await buildRootfs(options.folder, workerd);
    const inspect = options.inspect === true;
    const parts: SandboxParts = { profile, rootfs, workerd, seccompFile, slotsDir, priority, inspect };
    const failure = await tryOften(parts, 'standard', sharedIdentity(profile.dropTo));
    if (failure === undefined) return withStrict(parts, { level, missing }, options.strictUids);
    failures.push(failure);
    if (profile.bwrap !== undefined && !profile.disableUserns)
      missing.push(`bwrap does not work here: ${failure}. ${adviceOn(failure)}`);
    else if (profile.bwrap === undefined) missing.push(`limits do not work here: ${failure}`);
  }
  throw new Error(`workerd does not start on this machine: ${failures.join(' | ')}`);
}

const adviceOn = (failure: string): string =>
  /prlimit|NOFILE/.test(failure)
    ? 'Is the limit of open files lower than a sandbox asks for (ulimit -n)?'
    : 'Are unprivileged user namespaces allowed?';

/** The last reason, when none of the trials came up. */
async function tryOften(...trial: Parameters<typeof tryProfile>): Promise<string | undefined> {
  for (let count = 1; ; count += 1) {
    const failure = await tryProfile(...trial);
    if (failure === undefined || count === TRIALS) return failure;
    await pause(TRIAL_PAUSE_MS);
  }
}

type SandboxParts = Pick<Sandbox, 'profile' | 'rootfs' | 'workerd' | 'seccompFile' | 'slotsDir'> & {
  readonly priority: Priority;
  readonly inspect: boolean;
};

/** The strict tier has everything of the standard one; whether it also has users of its own is tried. */
async function withStrict(
  parts: SandboxParts,
  status: { readonly level: NodeStatus['sandbox']['level']; readonly missing: string[] },
  range: UidRange = STRICT_UIDS,
): Promise<Sandbox> {
  const { profile } = parts;
  const own = ownIdentities(range);
  const missing = [...status.missing];
  let strictUids = profile.dropTo !== undefined;
  if (!strictUids && status.level !== 'none')
    missing.push('own user ids of strict instances: they need an agent that runs as root');
  const failure = strictUids ? await tryOften(parts, 'strict', own) : undefined;
  if (failure !== undefined) {
    strictUids = false;
    missing.push(`own user ids of strict instances: ids from ${range.first} do not work here: ${failure}`);
  }
  const shared = sharedIdentity(profile.dropTo);
  return {
    ...parts,
    strictUids,
    status: { level: status.level, missing },
    runner: (tier, groups) =>
      processRunner({
        ...parts,
        tier: TIER_LIMITS[tier],
        identities: TIER_LIMITS[tier].identity === 'own' && strictUids ? own : shared,
        timers: systemTimers,
        ...(groups === undefined ? {} : { groups }),
      }),
  };
}

const TRIAL_CONFIG: WorkerdConfig = {
  services: [
    {
      name: 'main',
      kind: 'worker',
      modules: [
        { name: 'm.js', type: 'esm', content: new TextEncoder().encode('export default { fetch() {} };') },
      ],
      compatibilityDate: '2026-01-01',
      compatibilityFlags: [],
      bindings: [],
      globalOutbound: 'internet',
    },
    { name: 'internet', kind: 'network', allow: [] },
  ],
  sockets: [{ name: INSTANCE_SOCKET, service: 'main', cfBlobHeader: 'isoplane-cf' }],
  v8Flags: [],
};

/** The reason why the profile is not in force, or undefined when it is. */
async function tryProfile(
  parts: SandboxParts,
  tier: Tier,
  identities: IdentitySource,
): Promise<string | undefined> {
  let pid: number | undefined;
  const runner = processRunner({
    ...parts,
    tier: TIER_LIMITS[tier],
    identities,
    timers: systemTimers,
    onEntered: (entered) => (pid = entered),
  });
  let slot: Slot;
  try {
    const folder = join(parts.slotsDir, `t${process.pid}`);
    slot = await Slot.spawn({ runner, folder, timers: systemTimers });
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
  const giveUp = systemTimers.after(TRIAL_MS_MAX, () => slot.kill('startup_failed'));
  try {
    await slot.spawned();
    const program = {
      config: encodeWorkerdConfig(TRIAL_CONFIG),
      sockets: [INSTANCE_SOCKET],
      eventSecret: '',
      logMark: '',
    };
    const outcome = await slot.start(program, { stdout: () => undefined, stderr: () => undefined });
    if (outcome.kind === 'ended') return outcome.stderr.trim().split('\n').slice(-2).join(' ') || 'it ended';
    return parts.profile.bwrap === undefined ? undefined : await confinementProblem(pid, slot.owner);
  } finally {
    giveUp.cancel();
    slot.kill('stopped');
    await slot.ended;
  }
}

/** Looks at the running process from outside: what was asked for must be what the kernel says. */
async function confinementProblem(
  pid: number | undefined,
  owner: Slot['owner'],
): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const field = (name: string): string | undefined => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1];
  if (field('Seccomp') !== '2') return 'the system call filter is not in force';
  if (field('NoNewPrivs') !== '1') return 'no_new_privs is not set';
  if (!/^0+$/.test(field('CapEff') ?? '')) return 'capabilities were left';
  const uid = owner?.uid ?? process.getuid?.();
  if (
    field('Uid')
      ?.split('\t')
      .some((id) => Number(id) !== uid) !== false
  )
    return 'it runs as another user';
  return undefined;
}
