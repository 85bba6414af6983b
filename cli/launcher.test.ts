/** The launcher on the Node that a shell may have, and its ways of failing. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { isoplane } from './testing/run-command.ts';

const run = promisify(execFile);
const BIN = fileURLToPath(new URL('bin.js', import.meta.url));

/** A Node older than the platform needs, when the machine has one. */
async function oldNode(): Promise<string | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    if (folder === '' || folder.includes('node_modules')) continue;
    const path = join(folder, 'node');
    const version = await run(path, ['--version']).catch(() => undefined);
    const major = Number(/^v(\d+)\./.exec(version?.stdout ?? '')?.[1]);
    if (major >= 20 && major < 22) return path;
  }
  return undefined;
}

const old = await oldNode();

describe('cli/bin.js', () => {
  test.skipIf(old === undefined)(
    'runs under Node 20 by handing over to a newer one, exit codes included',
    async ({ expect }) => {
      const options = old === undefined ? {} : { node: old };
      expect((await isoplane(['--version'], options)).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
      expect((await isoplane(['nope'], options)).code).toBe(2);
    },
  );

  /** As it is installed elsewhere: without the development dependency that brings a Node. */
  async function installed(path: string): Promise<string> {
    await mkdir(join(path, 'cli'));
    for (const file of ['bin.js', 'own-node.js'])
      await copyFile(join(BIN, '..', file), join(path, 'cli', file));
    await writeFile(join(path, 'package.json'), '{"type":"module"}');
    await writeFile(join(path, 'cli', 'main.ts'), 'console.log(process.version)');
    return join(path, 'cli', 'bin.js');
  }
  /** An npm that puts this test's own Node where the real one puts a fetched Node, and notes that it ran. */
  const NPM = `#!/bin/sh
echo "$@" >> "$HOME/npm-calls"
[ -e "$HOME/offline" ] && exit 1
name="\${8%@*}"; bin="$3/node_modules/$name/bin"
mkdir -p "$bin" && ln -s '${process.execPath}' "$bin/node"
`;
  async function withNpm(home: string): Promise<Record<string, string>> {
    await mkdir(join(home, 'bin'));
    await writeFile(join(home, 'bin', 'npm'), NPM, { mode: 0o755 });
    return { HOME: home, PATH: `${join(home, 'bin')}:/usr/bin:/bin` };
  }

  test.skipIf(old === undefined)(
    'fetches a newer Node once where there is none, and says so',
    async ({ expect }) => {
      await using folder = await tempFolder();
      const bin = await installed(folder.path);
      const env = await withNpm(folder.path);
      const first = await run(old ?? 'node', [bin], { env });
      expect(first).toMatchObject({ stdout: `${process.version}\n` });
      expect(first.stderr).toContain('fetching');
      expect(await run(old ?? 'node', [bin], { env })).toEqual({
        stdout: `${process.version}\n`,
        stderr: '',
      });
      const calls = await readFile(join(folder.path, 'npm-calls'), 'utf8');
      expect(calls.trim().split('\n')).toHaveLength(1);
      expect(calls).toMatch(/--ignore-scripts .*node-[a-z]+-[a-z0-9]+@\d/);
      expect(await readdir(join(folder.path, '.cache', 'isoplane'))).toHaveLength(1);
    },
  );

  test.skipIf(old === undefined)('does not outlive a launcher that is killed', async ({ expect }) => {
    await using folder = await tempFolder();
    const bin = await installed(folder.path);
    const ended = join(folder.path, 'ended');
    await writeFile(
      join(folder.path, 'cli', 'main.ts'),
      `import { writeFileSync } from 'node:fs';
process.on('SIGTERM', () => { writeFileSync(${JSON.stringify(ended)}, ''); process.exit(0); });
setInterval(() => {}, 1_000);
console.log(Object.keys(process.env).filter((name) => name.startsWith('ISOPLANE_LAUNCHER')).join() || 'started');`,
    );
    const env = await withNpm(folder.path);
    const launcher = spawn(old ?? 'node', [bin], { env, stdio: ['ignore', 'pipe', 'ignore'] });
    const [said] = (await once(launcher.stdout, 'data')) as [Buffer];
    expect(said.toString('utf8')).toBe('started\n');
    launcher.kill('SIGKILL');
    await waitFor('the command to end in order', () => existsSync(ended));
  });

  test.skipIf(old === undefined)('says what to do when no newer Node can be had', async ({ expect }) => {
    await using folder = await tempFolder();
    const bin = await installed(folder.path);
    const env = await withNpm(folder.path);
    await writeFile(join(folder.path, 'offline'), '');
    const failure = await run(old ?? 'node', [bin], { env }).catch((thrown: unknown) => thrown);
    expect(failure).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Install a newer Node') as unknown,
    });
    expect(await readdir(join(folder.path, '.cache', 'isoplane'))).toEqual([]);
  });

  test('says what to run when a dependency is not installed, as after a pull without npm ci', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const bin = await installed(folder.path);
    for (const file of ['dependencies.ts', 'package-folder.ts'])
      await copyFile(join(BIN, '..', file), join(folder.path, 'cli', file));
    const manifest = { type: 'module', dependencies: { leftish: '1.2.3', rightish: '2.0.0' } };
    await writeFile(join(folder.path, 'package.json'), JSON.stringify(manifest));
    await writeFile(join(folder.path, 'package-lock.json'), '{}');
    const rightish = join(folder.path, 'node_modules', 'rightish');
    await mkdir(rightish, { recursive: true });
    await writeFile(join(rightish, 'package.json'), '{"version":"1.0.0"}');
    await writeFile(join(folder.path, 'cli', 'main.ts'), "import 'leftish';");
    const failed = (...args: string[]): Promise<unknown> =>
      run(process.execPath, [bin, ...args]).catch((thrown: unknown) => thrown);
    expect(await failed()).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(
        /leftish is missing, rightish is 1\.0\.0 instead of 2\.0\.0\. \[dependencies_missing\]\n.*npm ci/,
      ) as unknown,
    });
    const { stdout } = (await failed('--json')) as { stdout: string };
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'dependencies_missing' } });
  });

  test('fetches the version that the repository is tested with', async ({ expect }) => {
    const source = await readFile(join(BIN, '..', 'own-node.js'), 'utf8');
    const manifest = JSON.parse(await readFile(join(BIN, '../../package.json'), 'utf8')) as {
      devDependencies: { node: string };
    };
    expect(/NODE_VERSION = '(.*)'/.exec(source)?.[1]).toBe(manifest.devDependencies.node);
  });

  test('hands signals over and ends as the command does', async ({ expect }) => {
    await using folder = await tempFolder();
    await mkdir(join(folder.path, 'cli'));
    await mkdir(join(folder.path, 'node_modules', 'node', 'bin'), { recursive: true });
    for (const file of ['bin.js', 'own-node.js'])
      await copyFile(join(BIN, '..', file), join(folder.path, 'cli', file));
    await writeFile(join(folder.path, 'package.json'), '{"type":"module"}');
    await writeFile(join(folder.path, 'node_modules', 'node', 'package.json'), '{"name":"node"}');
    await symlink(process.execPath, join(folder.path, 'node_modules', 'node', 'bin', 'node'));
    await writeFile(
      join(folder.path, 'cli', 'main.ts'),
      "const timer: NodeJS.Timeout = setInterval(() => {}, 1e6); process.on('SIGTERM', () => { clearInterval(timer); process.exitCode = 42; }); console.log('up');",
    );
    const child = spawn(old ?? process.execPath, [join(folder.path, 'cli', 'bin.js')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGTERM');
    expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(42);
  });
});
