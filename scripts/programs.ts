/**
 * Measures docs/programs.md: takes public programs as they are, deploys each to a platform of its own and calls it.
 *
 *   npm run programs -- [--work DIR] [--mirrors DIR] [--only TEXT,TEXT…] [--prepare-only] [--table]
 *
 * One JSON line a program: runs, refused (by name), or FAULT; ends with 1 when one is not what scripts/programs/list.json
 * expects. `--mirrors` holds `OWNER+NAME/repo` git directories to take repositories from in place of GitHub. `--prepare-only`
 * stops before the deploys, `--table` prints the page's table.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { programName, readList, tableOf, type Program } from './programs/list.ts';
import { prepare, run, unpack } from './programs/prepare.ts';

const COMMAND = fileURLToPath(new URL('../cli/bin.js', import.meta.url));
const CALL_MS_MAX = 30_000;
const START_MS_MAX = 120_000;

interface Verdict {
  readonly verdict: 'runs' | 'refused' | 'FAULT';
  readonly detail: string;
}

interface Platform extends AsyncDisposable {
  readonly dataDir: string;
  readonly gatewayUrl: string;
}

function stopped(child: ChildProcess): Promise<void> {
  return new Promise((done) => {
    if (child.exitCode !== null) return done();
    child.once('exit', () => done());
    child.kill('SIGTERM');
  });
}

async function startPlatform(work: string): Promise<Platform> {
  const dataDir = join(work, 'data');
  await rm(dataDir, { recursive: true, force: true });
  const child = spawn(
    process.execPath,
    [COMMAND, '--data', dataDir, 'up', '--port', '0', '--control-port', '0'],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  const untilMs = performance.now() + START_MS_MAX;
  while (performance.now() < untilMs && child.exitCode === null) {
    const text = await readFile(join(dataDir, 'platform.json'), 'utf8').catch(() => undefined);
    const gatewayUrl =
      text === undefined ? undefined : (JSON.parse(text) as { gatewayUrl?: string }).gatewayUrl;
    if (gatewayUrl !== undefined) return { dataDir, gatewayUrl, [Symbol.asyncDispose]: () => stopped(child) };
    await wait(200);
  }
  await stopped(child);
  throw new Error('the platform did not start');
}

function call(gatewayUrl: string, name: string, path: string): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(gatewayUrl);
  const headers = { host: `${name}.localhost:${port}`, accept: 'text/html,*/*' };
  return new Promise((done) => {
    const request = get({ hostname, port, path, headers, timeout: CALL_MS_MAX }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.once('end', () =>
        done({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') }),
      );
    });
    request.once('timeout', () => request.destroy(new Error('no answer in time')));
    request.once('error', (error) => done({ status: 0, text: error.message }));
  });
}

interface Failure {
  readonly code: string;
  readonly detail?: string;
  readonly problems?: readonly { readonly message: string; readonly hint?: string }[];
}

async function deploy(
  platform: Platform,
  program: Program,
  folder: string,
  name: string,
): Promise<Failure | undefined> {
  const cli = ['--json', '--data', platform.dataDir];
  const secretsFile = join(folder, '.secrets-of-the-readme');
  if (program.secrets !== undefined) await writeFile(secretsFile, JSON.stringify(program.secrets));
  const target = join(folder, program.target ?? '.');
  const isFolder = (await stat(target)).isDirectory();
  const args = [
    COMMAND,
    ...cli,
    'deploy',
    isFolder ? '.' : target,
    '--auth',
    'public',
    '--name',
    name,
    ...(program.secrets === undefined ? [] : ['--secrets-file', secretsFile]),
  ];
  for (let attempt = 0; ; attempt += 1) {
    const { code, stdout, stderr } = await run(process.execPath, args, { cwd: isFolder ? target : folder });
    if (code === 0) return undefined;
    const failure = failureOf(stdout) ?? { code: 'no_json', detail: `${stdout}${stderr}`.slice(-1_000) };
    const commands = (failure.problems ?? []).flatMap(({ hint }) =>
      hint?.startsWith('isoplane kv create ') === true ? [hint.split(' ').slice(1)] : [],
    );
    if (failure.code !== 'requirements_missing' || commands.length === 0 || attempt > 0) return failure;
    // As a person would: the commands that the refusal names, then again.
    for (const command of commands)
      await run(process.execPath, [COMMAND, ...cli, ...command], { cwd: folder });
  }
}

function failureOf(stdout: string): Failure | undefined {
  try {
    return (JSON.parse(stdout) as { error?: Failure }).error;
  } catch {
    return undefined;
  }
}

function judgeFailure({ expect }: Program, failure: Failure): Verdict {
  const { code, problems = [] } = failure;
  const told = problems.map(({ message }) => message).join('; ') || (failure.detail ?? '');
  const detail = `${code}: ${told}`.slice(0, 1_500);
  const expected = 'refused' in expect && expect.refused.every((name) => told.includes(name));
  return { verdict: expected ? 'refused' : 'FAULT', detail };
}

async function judge(platform: Platform, program: Program, folder: string, name: string): Promise<Verdict> {
  const failure = await deploy(platform, program, folder, name);
  if (failure !== undefined) return judgeFailure(program, failure);
  const { expect } = program;
  if ('refused' in expect)
    return { verdict: 'FAULT', detail: `deployed, but ${expect.refused.join()} is missing` };
  const { status, text } = await call(platform.gatewayUrl, name, expect.path);
  const isRight = status === expect.status && text.includes(expect.contains ?? '');
  return { verdict: isRight ? 'runs' : 'FAULT', detail: `${expect.path}: ${status} ${text.slice(0, 300)}` };
}

const { values } = parseArgs({
  options: {
    work: { type: 'string', default: join(tmpdir(), 'isoplane-programs') },
    mirrors: { type: 'string' },
    only: { type: 'string', default: '' },
    'prepare-only': { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
  },
});
const list = readList();
const { repositories, programs } = list;
const chosen = programs.filter((program) =>
  values.only.split(',').some((text) => programName(program).includes(text)),
);
await mkdir(values.work, { recursive: true });

async function prepared(program: Program): Promise<string> {
  const { repository } = program;
  const mirror =
    values.mirrors === undefined ? undefined : join(values.mirrors, repository.replace('/', '+'), 'repo');
  const source = await unpack(values.work, repository, repositories[repository] ?? 'HEAD', mirror);
  return prepare(values.work, source, program);
}

async function outcomeOf(platform: Platform, program: Program, index: number): Promise<Verdict> {
  try {
    const folder = await prepared(program);
    return await judge(platform, program, folder, program.name ?? `program-${index + 1}`);
  } catch (thrown) {
    return {
      verdict: 'FAULT',
      detail: `not prepared: ${thrown instanceof Error ? thrown.message : 'unknown'}`,
    };
  }
}

async function measure(): Promise<void> {
  await using platform = await startPlatform(values.work);
  const counts = { runs: 0, refused: 0, FAULT: 0 };
  for (const [index, program] of chosen.entries()) {
    const outcome = await outcomeOf(platform, program, index);
    counts[outcome.verdict] += 1;
    process.stdout.write(`${JSON.stringify({ program: programName(program), ...outcome })}\n`);
  }
  process.stdout.write(`${JSON.stringify(counts)}\n`);
  process.exitCode = counts.FAULT === 0 ? 0 : 1;
}

if (values.table) process.stdout.write(`${tableOf(list)}\n`);
else if (values['prepare-only'])
  for (const program of chosen) process.stdout.write(`${await prepared(program)}\n`);
else await measure();
