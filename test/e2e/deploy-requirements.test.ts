/**
 * Goal: what a function is bound to and the platform lacks is told together, each with the command that makes it,
 * before anything is published. Method: a project that lacks one of each, through the command, then the commands.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { runCli } from '../support/cli.ts';
import { TestPlatform } from '../support/platform.ts';

const failureSchema = z.object({
  error: z.object({
    code: z.string(),
    problems: z.array(z.object({ message: z.string(), hint: z.string().optional() })),
  }),
});

let platform: TestPlatform;
beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

async function project(folder: TempFolder, config: Readonly<Record<string, unknown>>): Promise<void> {
  await mkdir(join(folder.path, 'src'));
  await writeFile(
    join(folder.path, 'src/index.ts'),
    'export default { fetch: (_: Request, env: { KEY: string }) => new Response(env.KEY) };',
  );
  await writeFile(
    join(folder.path, 'isoplane.jsonc'),
    JSON.stringify({
      main: 'src/index.ts',
      compatibilityDate: '2026-11-01',
      auth: { mode: 'public' },
      ...config,
    }),
  );
}

async function refused(folder: TempFolder): Promise<z.output<typeof failureSchema>['error']> {
  const outcome = await platform.cli(['deploy', '--json'], folder.path);
  expect(outcome.code).not.toBe(0);
  return failureSchema.parse(outcome.json()).error;
}

test('a missing namespace, secret and service target are told together, and their commands make them', async () => {
  await using folder = await tempFolder();
  await using other = await tempFolder();
  await project(folder, {
    name: 'shop',
    kv: [{ binding: 'STORE', namespace: 'shop-store' }],
    secrets: ['KEY'],
    services: [{ binding: 'PRICES', function: 'prices' }],
  });
  const { code, problems } = await refused(folder);
  expect(code).toBe('requirements_missing');
  expect(problems).toEqual([
    {
      message: 'kv STORE: there is no KV namespace shop-store',
      hint: 'isoplane kv create shop-store',
    },
    { message: 'secrets: there is no secret KEY', hint: 'isoplane secrets put KEY --function shop' },
    {
      message: 'services PRICES: there is no function prices',
      hint: 'isoplane deploy FOLDER_OF_PRICES, or --allow-missing when it comes later',
    },
  ]);
  expect((await platform.call('shop')).status).toBe(404);

  expect(await platform.cli(['kv', 'create', 'shop-store'])).toMatchObject({ code: 0 });
  const put = await runCli(['--data', platform.dataDir, 'secrets', 'put', 'KEY', '--function', 'shop'], {
    stdin: 'a value',
  });
  expect(put).toMatchObject({ code: 0 });
  expect((await refused(folder)).problems.map(({ message }) => message)).toEqual([
    'services PRICES: there is no function prices',
  ]);
  await project(other, { name: 'prices' });
  expect(await platform.cli(['deploy'], other.path)).toMatchObject({ code: 0 });
  const deployed = await platform.cli(['deploy'], folder.path);
  expect(deployed).toMatchObject({ code: 0 });
  expect((await platform.call('shop')).text).toBe('a value');
}, 120_000);

test('a target that comes later is let through when one says so, with a warning', async () => {
  await using folder = await tempFolder();
  await project(folder, { name: 'early', services: [{ binding: 'LATE', function: 'late' }] });
  const deployed = await platform.cli(['deploy', '--allow-missing'], folder.path);
  expect(deployed).toMatchObject({ code: 0 });
  expect(deployed.stderr).toContain('there is no function late');
  expect((await platform.call('early')).status).toBe(200);
}, 120_000);

test('a key that is limited to a function is told what it may not bind and who gives it, not that it is missing', async () => {
  await using folder = await tempFolder();
  await using stats = await tempFolder();
  await project(stats, { name: 'stats' });
  await project(folder, {
    name: 'hookbox',
    auth: { mode: 'signed' },
    kv: [{ binding: 'SEEN', namespace: 'seen' }],
    services: [{ binding: 'STATS', function: 'stats' }],
  });
  expect(await platform.cli(['deploy'], stats.path)).toMatchObject({ code: 0 });
  expect(await platform.cli(['kv', 'create', 'seen'])).toMatchObject({ code: 0 });
  const makeKey = async (name: string, functions: readonly string[]): Promise<string> => {
    const options = functions.flatMap((each) => ['--function', each]);
    const made = await platform.cli(['--json', 'keys', 'create', name, '--role', 'deployer', ...options]);
    return z.object({ isoplaneKey: z.string() }).parse(made.json()).isoplaneKey;
  };
  const by = (key: string, ...args: readonly string[]) =>
    runCli(['--data', platform.dataDir, ...args], { cwd: folder.path, env: { ISOPLANE_KEY: key } });
  const narrow = await makeKey('narrow', ['hookbox']);
  for (const args of [['deploy'], ['deploy', '--allow-missing']]) {
    const outcome = await by(narrow, ...args);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).not.toMatch(/there is no function|higher role|keys list/);
    expect(outcome.stderr).toContain('`isoplane kv grant seen --for-function hookbox`');
    expect(outcome.stderr).toContain('--function hookbox --function stats');
    expect(outcome.stderr).toContain('isoplane whoami');
  }
  // What was advised, done.
  expect(await platform.cli(['kv', 'grant', 'seen', '--for-function', 'hookbox'])).toMatchObject({ code: 0 });
  const wide = await makeKey('wide', ['hookbox', 'stats']);
  const deployed = await by(wide, 'deploy');
  expect(deployed).toMatchObject({ code: 0 });
  // A key that may call a function which is not there is told so, as ever.
  const lacking = await makeKey('lacking', ['hookbox', 'nowhere']);
  await writeFile(
    join(folder.path, 'isoplane.jsonc'),
    JSON.stringify({
      name: 'hookbox',
      main: 'src/index.ts',
      compatibilityDate: '2026-11-01',
      services: [{ binding: 'NOWHERE', function: 'nowhere' }],
    }),
  );
  expect((await by(lacking, 'deploy')).stderr).toContain('there is no function nowhere');
  // A key that is no more: what to do about it.
  expect(await platform.cli(['keys', 'revoke', 'wide'])).toMatchObject({ code: 0 });
  for (const args of [
    ['functions', 'list'],
    ['invoke', 'hookbox'],
  ]) {
    const outcome = await by(wide, ...args);
    expect(outcome.stderr).toMatch(/\[signature_invalid\][^]*→ The key is revoked/);
  }
}, 120_000);
