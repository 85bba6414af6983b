/**
 * A public program as its author's readers have it: its folder at one commit, its packages installed, the tokens of
 * its generator replaced, its build run. Nothing else of it is changed.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import type { Program } from './list.ts';

const STEP_MS_MAX = 600_000;
const OUTPUT_BYTES_MAX = 64 * 1_024 * 1_024;
/** What only tests, editors and releases use; installing it would take an hour and change nothing. */
const TOOLS =
  /^(vitest|@vitest\/.*|@cloudflare\/(vitest-.*|workers-types|workers-tsconfig|workers-shared)|@types\/.*|.*eslint.*|prettier|.*playwright.*|jest-.*|undici|miniflare|@fixture\/shared|turbo)$/;
/** Named after the generator's own placeholders. */
const TOKENS: readonly (readonly [RegExp, string])[] = [
  [/<(WORKER_NAME|PROJECT_NAME|APP_NAME)>/g, 'generated'],
  [/<COMPATIBILITY_DATE>/g, '2026-08-01'],
];
const TOKEN_FILES = /^(wrangler\.(jsonc?|toml)|package\.json)$/;

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(
  command: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly env?: Readonly<Record<string, string>> },
): Promise<Ran> {
  return new Promise((done) => {
    execFile(
      command,
      args,
      {
        cwd: options.cwd,
        env: { ...process.env, CI: '1', ...options.env },
        timeout: STEP_MS_MAX,
        maxBuffer: OUTPUT_BYTES_MAX,
      },
      (failed, stdout, stderr) =>
        done({
          code: failed === null ? 0 : typeof failed.code === 'number' ? failed.code : 1,
          stdout,
          stderr,
        }),
    );
  });
}

async function must(command: string, args: readonly string[], cwd: string): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, { cwd });
  if (code === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')}: ${`${stdout}\n${stderr}`.trim().slice(-2_000)}`);
}

/** The repository at its commit, unpacked once for all its programs; `mirror` is a git directory to take it from. */
export async function unpack(
  work: string,
  repository: string,
  commit: string,
  mirror: string | undefined,
): Promise<string> {
  const target = join(work, 'sources', repository.replace('/', '+'));
  if ((await stat(join(target, '.unpacked')).catch(() => undefined)) !== undefined) return target;
  await mkdir(target, { recursive: true });
  const git = mirror ?? join(work, 'git', repository.replace('/', '+'));
  if (mirror === undefined) {
    await mkdir(git, { recursive: true });
    await must('git', ['init', '--bare', '-q'], git);
    await must('git', ['fetch', '-q', '--depth', '1', `https://github.com/${repository}`, commit], git);
  }
  const archive = join(work, `${repository.replace('/', '+')}.tar`);
  await must('git', ['--git-dir', git, 'archive', '--output', archive, commit], work);
  await must('tar', ['-xf', archive, '-C', target], work);
  await rm(archive);
  await writeFile(join(target, '.unpacked'), commit);
  return target;
}

async function replaceTokens(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isFile() || !TOKEN_FILES.test(entry.name)) continue;
    const path = join(folder, entry.name);
    const text = await readFile(path, 'utf8');
    const replaced = TOKENS.reduce((before, [token, value]) => before.replace(token, value), text);
    if (replaced !== text) await writeFile(path, replaced);
  }
}

interface Manifest {
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

/** Versions of a workspace are not in the registry: its own packages come from the folder, the rest at their newest. */
function versionOf(name: string, given: string, source: string): string {
  if (!given.startsWith('workspace:') && !given.startsWith('catalog:')) return given;
  const fixture = /^@fixture\/(.+)$/.exec(name)?.[1];
  if (fixture === undefined) return '*';
  const folder = fixture === 'isomorphic-random' ? 'isomorphic-random-example' : fixture;
  return `file:${join(source, 'fixtures', folder)}`;
}

async function install(folder: string, source: string, program: Program): Promise<void> {
  const path = join(folder, 'package.json');
  const text = await readFile(path, 'utf8').catch(() => '{}');
  const manifest = JSON.parse(text) as Manifest;
  const all = { ...manifest.devDependencies, ...manifest.dependencies };
  const wanted = Object.entries({ ...all, ...program.packages })
    .filter(([name]) => !TOOLS.test(name) || name in (program.packages ?? {}))
    // wrangler is a part of some builds and of no program.
    .filter(([name]) => program.build !== undefined || (name !== 'wrangler' && name !== 'typescript'))
    .map(([name, version]) => [name, versionOf(name, version, source)] as const);
  const { devDependencies: _, ...rest } = manifest;
  await writeFile(path, JSON.stringify({ ...rest, dependencies: Object.fromEntries(wanted) }, undefined, 2));
  if (wanted.length === 0) return;
  const quiet = ['--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund', '--prefer-offline'];
  await must('npm', ['install', ...quiet], folder);
}

/** @returns the folder of the program's npm project, ready to be deployed from. */
export async function prepare(work: string, source: string, program: Program): Promise<string> {
  const folder = join(work, 'programs', program.repository.replace('/', '+'), program.path);
  const marker = join(folder, '.prepared');
  if ((await stat(marker).catch(() => undefined)) !== undefined) return folder;
  await rm(folder, { recursive: true, force: true });
  await cp(join(source, program.path), folder, { recursive: true });
  await replaceTokens(folder);
  await install(folder, source, program);
  if (program.build !== undefined) await must('npx', ['--no', ...program.build.split(' ')], folder);
  await writeFile(marker, '');
  return folder;
}
