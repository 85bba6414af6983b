/** Goal: what works on the platform's own machine works from any other, with a URL and one key. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { runCli, type CliResult } from '../support/cli.ts';
import { UpProcess } from '../support/up.ts';

let platform: TempFolder;
let elsewhere: TempFolder;
let up: UpProcess;

beforeAll(async () => {
  platform = await tempFolder();
  elsewhere = await tempFolder();
  up = await UpProcess.start(join(platform.path, '.isoplane'));
}, 120_000);
afterAll(async () => {
  await up?.[Symbol.asyncDispose]();
  await platform?.[Symbol.asyncDispose]();
  await elsewhere?.[Symbol.asyncDispose]();
});

/** From a folder without a platform, by a user without profiles. */
async function there(env: Record<string, string>, ...args: string[]): Promise<CliResult> {
  return runCli(args, {
    cwd: elsewhere.path,
    env: { XDG_CONFIG_HOME: join(elsewhere.path, 'config'), ...env },
  });
}

async function keyOf(...args: string[]): Promise<string> {
  const made = await runCli([...args, '--json'], { cwd: platform.path });
  return (made.json() as { isoplaneKey: string }).isoplaneKey;
}

describe('from elsewhere', () => {
  test('a deployer key deploys, reads logs and calls; it manages no keys', async ({ expect }) => {
    const env = {
      ISOPLANE_URL: up.controlUrl,
      ISOPLANE_KEY: await keyOf('keys', 'create', 'ci', '--role', 'deployer'),
    };
    expect((await there(env, 'init', 'hello')).code).toBe(0);
    const deployed = await there(env, 'deploy', 'hello', '--json');
    expect(deployed.json()).toMatchObject({ function: 'hello', version: 1, propagation: { complete: true } });
    expect(await there(env, 'invoke', 'hello')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Hello') as unknown,
    });
    expect((await there(env, 'functions', 'show', 'hello')).code).toBe(0);
    expect((await there(env, 'logs', 'hello')).code).toBe(0);
    const keys = await there(env, 'keys', 'list', '--json');
    expect(keys.code).toBe(1);
    expect(keys.json()).toMatchObject({ error: { code: 'forbidden' } });
  });

  test('an invoker key calls and says who it is, and deploys nothing', async ({ expect }) => {
    const env = { ISOPLANE_URL: up.controlUrl, ISOPLANE_KEY: await keyOf('keys', 'create', 'caller') };
    const me = await there(env, 'whoami', '--json');
    expect(me.json()).toMatchObject({ account: 'default', key: { name: 'caller', role: 'invoker' } });
    expect((await there(env, 'invoke', 'hello')).code).toBe(0);
    expect((await there(env, 'deploy', 'hello', '--json')).json()).toMatchObject({
      error: { code: 'forbidden' },
    });
  });

  test('a token manages, and an account of its own has its own addresses', async ({ expect }) => {
    await runCli(['accounts', 'create', 'acme'], { cwd: platform.path });
    const token = await keyOf(
      'keys',
      'create',
      'ops',
      '--role',
      'owner',
      '--algorithm',
      'token',
      '--account',
      'acme',
    );
    const login = await there({ ISOPLANE_KEY: token }, 'login', up.controlUrl, '--profile', 'acme');
    expect(login, login.stderr).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('owner') as unknown,
    });
    await there({}, 'init', 'shop');
    const deployed = await there({}, 'deploy', 'shop', '--json');
    expect((deployed.json() as { url: string }).url).toMatch(/^http:\/\/shop\.acme\.localhost:\d+\/$/);
    const made = await there({}, 'keys', 'create', 'caller', '--json');
    const { isoplaneKey } = made.json() as { isoplaneKey: string };
    const called = await there({ ISOPLANE_KEY: isoplaneKey }, 'invoke', 'shop');
    expect(called, called.stderr).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Hello') as unknown,
    });
    expect((await there({}, 'functions', 'list', '--json')).json()).toMatchObject([{ name: 'shop' }]);
  });
});
