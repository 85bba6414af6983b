#!/usr/bin/env node
// Launcher of the `isoplane` command. Plain JavaScript for Node 20 and newer: the platform itself needs a
// newer Node than many machines have, so this file finds one and hands over to it.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, extname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** TypeScript runs by type stripping from here on, and undici needs 22 as well. */
const NODE_MIN = [22, 19];

/** @param {string} version */
function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1]);
}

/** Sources in the repository; compiled files in an installed package, where Node refuses TypeScript. */
function mainFile() {
  const here = dirname(fileURLToPath(import.meta.url));
  const source = join(here, 'main.ts');
  return existsSync(source) ? source : join(here, '..', 'dist', 'cli', 'main.js');
}

/** Set for the Node that is handed over to: which of its descriptors ends with the launcher. */
const LIFELINE = 'ISOPLANE_LAUNCHER_DESCRIPTOR';
const LIFELINE_DESCRIPTOR = 3;

/** @param {string} binary */
function handOver(binary) {
  const itself = fileURLToPath(import.meta.url);
  const child = spawn(binary, ['--disable-warning=ExperimentalWarning', itself, ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
    env: { ...process.env, [LIFELINE]: String(LIFELINE_DESCRIPTOR) },
  });
  let isTold = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2']) {
    // A terminal sends Ctrl-C to the whole group, so the child may hear it twice; it tolerates that.
    process.on(signal, () => {
      isTold = true;
      child.kill(signal);
    });
  }
  // The shell that npm puts between passes no signal on (parent.ts).
  const parent = process.ppid;
  if (process.env['npm_lifecycle_event'] !== undefined)
    setInterval(() => {
      if (process.ppid === parent || isTold) return;
      isTold = true;
      child.kill('SIGTERM');
    }, 500).unref();
  child.on('error', (error) => {
    process.stderr.write(`isoplane: cannot run ${binary}: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    process.exit(signal === null ? (code ?? 1) : 128 + (constants.signals[signal] ?? 0));
  });
}

/** Whoever kills the launcher means the command: it ends as if it had been told to. Children of it know nothing of this. */
async function endWithLauncher() {
  const descriptor = Number(process.env[LIFELINE]);
  delete process.env[LIFELINE];
  if (descriptor !== LIFELINE_DESCRIPTOR) return;
  const { Socket } = await import('node:net');
  new Socket({ fd: descriptor, readable: true, writable: false })
    .once('close', () => process.kill(process.pid, 'SIGTERM'))
    .on('error', () => undefined)
    .resume()
    .unref();
}

/**
 * What the command imports may be missing, and then it cannot say so itself.
 *
 * @param {string} main
 */
async function run(main) {
  try {
    await import(pathToFileURL(main).href);
  } catch (error) {
    const looks = pathToFileURL(join(dirname(main), `dependencies${extname(main)}`)).href;
    const { dependencyProblem } = await import(looks);
    const problem = dependencyProblem();
    if (problem === undefined) throw error;
    if (process.argv.includes('--json'))
      process.stdout.write(`${JSON.stringify({ error: { code: 'dependencies_missing', ...problem } })}\n`);
    else process.stderr.write(`error ${problem.message} [dependencies_missing]\n  → ${problem.advice}\n`);
    process.exitCode = 1;
  }
}

const main = mainFile();
if (isNewEnough(process.versions.node)) {
  await endWithLauncher();
  await run(main);
} else {
  const { fetchedNode, packagedNode } = await import('./own-node.js');
  const binary = packagedNode() ?? (await fetchedNode());
  if (binary === undefined) {
    process.stderr.write(
      `isoplane needs Node ${NODE_MIN.join('.')} or newer; this is ${process.versions.node}, and npm could not fetch a newer one.\n` +
        'Install a newer Node (https://nodejs.org), or repeat the command where npm reaches its registry.\n',
    );
    process.exit(1);
  }
  handOver(binary);
}
