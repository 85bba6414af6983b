/**
 * How long a newcomer waits: from `git clone` to the first signed call of the README, step by step, with npm's cache as it
 * is. `node scripts/first-call.ts` measures what is committed; what runs beside it counts.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOT = resolve(import.meta.dirname, '..');
const STEP_MS_MAX = 300_000;
const LOOK_MS = 25;

/** A newcomer's shell: nothing that `npm run` or an earlier platform has set. */
function newcomersEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(?:npm_(?!config_(?:registry|cache|cafile))|ISOPLANE_|NODE_OPTIONS|INIT_CWD)/.test(name),
  );
  const path = (process.env['PATH'] ?? '').split(':').filter((folder) => !folder.includes('node_modules'));
  return { ...Object.fromEntries(kept), PATH: path.join(':') };
}

const env = newcomersEnvironment();

async function shell(cwd: string, command: string): Promise<string> {
  const { stdout } = await run('sh', ['-c', command], { cwd, env, timeout: STEP_MS_MAX });
  return stdout;
}

/** As `npm start` in a terminal; ready when commands find it. */
async function start(clone: string): Promise<ChildProcess> {
  const platform = spawn('npm', ['start', '--', '--port', '0', '--control-port', '0'], {
    cwd: clone,
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
    detached: true,
  });
  const noted = join(clone, '.isoplane', 'platform.json');
  while (
    await stat(noted).then(
      () => false,
      () => true,
    )
  ) {
    if (platform.exitCode !== null) throw new Error(`npm start ended with ${platform.exitCode}`);
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
  return platform;
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'isoplane-first-call-'));
  const clone = join(folder, 'isoplane');
  const hello = join(clone, 'hello');
  let platform: ChildProcess | undefined;
  let totalMs = 0;
  const step = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    const startedMs = performance.now();
    await work();
    const tookMs = performance.now() - startedMs;
    totalMs += tookMs;
    process.stdout.write(`${name.padEnd(24)}${(tookMs / 1_000).toFixed(1).padStart(6)} s\n`);
  };
  try {
    await step('git clone', () => shell(folder, `git clone --quiet '${ROOT}' isoplane`));
    await step('npm ci', () => shell(clone, 'npm ci'));
    await step('npm start', async () => {
      platform = await start(clone);
    });
    await step('isoplane init hello', () => shell(clone, 'npx isoplane init hello'));
    await step('isoplane deploy', () => shell(hello, 'npx isoplane deploy'));
    await step('isoplane invoke hello', () => shell(hello, 'npx isoplane invoke hello'));
    process.stdout.write(`${'together'.padEnd(24)}${(totalMs / 1_000).toFixed(1).padStart(6)} s\n`);
  } finally {
    if (platform?.pid !== undefined && platform.exitCode === null) {
      const ended = new Promise((done) => platform?.once('exit', done));
      process.kill(-platform.pid, 'SIGTERM');
      await ended;
    }
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
