/** Goal: the commands name, and call, the address at which a function really answers. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { COMPATIBILITY_DATE } from '../support/api.ts';
import type { CliResult } from '../support/cli.ts';
import { TestPlatform } from '../support/platform.ts';

let platform: TestPlatform;
let folder: TempFolder;
let port: string;
beforeAll(async () => {
  platform = await TestPlatform.start();
  folder = await tempFolder();
  ({ port } = new URL(platform.gatewayUrl));
  await writeFile(
    join(folder.path, 'index.js'),
    'export default { fetch: (request) => new Response(request.method + " " + request.url) };',
  );
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

async function deploy(config: object, ...options: readonly string[]): Promise<CliResult> {
  const text = JSON.stringify({ main: 'index.js', compatibilityDate: COMPATIBILITY_DATE, ...config });
  await writeFile(join(folder.path, 'isoplane.jsonc'), text);
  const deployed = await platform.cli(['deploy', ...options], folder.path);
  expect(deployed).toMatchObject({ code: 0 });
  return deployed;
}

const invoke = (...args: readonly string[]): Promise<CliResult> => platform.cli(['invoke', 'snip', ...args]);

test('a function without a host of its own is named and called at its routes', async () => {
  const closed = { name: 'snip', defaultHost: false };
  const bare = await deploy(closed);
  expect(bare.stdout).not.toContain('http://snip.localhost');
  expect(bare.stdout).toContain("isoplane routes add HOST '/*' snip");
  const refused = await invoke();
  expect(refused.code).toBe(1);
  expect(refused.stderr).not.toMatch(/Did you mean|There is no/);
  expect(refused.stderr).toContain("`isoplane routes add HOST '/*' snip` makes one");

  for (const route of ['/go/*', '/go/deep/*'])
    expect(await platform.cli(['routes', 'add', 'snip.test', route, 'snip'])).toMatchObject({ code: 0 });
  const named = await deploy(closed);
  expect(named.stdout).toMatch(new RegExp(`http://snip\\.test:${port}/go/`));
  expect(named.stdout).toMatch(/call it: isoplane invoke snip --path \/go\//);
  const json = z.object({ url: z.string() }).parse((await deploy(closed, '--json')).json());
  expect(json.url).toMatch(`http://snip.test:${port}/go/`);

  // Signed for the route's host, with a body, and with its query.
  expect(await invoke('--path', '/go/x?y=1', '-d', '{}')).toMatchObject({
    code: 0,
    stdout: `POST http://snip.test:${port}/go/x?y=1`,
  });
  const elsewhere = await invoke('--path', '/other');
  expect(elsewhere.code).toBe(1);
  expect(elsewhere.stderr).toContain('Give a --path that one of them takes: snip.test/go/');
  expect(elsewhere.stderr).not.toMatch(/Did you mean|There is no/);

  const open = await deploy({ ...closed, authByPath: [{ path: '/go/*', auth: { mode: 'public' } }] });
  const [, url = ''] = /call it: curl (\S+)/.exec(open.stdout) ?? [];
  expect(url).toContain(`http://snip.test:${port}/go/`);
}, 120_000);

test('the call that a deploy prints is for the alias that it moved, and for who may call', async () => {
  await deploy({ name: 'who' });
  const canary = await deploy({ name: 'who', vars: { A: 1 } }, '--alias', 'canary');
  expect(canary.stdout).toContain(`http://canary--who.localhost:${port}/`);
  expect(canary.stdout).toContain('call it: isoplane invoke who --alias canary');
  expect(await platform.cli(['invoke', 'who', '--alias', 'canary'])).toMatchObject({ code: 0 });
  const jwt = await deploy({ name: 'token', auth: { mode: 'jwt', audience: 'a', issuer: 'https://i.test' } });
  expect(jwt.stdout).toContain("call it: curl -H 'authorization: Bearer TOKEN' http://token.localhost");
}, 120_000);

test('files for everyone are not said to want a signature', async () => {
  await mkdir(join(folder.path, 'public'));
  await writeFile(join(folder.path, 'public/index.html'), '<h1>hi</h1>');
  const site = await deploy({
    name: 'site',
    main: undefined,
    assets: { directory: 'public', auth: 'public' },
  });
  expect(site.stdout).toContain('files for everyone');
  expect(site.stdout).toContain(`call it: curl http://site.localhost:${port}/`);
  await rm(join(folder.path, 'public'), { recursive: true });
}, 60_000);
