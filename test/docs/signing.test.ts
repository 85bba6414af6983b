/** docs/signing.md: its programs, as they stand there, call a signed function of a real platform. */
import { execFile, execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { createdKeySchema } from '#shared/contracts/access.ts';
import { routeViewSchema } from '#shared/contracts/api.ts';
import { repositoryRoot } from '../support/paths.ts';
import { TestPlatform } from '../support/platform.ts';
import { snippetsOf, type Snippet } from './markdown.ts';

const run = promisify(execFile);
const ECHO = `export default {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    return Response.json({ method: request.method, path: pathname + search, body: await request.text() });
  },
};`;
const HOST = 'localhost';

let platform: TestPlatform;
let snippets: readonly Snippet[];

beforeAll(async () => {
  platform = await TestPlatform.start({ baseDomain: 'functions.test' });
  await platform.api.deploy('echo', { modules: { 'index.js': ECHO } });
  // Not every machine resolves *.localhost, and these programs look names up.
  const route = await platform.api.call('POST', '/v1/accounts/default/routes', {
    host: HOST,
    path: '/*',
    function: 'echo',
  });
  await platform.api.propagated(routeViewSchema.parse(route.body).revision ?? 0);
  snippets = snippetsOf('docs/signing.md', await readFile(join(repositoryRoot, 'docs/signing.md'), 'utf8'));
});
afterAll(() => platform?.[Symbol.asyncDispose]());

function has(program: string, argument: string): boolean {
  try {
    execFileSync(program, [argument], { stdio: 'ignore' });
    return true;
  } catch {
    console.warn(`${program} is not installed: its part of docs/signing.md is not run`);
    return false;
  }
}
const hasPython = has('python3', '--version');
const hasOpenssl = has('openssl', 'version') && has('curl', '--version') && has('bash', '--version');

async function runSnippet(
  language: string,
  algorithm: string,
  command: readonly [string, ...string[]],
  change: (env: Record<string, string>) => Record<string, string> = (env) => env,
): Promise<string> {
  const [snippet] = snippets.filter((each) => each.language === language);
  if (snippet === undefined) throw new Error(`docs/signing.md has no ${language}`);
  const answer = await platform.api.call('POST', '/v1/accounts/default/keys', {
    name: language,
    role: 'invoker',
    algorithm,
  });
  const key = createdKeySchema.parse(answer.body);
  await platform.api.propagated(key.revision);
  const env = change({
    PATH: process.env['PATH'] ?? '',
    HOME: process.env['HOME'] ?? '/',
    KEY_ID: key.id,
    KEY_SECRET: key.secret ?? '',
    URL: `http://${HOST}:${new URL(platform.gatewayUrl).port}/orders?id=7`,
  });
  const [program, ...args] = command;
  return (await run(program, [...args, snippet.text], { env, timeout: 30_000 })).stdout;
}

describe('the programs of docs/signing.md', () => {
  test.skipIf(!hasPython)('Python', async ({ expect }) => {
    const seen: unknown = JSON.parse(await runSnippet('python', 'hmac-sha256', ['python3', '-c']));
    expect(seen).toEqual({ method: 'POST', path: '/orders?id=7', body: '{"n":1}' });
    await expect(
      runSnippet('python', 'hmac-sha256', ['python3', '-c'], (env) => ({
        ...env,
        KEY_SECRET: 'A'.repeat(43),
      })),
    ).rejects.toThrow('401');
  });

  test.skipIf(!hasOpenssl)('curl and OpenSSL', async ({ expect }) => {
    const seen: unknown = JSON.parse(await runSnippet('bash', 'ed25519', ['bash', '--norc', '-euc']));
    expect(seen).toEqual({ method: 'GET', path: '/orders?id=7', body: '' });
    const bare = await runSnippet('bash', 'ed25519', ['bash', '--norc', '-euc'], (env) => ({
      ...env,
      URL: new URL(env['URL'] ?? '').origin,
    }));
    expect(JSON.parse(bare)).toMatchObject({ path: '/' });
  });

  test('JavaScript', async ({ expect }) => {
    const node = [process.execPath, '--input-type=module', '--eval'] as const;
    const seen: unknown = JSON.parse(await runSnippet('js', 'ed25519', [...node]));
    expect(seen).toEqual({ method: 'POST', path: '/orders?id=7', body: '{"n":1}' });
    const forged = await runSnippet('js', 'ed25519', [...node], (env) => ({
      ...env,
      KEY_ID: `key-${'0'.repeat(20)}`,
    }));
    expect(JSON.parse(forged)).toMatchObject({ code: 'signature_invalid' });
  });
});
