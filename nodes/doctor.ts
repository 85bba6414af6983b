/**
 * What this machine can enforce, as JSON on stdout: the same trial starts that an agent makes. The CLI's
 * `doctor` calls {@link diagnoseSandbox}; run by hand it is a program of its own.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { systemTimers } from '#shared/runtime/clock.ts';
import { openCgroups } from './sandbox/cgroup.ts';
import { detectSandbox } from './sandbox/detect.ts';

export interface SandboxDiagnosis {
  readonly level: 'full' | 'partial' | 'none';
  /** Each entry names what is missing and what to install or allow. */
  readonly missing: readonly string[];
  /** How the memory of an instance is bounded. */
  readonly memory: 'cgroup v2' | 'cgroup v1' | 'RLIMIT_DATA and sampling' | 'V8 heap limit and sampling';
  readonly workerd: string;
}

export async function diagnoseSandbox(): Promise<SandboxDiagnosis> {
  const folder = await mkdtemp(join(tmpdir(), 'isoplane-doctor-'));
  const groups = await openCgroups({ name: basename(folder), timers: systemTimers });
  await groups?.close();
  try {
    const { status, workerd, profile } = await detectSandbox({ folder, mode: 'auto' });
    const limited = profile.prlimit === undefined ? 'V8 heap limit and sampling' : 'RLIMIT_DATA and sampling';
    return {
      level: status.level,
      missing: status.missing,
      memory: groups === undefined ? limited : `cgroup v${groups.version}`,
      workerd,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  process.stdout.write(`${JSON.stringify(await diagnoseSandbox(), undefined, 2)}\n`);
