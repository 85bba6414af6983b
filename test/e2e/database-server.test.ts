/**
 * Goal: with its database on a server, a platform serves whatever happens to that server, and says what it cannot do.
 * Method: the real `isoplane up` and a real sqld, both killed and started again.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { beforeEach, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { noSqld, Sqld } from '#shared/testing/sqld.node.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { says } from '../support/api.ts';
import { runCli } from '../support/cli.ts';
import { callGateway } from '../support/platform.ts';
import { UpProcess } from '../support/up.ts';

const codeOf = async (up: UpProcess): Promise<unknown> =>
  ((await up.api.call('GET', 'functions')).body as { code?: unknown }).code;

beforeEach(({ skip }) => {
  if (noSqld !== undefined) skip(noSqld);
});

describe('a platform whose database is on a server', () => {
  test('serves while it is away, also after control and the whole platform were killed, and deploys when it is back', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const dataDir = join(folder.path, 'data');
    await using sqld = await Sqld.start(join(folder.path, 'sqld'));
    const args = ['--database', sqld.url('http')];
    const first = await UpProcess.start(dataDir, args);
    await first.api.deploy('hello', says('one'));
    await first.serves('hello', (text) => text === 'one');
    await sqld.kill();
    await waitFor('control to say it', async () => (await codeOf(first)) === 'database_unreachable');
    expect((await callGateway(first.gatewayUrl, 'hello')).text).toBe('one');
    process.kill(first.pids['control'] ?? 0, 'SIGKILL');
    await waitFor(
      'a control without a database',
      async () => (await codeOf(first)) === 'database_unreachable',
    );
    expect((await callGateway(first.gatewayUrl, 'hello')).text).toBe('one');
    first.killAll();
    await using second = await UpProcess.start(dataDir, args);
    await second.serves('hello', (text) => text === 'one');
    expect(await codeOf(second)).toBe('database_unreachable');
    await sqld.start();
    await waitFor('control to have its database', async () => (await codeOf(second)) === undefined);
    await second.api.deploy('hello', says('two'));
    await second.serves('hello', (text) => text === 'two');
    expect(await readFile(join(dataDir, 'cluster'), 'utf8')).toMatch(/^[\w-]+\n$/);
  });

  test('does not begin on the database of another one, nor without one, and leaves no folder', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    await using sqld = await Sqld.start(join(folder.path, 'sqld'));
    const url = sqld.url('ws');
    await (await UpProcess.start(join(folder.path, 'first'), ['--database', url]))[Symbol.asyncDispose]();
    const start = (database: string) =>
      runCli([
        '--json',
        '--data',
        join(folder.path, 'second'),
        'up',
        '--port',
        '0',
        '--control-port',
        '0',
        '--database',
        database,
      ]);
    const foreign = await start(url);
    expect([foreign.code, foreign.stdout]).toEqual([1, expect.stringContaining('database_foreign')]);
    await sqld.kill();
    const away = await start(url);
    expect([away.code, away.stdout]).toEqual([1, expect.stringContaining('database_unreachable')]);
    const wrong = await start('http://user:secret@127.0.0.1:1');
    expect([wrong.code, wrong.stdout]).toEqual([2, expect.stringContaining('token does not belong')]);
    expect(wrong.stdout + wrong.stderr).not.toContain('secret');
    await expect(readFile(join(folder.path, 'second', 'cluster'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
