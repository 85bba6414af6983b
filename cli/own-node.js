// A Node for machines whose own is too old. Plain JavaScript for Node 20 and newer: the launcher loads it.
//
// In the repository the development dependency `node` brings one. Where the package is installed nothing does:
// a binary of 120 MB would come to everybody, and as a dependency it would stand before the user's own Node in
// `npm run`. Who needs it gets it at the first command, from the registry that npm is set to, once a user.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';

/** That of package.json (launcher.test.ts compares them). */
const NODE_VERSION = '24.21.0';

/** The binary of the npm package `node` beside or above the launcher. */
export function packagedNode(from = import.meta.url) {
  try {
    const manifest = createRequire(from).resolve('node/package.json');
    const binary = join(dirname(manifest), 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    return existsSync(binary) ? binary : undefined;
  } catch {
    return undefined;
  }
}

function cacheFolder() {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.cache'), 'isoplane');
}

/** The npm package that holds the binary for this machine: no install script has to run. */
function binaryPackage() {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const prefix = process.platform === 'darwin' && process.arch === 'arm64' ? 'node-bin' : 'node';
  return `${prefix}-${platform}-${process.arch}`;
}

/**
 * From the cache, else fetched into it.
 *
 * @returns {Promise<string | undefined>} undefined when it cannot be had: npm has said why.
 */
export async function fetchedNode() {
  const name = binaryPackage();
  const folder = join(cacheFolder(), `node-${NODE_VERSION}`);
  const inFolder = (/** @type {string} */ root) =>
    join(root, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (existsSync(inFolder(folder))) return inFolder(folder);
  process.stderr.write(
    `isoplane needs a newer Node than ${process.versions.node}: fetching ${NODE_VERSION} once into ${folder}\n`,
  );
  mkdirSync(dirname(folder), { recursive: true });
  const draft = mkdtempSync(`${folder}.`);
  try {
    await npm([
      'install',
      '--prefix',
      draft,
      '--ignore-scripts',
      '--no-save',
      '--no-audit',
      '--no-fund',
      `${name}@${NODE_VERSION}`,
    ]);
    if (!existsSync(inFolder(draft))) return undefined;
    // Headers and manuals, a third of its size.
    for (const part of ['include', 'share'])
      rmSync(join(draft, 'node_modules', name, part), { recursive: true, force: true });
    // Another command may have been faster.
    if (!existsSync(inFolder(folder))) renameSync(draft, folder);
    return inFolder(folder);
  } catch {
    return undefined;
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

/** Its output goes to stderr: stdout belongs to the command. */
function npm(/** @type {string[]} */ args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.platform === 'win32' ? 'npm.cmd' : 'npm', args, {
      stdio: ['ignore', 2, 2],
      shell: process.platform === 'win32',
    });
    child.once('error', reject);
    child.once('exit', (code) =>
      code === 0 ? resolve(undefined) : reject(new Error(`npm ended with ${code}`)),
    );
  });
}
