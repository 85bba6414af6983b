/**
 * Wrong, missing and odd input to commands: each answers with what is wrong and what to do, never with `internal`, and as
 * JSON when asked.
 */
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { fakeControl, type Answer, type SeenCall } from '../testing/fake-control.ts';
import { isoplane } from '../testing/run-command.ts';
import { tempProject } from '../testing/temp-project.ts';

const absent =
  (code: string) =>
  (call: SeenCall): Answer =>
    call.method === 'GET' && call.url.includes('limit=')
      ? { body: { items: [] } }
      : { status: 404, body: { code } };

type Case = readonly [args: readonly string[], exitCode: number, says: RegExp];

const LOCAL: readonly Case[] = [
  [['versions', 'hello', '--delete', 'abc'], 2, /--delete: give a whole number/],
  [['layers', 'show', 'greet', 'x'], 2, /version: give a whole number/],
  [['invoke', 'hello', '--path', 'x'], 2, /--path: a path starts with \/ \(given: "x"\)/],
  [['invoke', 'hello', '-X', 'G T'], 2, /--method: a method is a word/],
  [['keys', 'create', 'ci', '--expires', '2020-01-01T00:00:00Z'], 2, /--expires: .* has passed/],
  [['keys', 'create', 'ci', '--function', 'NO'], 2, /functions\.0: .* \(given: "NO"\)/],
  [['routes', 'add', 'a.example.com', 'x', 'hello'], 2, /path: a path starts with \//],
  [['kv', 'put', 'links', 'key'], 2, /Give a value, or --file FILE/],
  [['kv', 'put', 'links', 'key', 'value', '--file', 'x'], 2, /not both/],
  [['kv', 'put', 'links', 'key', '--file', '/nowhere'], 1, /\/nowhere cannot be used: there is no such file/],
  [['accept-data-loss', '--yes', '--data', '/nowhere'], 2, /there is no such folder/],
  [['docs', 'assets'], 2, /There is no topic assets[\s\S]*`isoplane docs config assets` shows the section/],
  [['docs', 'config', 'nothing'], 2, /compatibilityDate/],
  [['init', '/proc/isoplane'], 1, /\/proc\/isoplane cannot be used/],
];

const REMOTE: readonly (readonly [string, Case])[] = [
  ['account_not_found', [['logs', 'nope', '--account', 'nobody'], 1, /There is no account nobody/]],
  ['account_not_found', [['accounts', 'ceilings', 'nope'], 1, /There is no account nope/]],
  ['function_not_found', [['rollback', 'nope'], 1, /There is no such function[\s\S]*no function nope/]],
  ['no_previous_version', [['rollback', 'hello'], 1, /rollback hello --to N.*isoplane versions hello/]],
  ['version_not_found', [['rollback', 'hello', '--to', '9'], 1, /isoplane versions hello/]],
  ['alias_not_found', [['aliases', 'delete', 'hello', 'beta'], 1, /no alias beta[\s\S]*aliases list hello/]],
  ['token_missing', [['invoke', 'hello'], 1, /-H "authorization: Bearer TOKEN"/]],
  ['token_invalid', [['invoke', 'hello'], 1, /isoplane accounts issuer show/]],
  ['signature_invalid', [['invoke', 'hello'], 1, /The key is revoked, or of another platform/]],
  ['signature_invalid', [['functions', 'list'], 1, /keys create NAME/]],
  ['secret_not_found', [['secrets', 'delete', 'KEY'], 1, /no secret KEY[\s\S]*isoplane secrets list/]],
  ['namespace_not_found', [['kv', 'delete', 'links'], 1, /no KV namespace links[\s\S]*isoplane kv list/]],
];

describe('odd input', () => {
  test.for(LOCAL)('%o', async ([args, exitCode, says], { expect }) => {
    await using control = await fakeControl(() => ({ status: 500, body: { code: 'internal' } }));
    const env = { ISOPLANE_DATA_DIR: control.dataDir };
    const [plain, json] = await Promise.all([
      isoplane(args, { env }),
      isoplane([...args, '--json'], { env }),
    ]);
    expect(plain, plain.stderr).toMatchObject({ code: exitCode, stdout: '' });
    expect(plain.stderr).toMatch(says);
    expect(plain.stderr).not.toContain('[internal]');
    expect(json.code).toBe(exitCode);
    expect(json.json()).toMatchObject({ error: { code: expect.any(String) as unknown } });
    expect(control.calls).toEqual([]);
  });

  test.for(REMOTE)('%o', async ([code, [args, exitCode, says]], { expect }) => {
    await using control = await fakeControl(absent(code));
    const result = await isoplane([...args, '--data', control.dataDir]);
    expect(result, result.stderr).toMatchObject({ code: exitCode, stdout: '' });
    expect(result.stderr).toMatch(says);
  });

  test('of a project: options and files name themselves', async ({ expect }) => {
    await using folder = await tempProject({
      'isoplane.jsonc': '{ "name": "a", "main": "a.ts", "compatibilityDate": "2026-11-01" }',
      'a.ts': 'export default { fetch: () => new Response() };',
      'secrets.txt': 'no line of the form',
    });
    const run = (...args: string[]) => isoplane(args, { cwd: folder.path });
    const long = await run('deploy', '--dry-run', '--message', 'x'.repeat(1_001));
    expect(long).toMatchObject({ code: 2 });
    expect(long.stderr).toMatch(/--message: .*1000/);
    expect(long.stderr.length).toBeLessThan(400);
    expect((await run('deploy', '--dry-run', '--secrets-file', 'secrets.txt')).stderr).toContain(
      'no NAME=value line',
    );
    const types = await run('types', '--output', join(folder.path, 'none', 'x.d.ts'));
    expect(types).toMatchObject({ code: 1 });
    expect(types.stderr).toContain('there is no such file or folder. [file_unusable]');
  });
});
