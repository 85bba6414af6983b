/** The command as a person runs it: its launcher, by the oldest Node that is at hand. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { repositoryRoot } from './paths.ts';

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Parsed stdout of a call with --json. */
  readonly json: () => unknown;
}

const SYSTEM_NODE = '/usr/bin/node';
const launcher = join(repositoryRoot, 'cli', 'bin.js');
/** Debian's Node where there is one: users' shells have it, and the launcher must cope. */
export const userNode = existsSync(SYSTEM_NODE) ? SYSTEM_NODE : process.execPath;

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly timeoutMs?: number;
  /** Descriptor that the error output goes to. */
  readonly stderr?: number;
}

export const cliCommand = [userNode, launcher] as const;

/** The shell of a person who has set nothing. */
export function cliEnvironment(): Record<string, string | undefined> {
  const { NODE_OPTIONS: _options, VITEST: _vitest, ...env } = process.env;
  return Object.fromEntries(
    Object.entries({ ...env, NO_COLOR: '1' }).filter(([name]) => !name.startsWith('ISOPLANE_')),
  );
}

export function spawnCli(args: readonly string[], options: CliOptions = {}): ChildProcess {
  return spawn(userNode, [launcher, ...args], {
    cwd: options.cwd ?? repositoryRoot,
    env: { ...cliEnvironment(), ...options.env },
    stdio: ['pipe', 'pipe', options.stderr ?? 'pipe'],
  });
}

export function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = spawnCli(args, options);
  const timeout = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 60_000);
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
  child.stdin?.end(options.stdin ?? '');
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timeout);
      const stdout = Buffer.concat(out).toString('utf8');
      const stderr = Buffer.concat(err).toString('utf8');
      resolve({ code, stdout, stderr, json: () => JSON.parse(stdout) as unknown });
    });
  });
}
