/**
 * The npm package as a stranger gets it: packed, installed into an empty folder, run by that folder's
 * command with the machine's own Node. Slow (it installs from npm's cache or the registry): leave it out
 * with ISOPLANE_SKIP_SLOW=1.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';
import { platformFileSchema } from '#shared/contracts/credentials.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';

const run = promisify(execFile);
const ROOT = resolve(import.meta.dirname, '../..');
const SLOW_MS = 300_000;

/** Without the repository's tools, and without what `npm test` passes on to its children. */
function strangersEnvironment(home: string): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (
      value === undefined ||
      /^(npm_(?!config_(registry|cache|cafile|strict_ssl|https?_proxy))|VITEST|NODE_|ISOPLANE_|INIT_CWD)/i.test(
        name,
      )
    )
      continue;
    kept[name] = value;
  }
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => !folder.includes('node_modules'));
  return { ...kept, PATH: path.join(delimiter), ISOPLANE_DATA_DIR: join(home, 'data') };
}

async function stop(child: ChildProcess): Promise<number | null> {
  const ended = new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
  child.kill('SIGTERM');
  return ended;
}

describe.skipIf(process.env['ISOPLANE_SKIP_SLOW'] === '1')('the packed package', () => {
  test(
    'installs elsewhere and runs a platform that serves a deployed function',
    { timeout: SLOW_MS },
    async ({ expect }) => {
      await using folder = await tempFolder();
      const home = folder.path;
      const env = strangersEnvironment(home);
      await run('npm', ['pack', '--pack-destination', home], { cwd: ROOT, timeout: SLOW_MS });
      const tarball = (await readdir(home)).find((name) => name.endsWith('.tgz')) ?? 'no tarball';
      const app = join(home, 'app');
      await mkdir(app);
      await writeFile(join(app, 'package.json'), '{"name":"app","private":true}');
      await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', join(home, tarball)], {
        cwd: app,
        env,
        timeout: SLOW_MS,
      });

      const command = join(app, 'node_modules', '.bin', 'isoplane');
      const isoplane = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
        run(command, args, { cwd: app, env, timeout: 60_000 });
      const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string };
      expect((await isoplane('--version')).stdout.trim()).toBe(manifest.version);
      const sources = (await readdir(join(app, 'node_modules', 'isoplane'), { recursive: true })).filter(
        (name) => name.endsWith('.test.ts') || name.endsWith('.test.js'),
      );
      expect(sources).toEqual([]);

      const platform = spawn(command, ['up', '--port', '0', '--control-port', '0'], {
        cwd: app,
        env,
        stdio: 'ignore',
      });
      try {
        const platformFile = join(home, 'data', 'platform.json');
        await waitFor('the platform to be up', () => stat(platformFile), 60_000);
        platformFileSchema.parse(JSON.parse(await readFile(platformFile, 'utf8')));
        await isoplane('init', 'greeter');
        const deployed = JSON.parse((await isoplane('deploy', 'greeter', '--json')).stdout) as Record<
          string,
          unknown
        >;
        expect(deployed).toMatchObject({ function: 'greeter', version: 1, propagation: { complete: true } });
        const answer = JSON.parse((await isoplane('invoke', 'greeter', '--json')).stdout) as Record<
          string,
          unknown
        >;
        expect(answer).toMatchObject({ status: 200, body: { message: 'Hello, world!', path: '/' } });
        // Threads of the node are files of the package, too.
        await isoplane('kv', 'create', 'store');
        await isoplane('kv', 'put', 'store', 'key', 'kept');
        expect((await isoplane('kv', 'get', 'store', 'key')).stdout).toBe('kept');
      } finally {
        expect(await stop(platform)).toBe(0);
      }
    },
  );
});
