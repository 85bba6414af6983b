/** How the command finds a platform elsewhere: environment, profiles, tokens, accounts. */
import { execFile } from 'node:child_process';
import { readFile, stat, writeFile, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';
import { toBase64Url } from '#shared/encoding.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { fakeControl, type Answer, type FakeControl, type SeenCall } from '../testing/fake-control.ts';
import { isoplane } from '../testing/run-command.ts';
import { gatewayOf } from './connection.ts';

const NOW = '2026-11-23T00:00:00.000Z';
const SECRET = toBase64Url(new Uint8Array(32).fill(3));
const KEY = `acme:key-2:hmac-sha256:${SECRET}`;
const TOKEN = `iso_key-${'0'.repeat(20)}_${'a'.repeat(43)}`;

const me = (origin: () => string) => ({
  account: 'acme',
  key: { id: 'key-2', name: 'ci', role: 'deployer', algorithm: 'hmac-sha256', createdAt: NOW },
  gateway: { url: origin(), baseDomain: 'localhost' },
});

async function platform(
  answer: (call: SeenCall) => Answer = () => ({ body: { items: [] } }),
): Promise<FakeControl> {
  const control: FakeControl = await fakeControl((call) =>
    call.url === '/v1/whoami' ? { body: me(() => control.origin) } : answer(call),
  );
  return control;
}

describe('a platform elsewhere', () => {
  test('is named by ISOPLANE_URL and ISOPLANE_KEY, and the key says the account', async ({ expect }) => {
    await using control = await platform();
    const env = { ISOPLANE_URL: control.origin, ISOPLANE_KEY: KEY };
    const result = await isoplane(['functions', 'list', '--json'], { env });
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(control.calls.at(-1)).toMatchObject({ url: '/v1/accounts/acme/functions' });
    expect(String(control.calls.at(-1)?.headers['signature-input'])).toContain('keyid="key-2"');
  });

  test('takes the key from a file, a token too, and another account by name', async ({ expect }) => {
    await using control = await platform();
    await using folder = await tempFolder();
    const file = join(folder.path, 'key');
    await writeFile(file, `${TOKEN}\n`);
    const env = { ISOPLANE_URL: `${control.origin}/`, ISOPLANE_KEY_FILE: file };
    expect((await isoplane(['keys', 'list', '--account', 'other'], { env })).code).toBe(0);
    expect(control.calls.at(-1)).toMatchObject({
      url: '/v1/accounts/other/keys',
      headers: { authorization: `Bearer ${TOKEN}` },
    });
    await isoplane(['keys', 'list'], { env: { ...env, ISOPLANE_ACCOUNT: 'third' } });
    expect(control.calls.at(-1)?.url).toBe('/v1/accounts/third/keys');
  });

  test('says how to log in where there is no key, and what a wrong one is', async ({ expect }) => {
    await using control = await platform();
    await using home = await tempFolder();
    const run = (env: Record<string, string>) =>
      isoplane(['functions', 'list', '--json'], {
        env: { HOME: home.path, ISOPLANE_URL: control.origin, ...env },
      });
    const without = await run({});
    expect(without.code).toBe(3);
    expect(without.json()).toMatchObject({
      error: {
        code: 'not_logged_in',
        advice: expect.stringMatching(/ISOPLANE_KEY.*isoplane login/) as unknown,
      },
    });
    const wrong = await run({ ISOPLANE_KEY: 'hunter2' });
    expect(wrong.code).toBe(2);
    expect(wrong.json()).toMatchObject({ error: { code: 'key_invalid' } });
    const damaged = await run({ ISOPLANE_KEY: 'acme:key-2:ed25519:AAAA' });
    expect(damaged.json()).toMatchObject({ error: { code: 'key_invalid' } });
    for (const result of [wrong, damaged]) expect(result.stdout).not.toMatch(/hunter2|AAAA/);
    expect((await run({ ISOPLANE_KEY: KEY, ISOPLANE_KEY_FILE: '/x' })).code).toBe(2);
    expect((await run({ ISOPLANE_URL: `${control.origin}/v1`, ISOPLANE_KEY: KEY })).code).toBe(2);
    expect(control.calls).toEqual([]);
    // An empty secret is what CI passes on for one that it does not have.
    expect((await run({ ISOPLANE_KEY: '' })).code).toBe(3);
  });

  test('that is no control API is told from one', async ({ expect }) => {
    await using control = await fakeControl(() => ({ status: 404, text: '<html>nothing</html>' }));
    const result = await isoplane(['functions', 'list', '--json'], {
      env: { ISOPLANE_URL: control.origin, ISOPLANE_KEY: KEY },
    });
    expect(result.code).toBe(3);
    expect(result.json()).toMatchObject({
      error: { code: 'platform_unreachable', advice: expect.stringContaining('control API') as unknown },
    });
  });

  test('gets no signed call from a token', async ({ expect }) => {
    await using control = await platform();
    const env = { ISOPLANE_URL: control.origin, ISOPLANE_KEY: TOKEN };
    const result = await isoplane(['invoke', 'hello', '-X', 'GET', '--json'], { env });
    expect(result).toMatchObject({ code: 2 });
    expect(result.json()).toMatchObject({ error: { code: 'token_signs_nothing' } });
  });

  test('a key of the environment is used with a platform of this machine, too', async ({ expect }) => {
    await using control = await platform();
    const args = ['functions', 'list', '--data', control.dataDir];
    expect((await isoplane(args, { env: { ISOPLANE_KEY: KEY } })).code).toBe(0);
    expect(control.calls.at(-1)?.url).toBe('/v1/accounts/acme/functions');
  });
});

describe('isoplane login', () => {
  test('checks the key, keeps it in a file of mode 0600, and is used where nothing else is named', async ({
    expect,
  }) => {
    await using control = await platform();
    await using home = await tempFolder();
    const env = { HOME: home.path };
    const run = (args: string[], more: { stdin?: string; env?: Record<string, string> } = {}) =>
      isoplane(args, { cwd: home.path, ...more, env: { ...env, ...more.env } });
    const login = await run(['login', control.origin], { stdin: `${KEY}\n` });
    expect(login, login.stderr).toMatchObject({ code: 0 });
    expect(login.stdout).toContain('key ci (deployer) of account acme');
    expect(login.stdout + login.stderr).not.toContain(SECRET);
    const path = join(home.path, '.config', 'isoplane', 'profiles.json');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await run(['functions', 'list'])).code).toBe(0);
    expect(control.calls.at(-1)?.url).toBe('/v1/accounts/acme/functions');
    expect((await run(['whoami'])).stdout).toContain(control.origin);

    await run(['login', control.origin, '--profile', 'second'], { env: { ISOPLANE_KEY: TOKEN } });
    expect((await run(['profiles', 'list', '--json'])).json()).toEqual([
      { name: 'default', url: control.origin, current: false },
      { name: 'second', url: control.origin, current: true },
    ]);
    await run(['functions', 'list', '--profile', 'default']);
    expect(control.calls.at(-1)?.headers.authorization).toBeUndefined();
    await run(['functions', 'list'], { env: { ISOPLANE_PROFILE: 'second' } });
    expect(control.calls.at(-1)?.headers.authorization).toBe(`Bearer ${TOKEN}`);
    const typo = await run(['functions', 'list', '--profile', 'secnd']);
    expect(typo).toMatchObject({ code: 2, stderr: expect.stringContaining('Did you mean "second"?') });
    expect((await run(['profiles', 'use', 'default'])).code).toBe(0);

    await chmod(path, 0o644);
    expect(await run(['functions', 'list'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('chmod 600') as unknown,
    });
    await chmod(path, 0o600);
    expect((await run(['logout'])).stdout).toContain('`isoplane profiles use second`');
    expect(await readFile(path, 'utf8')).not.toContain(SECRET);
    expect(await run(['whoami'])).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(
        /No profile is chosen[\s\S]*isoplane profiles use NAME.* second\./,
      ) as unknown,
    });
    expect((await run(['logout', '--profile', 'second'])).code).toBe(0);
    expect((await run(['whoami'])).stderr).toContain('isoplane login URL');
  });

  test('says so when the address is that of a gateway', async ({ expect }) => {
    await using control = await fakeControl(() => ({ status: 404, body: { code: 'function_not_found' } }));
    await using home = await tempFolder();
    const options = { env: { HOME: home.path }, stdin: KEY };
    const result = await isoplane(['login', control.origin, '--json'], options);
    expect(result.code).toBe(1);
    expect(result.json()).toMatchObject({
      error: { code: 'not_control', message: expect.stringContaining('is a gateway') as unknown },
    });
  });

  test('keeps nothing when the platform refuses the key', async ({ expect }) => {
    await using control = await fakeControl(() => ({ status: 401, body: { code: 'signature_invalid' } }));
    await using home = await tempFolder();
    const result = await isoplane(['login', control.origin, '--json'], {
      env: { HOME: home.path },
      stdin: KEY,
    });
    expect(result.code).toBe(1);
    expect(result.json()).toMatchObject({ error: { code: 'signature_invalid' } });
    await expect(stat(join(home.path, '.config', 'isoplane', 'profiles.json'))).rejects.toThrow('ENOENT');
  });
});

describe('where functions answer, seen from elsewhere', () => {
  const said = { url: 'http://127.0.0.1:8787', baseDomain: 'fn.example.com' };
  test.for([
    ['http://127.0.0.1:8788', undefined, said, 'http://127.0.0.1:8787'],
    ['https://control.example.com', undefined, said, 'https://fn.example.com'],
    ['http://10.0.0.5:8788', undefined, said, 'http://fn.example.com:8787'],
    ['http://10.0.0.5:8788', undefined, { ...said, baseDomain: 'localhost' }, 'http://10.0.0.5:8787'],
    ['https://c.example.com', undefined, { ...said, url: 'http://10.0.0.5:80' }, 'http://10.0.0.5'],
    ['https://c.example.com', undefined, { baseDomain: 'fn.example.com' }, 'https://fn.example.com'],
    ['https://c.example.com', 'https://x.example.com', said, 'https://x.example.com'],
  ] as const)('control at %s', ([control, given, gateway, expected], { expect }) => {
    expect(gatewayOf(control, given, gateway)).toBe(expected);
  });
});

describe('isoplane keys create', () => {
  test('says what each value is, in which form, and how to use it', async ({ expect }) => {
    const made = (algorithm: string, secret?: string) => ({
      body: { id: 'key-9', name: 'ci', role: 'deployer', algorithm, createdAt: NOW, revision: 1, secret },
    });
    let answer: Answer = made('ed25519', 'MC4C');
    await using control = await fakeControl(() => answer);
    const create = (...more: string[]) =>
      isoplane(['keys', 'create', 'ci', '--data', control.dataDir, ...more]);
    const text = (await create()).stdout;
    expect(text).toContain(`ISOPLANE_URL=${control.origin}`);
    expect(text).toContain('ISOPLANE_KEY=default:key-9:ed25519:MC4C');
    expect(text).toMatch(/private key: PKCS #8 DER, base64url/);
    // Kept in a file, a shell reads it: `set -a; . ./ci.env`.
    await using folder = await tempFolder();
    const file = join(folder.path, 'ci.env');
    await writeFile(file, text);
    const sourced = await promisify(execFile)('sh', [
      '-ec',
      `. '${file}'; echo "$ISOPLANE_URL $ISOPLANE_KEY"`,
    ]);
    expect(sourced).toEqual({
      stdout: `${control.origin} default:key-9:ed25519:MC4C\n`,
      stderr: '',
    });
    expect(text).toContain('isoplane docs signing');
    expect((await create('--json')).json()).toMatchObject({ isoplaneKey: 'default:key-9:ed25519:MC4C' });
    answer = made('token', TOKEN);
    const token = (await create()).stdout;
    expect(token).toContain(`ISOPLANE_KEY=${TOKEN}`);
    expect(token).toContain(`authorization: Bearer ${TOKEN}`);
    answer = made('ed25519');
    const own = (await create()).stdout;
    expect(own).toContain('key-9');
    expect(own).not.toContain('ISOPLANE_KEY=');
  });

  test('revoke takes a name, guesses a misspelt one, and never sends it as part of an address', async ({
    expect,
  }) => {
    const key = { id: 'key-9', name: 'ci-deploy', role: 'deployer', algorithm: 'token', createdAt: NOW };
    await using control = await fakeControl(() => ({ body: { items: [key] } }));
    const revoke = (name: string) => isoplane(['keys', 'revoke', name, '--data', control.dataDir]);
    expect((await revoke('ci-deploy')).code).toBe(0);
    expect(control.calls.at(-1)).toMatchObject({ method: 'DELETE', url: '/v1/accounts/default/keys/key-9' });
    expect(await revoke('ci-depoly')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('"ci-deploy"') as unknown,
    });
    for (const name of ['..', '../functions/hello', 'key-1/../x']) expect((await revoke(name)).code).toBe(1);
    expect(control.calls.filter((call) => call.method === 'DELETE')).toHaveLength(1);
  });
});

describe('isoplane accounts issuer', () => {
  test('sets, shows and removes the issuer of the account, and takes no private key', async ({ expect }) => {
    await using folder = await tempFolder();
    const file = join(folder.path, 'jwks.json');
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: 'AA', kid: 'k1' };
    const account = (issuer?: object) => ({ name: 'default', createdAt: NOW, issuer });
    await using control = await fakeControl((call) => ({
      body: account(
        call.method === 'PATCH'
          ? ((JSON.parse(call.body) as { issuer: object }).issuer ?? undefined)
          : undefined,
      ),
    }));
    const issuer = (...args: string[]) =>
      isoplane(['accounts', 'issuer', ...args, '--data', control.dataDir]);
    await writeFile(file, JSON.stringify(jwk));
    const set = await issuer('set', 'https://id.example.com', file);
    expect(set.stdout).toContain('accepts tokens of https://id.example.com (keys: k1)');
    expect(control.calls.at(-1)).toMatchObject({ method: 'PATCH', url: '/v1/accounts/default' });
    expect((await issuer('show')).stdout).toContain('no issuer');
    expect((await issuer('remove')).code).toBe(0);
    expect(control.calls.at(-1)?.body).toBe('{"issuer":null}');
    await writeFile(file, JSON.stringify({ keys: [{ ...jwk, d: 'c2VjcmV0' }] }));
    const refused = await issuer('set', 'https://id.example.com', file);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('private key') as unknown });
    expect(refused.stderr).not.toContain('c2VjcmV0');
  });
});
