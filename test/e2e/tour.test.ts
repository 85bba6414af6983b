/**
 * Goal: what the README promises to a new user works to the letter. Method: its commands, through the
 * launcher, from a shell whose own Node may be old, on a platform that was started the same way.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { request } from 'undici';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { runCli, spawnCli, userNode, type CliResult } from '../support/cli.ts';
import { callGateway, hostOf } from '../support/platform.ts';
import { UpProcess } from '../support/up.ts';

let folder: TempFolder;
let up: UpProcess;

/** In the project's folder, without --data: the command finds the nearest `.isoplane/`, as for a person. */
const isoplane = (...args: string[]): Promise<CliResult> => runCli(args, { cwd: join(folder.path, 'hello') });

async function done(...args: string[]): Promise<CliResult> {
  const result = await isoplane(...args);
  if (result.code !== 0)
    throw new Error(
      `isoplane ${args.join(' ')} ended with ${result.code}\n${result.stdout}\n${result.stderr}`,
    );
  return result;
}

beforeAll(async () => {
  folder = await tempFolder();
  up = await UpProcess.start(join(folder.path, '.isoplane'));
});
afterAll(async () => {
  await up?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

describe('the tour', { timeout: 60_000 }, () => {
  test('runs on the Node that the machine has', async ({ expect }) => {
    const version = await new Promise<string>((resolve) =>
      spawn(userNode, ['--version']).stdout.once('data', (chunk: Buffer) => resolve(chunk.toString('utf8'))),
    );
    expect(Number(/^v(\d+)/.exec(version)?.[1])).toBeGreaterThanOrEqual(20);
  });

  test('init makes a project with types and configuration', async ({ expect }) => {
    const result = await runCli(['init', 'hello'], { cwd: folder.path });
    expect(result.code, result.stderr).toBe(0);
    expect(await readFile(join(folder.path, 'hello', 'isoplane.jsonc'), 'utf8')).toContain('"name"');
  });

  test('deploy publishes version 1 and prints its address', async ({ expect }) => {
    const result = await done('deploy');
    expect(result.stdout).toContain(`http://${hostOf(up.gatewayUrl, 'hello')}/`);
    expect(result.stdout).toContain('version 1');
  });

  test('an unsigned call is refused with 401 and how to call', async ({ expect }) => {
    const answer = await callGateway(up.gatewayUrl, 'hello');
    expect(answer).toMatchObject({ status: 401, code: 'signature_missing' });
    expect(answer.text).toContain('isoplane invoke');
  });

  test('invoke makes the same call with a signature', async ({ expect }) => {
    const result = await done('invoke', 'hello');
    expect(result.stdout.length).toBeGreaterThan(0);
  });

  test('a changed function becomes version 2, and rollback serves version 1 again', async ({ expect }) => {
    const before = (await done('invoke', 'hello')).stdout;
    const main = await mainFile();
    await writeFile(
      main,
      `export default {
  fetch(request: Request): Response {
    const { pathname }: { pathname: string } = new URL(request.url);
    console.log('called', pathname);
    if (pathname === '/fail') failHere();
    return new Response('second');
  },
};

function failHere(): never {
  throw new Error('failed on purpose');
}
`,
    );
    expect((await done('deploy')).stdout).toContain('version 2');
    expect((await done('invoke', 'hello')).stdout).toContain('second');
    const rolled = await done('rollback', 'hello');
    // How long it took until every gateway served it.
    expect(rolled.stdout + rolled.stderr).toMatch(/\d+ ms/);
    expect((await done('invoke', 'hello')).stdout).toBe(before);
    expect((await done('versions', 'hello')).stdout).toMatch(/2[\s\S]*1/);
  });

  test('logs shows console output and exceptions with positions in the sources', async ({ expect }) => {
    await done('rollback', 'hello', '--to', '2');
    expect((await isoplane('invoke', 'hello', '--path', '/fail')).code).toBe(4);
    const logs = await waitFor('the exception in the logs', async () => {
      const { stdout } = await done('logs', 'hello');
      return stdout.includes('failed on purpose') ? stdout : undefined;
    });
    expect(logs).toContain('called /fail');
    // Line 11 of the TypeScript file throws, line 5 calls it.
    expect(logs).toMatch(/index\.ts:11:/);
    expect(logs).toMatch(/index\.ts:5:/);
  });

  test('logs --follow shows a call while it happens', async ({ expect }) => {
    const child = spawnCli(['logs', 'hello', '--follow', '--tail', '0'], { cwd: join(folder.path, 'hello') });
    let seen = '';
    child.stdout?.on('data', (chunk: Buffer) => (seen += chunk.toString('utf8')));
    try {
      await waitFor(
        'the followed line',
        async () => {
          await isoplane('invoke', 'hello', '--path', '/followed');
          return seen.includes('called /followed');
        },
        30_000,
      );
    } finally {
      child.kill('SIGTERM');
    }
    expect(seen).not.toContain('called /fail');
  });

  test('dev serves the same function locally and reloads on save', async ({ expect }) => {
    const child = spawnCli(['dev', '--port', '0', '--auth', 'off'], { cwd: join(folder.path, 'hello') });
    try {
      const url = await new Promise<string>((resolve, reject) => {
        let said = '';
        for (const stream of [child.stdout, child.stderr])
          if (stream !== null)
            createInterface({ input: stream }).on('line', (line) => {
              said += `${line}\n`;
              const found = /http:\/\/(?:127\.0\.0\.1|localhost):\d+/.exec(line)?.[0];
              if (found !== undefined) resolve(found);
            });
        child.once('exit', (code) => reject(new Error(`isoplane dev ended with ${code}\n${said}`)));
      });
      const text = async (): Promise<string> => (await request(url)).body.text();
      expect(await text()).toBe('second');
      const main = await mainFile();
      await writeFile(main, (await readFile(main, 'utf8')).replace('second', 'third'));
      await waitFor('the reload', async () => (await text()) === 'third', 30_000);
    } finally {
      child.kill('SIGTERM');
    }
  });

  test('doctor says what this machine can enforce', async ({ expect }) => {
    const result = await isoplane('doctor');
    expect(result.stdout.toLowerCase()).toContain('sandbox');
  });

  test('every failure is JSON with a code when asked, and has its exit code', async ({ expect }) => {
    const unknown = await isoplane('--json', 'rollback', 'no-such-function');
    expect(unknown.code).toBe(1);
    expect(unknown.json()).toMatchObject({ error: { code: 'function_not_found' } });
    expect((await isoplane('deploy', '--no-such-option')).code).toBe(2);
    const lost = await runCli(['--data', join(folder.path, 'nothing'), 'functions', 'list']);
    expect(lost.code).toBe(3);
  });
});

async function mainFile(): Promise<string> {
  const config = await readFile(join(folder.path, 'hello', 'isoplane.jsonc'), 'utf8');
  const main = /"main"\s*:\s*"([^"]+)"/.exec(config)?.[1];
  if (main === undefined) throw new Error(`isoplane.jsonc names no main module:\n${config}`);
  return join(folder.path, 'hello', main);
}
