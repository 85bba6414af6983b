/**
 * Goal: whoever interrupts a command learns what it leaves behind, and no script takes that for success.
 * Method: the real command on a real terminal, and the key itself.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { describe, test } from 'vitest';
import { z } from 'zod';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { COMPATIBILITY_DATE } from '../support/api.ts';
import { cliEnvironment, runCli } from '../support/cli.ts';
import { repositoryRoot } from '../support/paths.ts';
import { TestPlatform } from '../support/platform.ts';
import { TerminalCli } from '../support/terminal.ts';

/** Some seconds of work before it listens: the trial of a publish lasts as long. */
const SLOW_TO_START = `let sum = 0; for (let index = 0; index < 3e9; index += 1) sum += index;
export default { fetch() { return new Response('slow'); } };`;

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe('Ctrl-C', () => {
  test('during a publish ends with 130, and says that the version may still go live', async ({ expect }) => {
    await using platform = await TestPlatform.start();
    await using folder = await tempFolder();
    await writeFile(
      join(folder.path, 'isoplane.jsonc'),
      JSON.stringify({ name: 'slow', main: 'index.js', compatibilityDate: COMPATIBILITY_DATE }),
    );
    await writeFile(join(folder.path, 'index.js'), SLOW_TO_START);
    const terminal = new TerminalCli(['--data', platform.dataDir, 'deploy'], folder.path);
    await terminal.shows('publishing');
    terminal.ctrlC();
    expect(await terminal.ended).toBe(130);
    expect(terminal.shown).toContain('may still go live');
  });

  test('while the platform starts ends with 130 and leaves nothing', async ({ expect }) => {
    await using folder = await tempFolder();
    const terminal = new TerminalCli(['up', '--port', '0', '--control-port', '0'], folder.path);
    await terminal.shows('starting the platform');
    await waitFor('the folder to be made', () => existsSync(join(folder.path, '.isoplane', 'lock.db')));
    terminal.ctrlC();
    expect(await terminal.ended).toBe(130);
    expect(existsSync(join(folder.path, '.isoplane'))).toBe(false);
  });
});

describe('npm that is told to end', { timeout: 150_000 }, () => {
  /** Its shell passes no signal on: without a word of ours the platform would go on and hold its ports. */
  test.for(['start', 'isoplane'] as const)(
    'takes what npm run %s started with it',
    async (script, { expect }) => {
      await using folder = await tempFolder();
      const dataDir = join(folder.path, 'data');
      const command = script === 'start' ? [] : ['up'];
      const npm = spawn(
        'npm',
        ['run', script, '--', ...command, '--data', dataDir, '--port', '0', '--control-port', '0'],
        // A group of its own, which the end of the test ends in any case.
        { cwd: repositoryRoot, env: cliEnvironment(), stdio: 'ignore', detached: true },
      );
      const platformFile = join(dataDir, 'platform.json');
      try {
        await waitFor('the platform', () => existsSync(platformFile), 60_000);
        const { pid, gatewayUrl } = z
          .object({ pid: z.number(), gatewayUrl: z.string() })
          .parse(JSON.parse(await readFile(platformFile, 'utf8')));
        expect((await fetch(gatewayUrl)).status).toBeGreaterThan(0);
        npm.kill('SIGTERM');
        await waitFor('the platform to end', () => !existsSync(platformFile) && !isAlive(pid), 60_000);
        await expect(fetch(gatewayUrl)).rejects.toThrow();
      } finally {
        try {
          if (npm.pid !== undefined) process.kill(-npm.pid, 'SIGKILL');
        } catch {
          // All of it has ended.
        }
      }
    },
  );
});

describe('a folder that a platform has left', () => {
  test('does not hide a running platform further up', async ({ expect }) => {
    await using folder = await tempFolder();
    const above = join(folder.path, '.isoplane');
    const project = join(folder.path, 'project');
    await mkdir(join(project, '.isoplane'), { recursive: true });
    await writeFile(join(project, '.isoplane', 'lock.db'), '');
    await writeFile(join(project, '.isoplane', 'credentials.json'), '{}');
    await using platform = await TestPlatform.start({ dataDir: above });
    const { code, stderr, json } = await runCli(['--json', 'status'], { cwd: project });
    expect(code, stderr).toBe(0);
    expect(json()).toMatchObject({ gatewayUrl: platform.gatewayUrl });
  });
});
