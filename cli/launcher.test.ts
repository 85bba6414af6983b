/** The launcher on the Node that a shell may have, and its ways of failing. */
import { execFile, spawn } from 'node:child_process';
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';
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

  test.skipIf(old === undefined)('says what to do when there is no newer Node', async ({ expect }) => {
    await using folder = await tempFolder();
    await mkdir(join(folder.path, 'cli'));
    await copyFile(BIN, join(folder.path, 'cli', 'bin.js'));
    await writeFile(join(folder.path, 'package.json'), '{"type":"module"}');
    const failure = await run(old ?? 'node', [join(folder.path, 'cli', 'bin.js')]).catch(
      (thrown: unknown) => thrown,
    );
    expect(failure).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('npm rebuild node') as unknown,
    });
  });

  test('hands signals over and ends as the command does', async ({ expect }) => {
    await using folder = await tempFolder();
    await mkdir(join(folder.path, 'cli'));
    await mkdir(join(folder.path, 'node_modules', 'node', 'bin'), { recursive: true });
    await copyFile(BIN, join(folder.path, 'cli', 'bin.js'));
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
