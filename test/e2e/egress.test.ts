/**
 * Goal: functions reach out through the proxy alone, under their rules, with headers that they never see.
 * Method: a real platform that may reach loopback, and a server there that tells what it heard.
 */
import { readdir, readFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { runCli, type CliResult } from '../support/cli.ts';
import { TestPlatform } from '../support/platform.ts';

const FIRST = 'first-value-4711';
const SECOND = 'second-value-0815';

let platform: TestPlatform;
let target: Server;
let heard: IncomingHttpHeaders[] = [];

const origin = (): string => `127.0.0.1:${(target.address() as AddressInfo).port}`;
const secrets = (args: readonly string[], stdin?: string): Promise<CliResult> =>
  runCli(['--data', platform.dataDir, 'secrets', ...args], stdin === undefined ? {} : { stdin });

/** Answers all that code can see of its request and of its world. */
const CURIOUS = (url: string): string => `
export default { async fetch(request, env) {
  const outgoing = new Request('http://${url}/', { headers: { 'x-api-key': 'guess' } });
  const answer = await fetch(outgoing);
  const seen = { env, text: await answer.text(), out: [...outgoing.headers], back: [...answer.headers], own: [...request.headers] };
  console.log(JSON.stringify(seen));
  return Response.json(seen);
} };`;

const tries = (url: string): string =>
  `await fetch(${JSON.stringify(url)}).then((answer) => answer.status, String)`;

beforeAll(async () => {
  platform = await TestPlatform.start({ egressAllowPrivate: ['127.0.0.0/8'] });
  target = createServer((request, response) => {
    heard.push(request.headers);
    response.end('thanks');
  });
  await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  target?.closeAllConnections();
  target?.close();
});

describe('a header with a secret', () => {
  test('reaches the target; the function, its log, the disk and every answer know nothing of it', async ({
    expect,
  }) => {
    const put = await secrets(['put', 'api-key'], `${FIRST}\n`);
    expect(put.code, put.stderr).toBe(0);
    await platform.api.deploy('curious', {
      modules: { 'index.js': CURIOUS(origin()) },
      config: {
        auth: { mode: 'public' },
        egress: {
          allow: [origin()],
          headers: [{ host: origin(), header: 'X-Api-Key', secret: 'api-key', prefix: 'Key ' }],
        },
      },
    });
    const answer = await platform.call('curious');
    expect(answer.status, answer.text).toBe(200);
    expect(heard).toMatchObject([{ 'x-api-key': `Key ${FIRST}` }]);
    expect(answer.text).toContain('thanks');
    const logs = await waitFor('the log', async () => {
      const { stdout } = await platform.cli(['logs', 'curious']);
      return stdout.includes('thanks') ? stdout : undefined;
    });
    const list = await secrets(['list', '--json']);
    for (const text of [answer.text, logs, put.stdout, put.stderr, list.stdout])
      expect(text).not.toContain(FIRST);
    expect(list.stdout).toContain('"api-key"');
    for (const entry of await readdir(platform.dataDir, { recursive: true, withFileTypes: true }))
      if (entry.isFile())
        expect((await readFile(join(entry.parentPath, entry.name))).includes(FIRST), entry.name).toBe(false);
  });

  test('is replaced without a deployment', async ({ expect }) => {
    expect((await secrets(['put', 'api-key'], SECOND)).code).toBe(0);
    await waitFor('the new value to be sent', async () => {
      heard = [];
      await platform.call('curious');
      return heard[0]?.['x-api-key'] === `Key ${SECOND}`;
    });
  });

  test('cannot be taken away from a version that is served, nor named before it exists', async ({
    expect,
  }) => {
    const deleted = await secrets(['delete', 'api-key', '--json']);
    expect([deleted.code, deleted.stdout]).toEqual([expect.any(Number), expect.stringContaining('in_use')]);
    const refused = await platform.api.upload('other', {
      modules: { 'index.js': 'export default { fetch() { return new Response(); } };' },
      config: { egress: { headers: [{ host: 'a.b', header: 'x', secret: 'none' }] } },
    });
    expect(refused.body).toMatchObject({ code: 'secret_not_found' });
  });

  test('is never taken from the command line', async ({ expect }) => {
    const result = await secrets(['put', 'api-key', FIRST], '');
    expect(result.code).not.toBe(0);
  });
});

test('event functions reach nothing by default, HTTP functions the public web alone', async ({ expect }) => {
  heard = [];
  await platform.api.deploy('event', {
    modules: { 'index.js': `export const handler = async () => ${tries(`http://${origin()}/`)};` },
    config: { style: 'event', auth: { mode: 'public' } },
  });
  const event = await platform.call('event', { method: 'POST' });
  expect(event.text).not.toBe('200');
  await platform.api.deploy('web', {
    modules: {
      'index.js': `export default { async fetch() { return Response.json([${[
        tries(`http://${origin()}/`),
        tries('http://169.254.169.254/latest/meta-data/'),
        tries('http://[::1]/'),
        tries('http://10.0.0.1/'),
      ].join(', ')}]); } };`,
    },
    config: { auth: { mode: 'public' } },
  });
  const web = JSON.parse((await platform.call('web')).text) as string[];
  expect(web).toHaveLength(4);
  for (const text of web) expect(text).toMatch(/^TypeError: egress_denied: /);
  expect(heard).toEqual([]);
  const log = await waitFor('the owner to be told', async () => {
    const { stdout } = await platform.cli(['logs', 'web']);
    return stdout.includes('egress_denied') ? stdout : undefined;
  });
  expect(log).toContain('169.254.169.254');
});
