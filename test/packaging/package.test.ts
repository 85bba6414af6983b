/**
 * The npm package as a stranger gets it: packed, installed into an empty folder by each installer that the
 * machine has, run by that folder's command with the machine's own Node. Slow (it installs from caches or the
 * registry): leave it out with ISOPLANE_SKIP_SLOW=1.
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { lstat, mkdir, readdir, readFile, realpath, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, test, type ExpectStatic } from 'vitest';
import { platformFileSchema } from '#shared/contracts/credentials.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { packInto } from '../support/pack.ts';

const run = promisify(execFile);
const ROOT = resolve(import.meta.dirname, '../..');
const SLOW_MS = 300_000;

/** Without the repository's tools, and without what `npm test` passes on to its children. */
function strangersEnvironment(home: string): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (
      value === undefined ||
      /^(npm_(?!config_(registry|cache|cafile|strict_ssl|https?_proxy))|VITEST|NODE_(?!EXTRA_CA_CERTS)|ISOPLANE_|INIT_CWD)/i.test(
        name,
      )
    )
      continue;
    kept[name] = value;
  }
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => !folder.includes('node_modules'));
  return {
    ...kept,
    PATH: path.join(delimiter),
    ISOPLANE_DATA_DIR: join(home, 'data'),
    // Where a machine's own Node is too old, the first command fetches one.
    XDG_CACHE_HOME: join(home, 'cache'),
    // In CI yarn refuses to write the lockfile that a new project does not have.
    YARN_ENABLE_IMMUTABLE_INSTALLS: 'false',
  };
}

async function stop(child: ChildProcess): Promise<number | null> {
  const ended = new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
  child.kill('SIGTERM');
  return ended;
}

/** The version; undefined, and said, where the tool is not there. */
function versionOf(tool: string): string | undefined {
  try {
    return execFileSync(tool, ['--version'], { env: strangersEnvironment(tmpdir()) })
      .toString()
      .trim();
  } catch {
    console.warn(`${tool} is not installed: the package is not tried with it`);
    return undefined;
  }
}

interface Installer {
  readonly tool: string;
  readonly version: string | undefined;
  readonly args: (tarball: string) => readonly string[];
  /** Files that the folder needs beside package.json. */
  readonly files?: Readonly<Record<string, string>>;
}

const yarn = versionOf('yarn');
const INSTALLERS: readonly Installer[] = [
  {
    tool: 'npm',
    version: versionOf('npm'),
    args: (tarball) => ['install', '--prefer-offline', '--no-audit', '--no-fund', tarball],
  },
  { tool: 'pnpm', version: versionOf('pnpm'), args: (tarball) => ['add', tarball] },
  yarn?.startsWith('1.') === true
    ? // The first yarn measures dependencies by the Node that runs it, which the command replaces.
      { tool: 'yarn', version: yarn, args: (tarball) => ['add', '--ignore-engines', `file:${tarball}`] }
    : {
        tool: 'yarn',
        version: yarn,
        args: (tarball) => ['add', `isoplane@file:${tarball}`],
        files: { 'yarn.lock': '', '.yarnrc.yml': yarnSettings() },
      },
  { tool: 'bun', version: versionOf('bun'), args: (tarball) => ['add', tarball] },
];

function yarnSettings(): string {
  const registry = process.env['npm_config_registry'];
  return [
    'nodeLinker: node-modules',
    ...(registry === undefined ? [] : [`npmRegistryServer: ${JSON.stringify(registry.replace(/\/$/, ''))}`]),
    ...(registry?.startsWith('http:') === true ? ['unsafeHttpWhitelist:', '  - "*"'] : []),
    '',
  ].join('\n');
}

const INSTALLED_BYTES_MAX = 350 * 1024 * 1024;
const BINARY_BYTES_MIN = 50 * 1024 * 1024;

/** Bytes on disk, each file once however often it is linked, and the large files' names. */
async function measure(
  folder: string,
): Promise<{ readonly bytes: number; readonly large: readonly string[] }> {
  const seen = new Map<number, { readonly bytes: number; readonly name: string }>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const info = await lstat(join(entry.parentPath, entry.name));
    seen.set(info.ino, { bytes: info.size, name: entry.name });
  }
  const files = [...seen.values()];
  return {
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    large: files.filter((file) => file.bytes > BINARY_BYTES_MIN).map((file) => file.name),
  };
}

let tarball: string;
let packed: TempFolder;

describe.skipIf(process.env['ISOPLANE_SKIP_SLOW'] === '1')('the packed package', () => {
  beforeAll(async () => {
    packed = await tempFolder();
    tarball = await packInto(packed.path);
  }, SLOW_MS);
  afterAll(() => packed?.[Symbol.asyncDispose]());

  for (const installer of INSTALLERS)
    test.skipIf(installer.version === undefined)(
      `installs with ${installer.tool} and runs a platform that serves a deployed function`,
      { timeout: SLOW_MS },
      async ({ expect }) => {
        await using folder = await tempFolder();
        const home = folder.path;
        const env = strangersEnvironment(home);
        const app = join(home, 'app');
        await mkdir(app);
        await writeFile(join(app, 'package.json'), '{"name":"app","private":true}');
        for (const [file, text] of Object.entries(installer.files ?? {}))
          await writeFile(join(app, file), text);
        await run(installer.tool, [...installer.args(tarball)], { cwd: app, env, timeout: SLOW_MS }).catch(
          // Some say on stdout why they fail.
          (thrown: { readonly stdout?: string; readonly message: string }) => {
            throw new Error(`${thrown.message}\n${thrown.stdout}`);
          },
        );
        await checkContents(app, expect);
        await checkPlatform(app, env, expect);
      },
    );
});

async function checkContents(app: string, expect: ExpectStatic): Promise<void> {
  const modules = join(app, 'node_modules');
  const { bytes, large } = await measure(modules);
  expect(bytes).toBeLessThan(INSTALLED_BYTES_MAX);
  expect(large).toEqual(['workerd']);
  // `npm run` of the project would find it before the user's own.
  expect(await readdir(join(modules, '.bin'))).not.toContain('node');
  const root = await realpath(join(modules, 'isoplane'));
  // npm asks whoever installs a tarball to allow these.
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  for (const event of ['preinstall', 'install', 'postinstall', 'prepare'])
    expect(scripts).not.toHaveProperty(event);
  const files = await readdir(root, { recursive: true });
  expect(files.filter((name) => /\.test\.[tj]s$/.test(name))).toEqual([]);
  for (const file of ['LICENSE', 'README.md', 'docs/config.md', 'isoplane.schema.json'])
    expect(files).toContain(file);
}

/** Its planes are entries of their own. */
async function checkDev(
  command: string,
  project: string,
  env: Record<string, string>,
  expect: ExpectStatic,
): Promise<void> {
  const dev = spawn(command, ['--json', 'dev', '--port', '0', '--auth', 'off'], {
    cwd: project,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const line = await new Promise<string>((done, fail) => {
      createInterface({ input: dev.stdout }).once('line', done);
      dev.once('exit', (code) => fail(new Error(`isoplane dev ended with ${code}`)));
    });
    const ready = JSON.parse(line) as { readonly gatewayUrl: string };
    expect((await fetch(ready.gatewayUrl)).status).toBe(200);
  } finally {
    expect(await stop(dev)).toBe(0);
  }
}

async function checkPlatform(app: string, env: Record<string, string>, expect: ExpectStatic): Promise<void> {
  const command = join(app, 'node_modules', '.bin', 'isoplane');
  const isoplane = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
    run(command, args, { cwd: app, env, timeout: 120_000 });
  const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  expect((await isoplane('--version')).stdout.trim()).toBe(manifest.version);
  const platform = spawn(command, ['up', '--port', '0', '--control-port', '0'], {
    cwd: app,
    env,
    stdio: 'ignore',
  });
  try {
    const platformFile = join(env['ISOPLANE_DATA_DIR'] ?? '', 'platform.json');
    await waitFor('the platform to be up', () => stat(platformFile), 60_000);
    platformFileSchema.parse(JSON.parse(await readFile(platformFile, 'utf8')));
    await isoplane('init', 'greeter');
    const text = await readFile(join(app, 'greeter', 'isoplane.jsonc'), 'utf8');
    expect(text).toContain('"../node_modules/isoplane/isoplane.schema.json"');
    const deployed = JSON.parse((await isoplane('deploy', 'greeter', '--json')).stdout) as unknown;
    expect(deployed).toMatchObject({ function: 'greeter', version: 1, propagation: { complete: true } });
    const answer = JSON.parse((await isoplane('invoke', 'greeter', '--json')).stdout) as unknown;
    expect(answer).toMatchObject({ status: 200, body: { message: 'Hello, world!', path: '/' } });
    await checkDev(command, join(app, 'greeter'), env, expect);
    // Without the package that it needs, the helper for tests says so.
    const helper =
      "const { startFunction } = await import('isoplane/vitest'); await startFunction('greeter').catch((e) => console.log(e.code))";
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', helper], { cwd: app, env });
    expect(stdout.trim()).toBe('package_missing');
    // Threads of the node are files of the package, too.
    await isoplane('kv', 'create', 'store');
    await isoplane('kv', 'put', 'store', 'key', 'kept');
    expect((await isoplane('kv', 'get', 'store', 'key')).stdout).toBe('kept');
    expect((await isoplane('docs', 'config', 'egress')).stdout).toContain('## `egress`');
  } finally {
    expect(await stop(platform)).toBe(0);
  }
}
