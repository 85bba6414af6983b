/** Where the keys of a token issuer come from, and what setting them takes away. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { fakeControl } from '../testing/fake-control.ts';
import { isoplane } from '../testing/run-command.ts';
import { tempProject } from '../testing/temp-project.ts';

const key = (kid: string) => ({
  kty: 'OKP',
  crv: 'Ed25519',
  kid,
  x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
});

interface Site extends AsyncDisposable {
  readonly url: string;
}

async function site(answer: Parameters<typeof createServer>[1]): Promise<Site> {
  const server: Server = createServer(answer ?? (() => undefined));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Control that keeps the issuer of the account. */
async function account(before?: object) {
  let issuer: unknown = before;
  return fakeControl(({ method, body }) => {
    if (method === 'PATCH') ({ issuer } = JSON.parse(body) as { issuer: unknown });
    return { body: { name: 'default', createdAt: '2026-01-01T00:00:00Z', issuer } };
  });
}

const set = (dataDir: string, issuer: string, from: string) =>
  isoplane(['accounts', 'issuer', 'set', issuer, from], { env: { ISOPLANE_DATA_DIR: dataDir } });

describe('isoplane accounts issuer set', () => {
  test('reads the keys from a URL once, and says to repeat it when they change', async ({ expect }) => {
    await using provider = await site((_request, response) => {
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: [key('one')] }));
    });
    await using control = await account();
    const outcome = await set(control.dataDir, 'https://id.example.com/', provider.url);
    expect(outcome.code, outcome.stderr).toBe(0);
    expect(outcome.stdout).toContain('accepts tokens of https://id.example.com/ (keys: one)');
    expect(outcome.stderr).toContain('read once');
    expect(outcome.stderr).not.toContain('warning');
    const sent = control.calls.find(({ method }) => method === 'PATCH');
    expect(JSON.parse(sent?.body ?? '')).toEqual({
      issuer: { issuer: 'https://id.example.com/', jwks: { keys: [key('one')] } },
    });
  });

  test.for([
    ['answers 404', 404, 'no', /the answer is 404\. \[jwks_unreachable\][^]*curl/],
    ['answers what is no JSON', 200, '<html>', /is not JSON/],
    ['redirects', 302, '', /jwks_unreachable/],
    ['never ends', 200, 'x'.repeat(1_100_000), /more than 1048576 bytes/],
  ] as const)('changes nothing where the URL %s', async ([, status, text, says], { expect }) => {
    await using provider = await site((_request, response) => {
      response.writeHead(status, { location: 'https://elsewhere.test/' }).end(text);
    });
    await using control = await account();
    const outcome = await set(control.dataDir, 'i', provider.url);
    expect(outcome.code).not.toBe(0);
    expect(outcome.stderr).toMatch(says);
    expect(control.calls).toEqual([]);
  });

  test('fetches no keys in the clear from another machine', async ({ expect }) => {
    await using control = await account();
    const outcome = await set(control.dataDir, 'i', 'http://id.example.com/jwks.json');
    expect([outcome.code, outcome.stderr]).toEqual([2, expect.stringContaining('https:// alone') as string]);
  });

  test('warns of the tokens that it takes away: of another issuer, or of keys that are gone', async ({
    expect,
  }) => {
    await using folder = await tempProject({ 'jwks.json': JSON.stringify({ keys: [key('two')] }) });
    const file = join(folder.path, 'jwks.json');
    const before = { issuer: 'https://old.example.com', jwks: { keys: [key('one'), key('two')] } };
    await using control = await account(before);
    const rotated = await set(control.dataDir, 'https://old.example.com', file);
    expect(rotated.stderr).toContain('tokens signed by one are refused from now on');
    const replaced = await set(control.dataDir, 'https://new.example.com', file);
    expect(replaced.code).toBe(0);
    expect(replaced.stderr).toContain('tokens of https://old.example.com are refused from now on');
    expect((await set(control.dataDir, 'https://new.example.com', file)).stderr).toBe('');
  });
});
