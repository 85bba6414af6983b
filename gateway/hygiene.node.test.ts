/** Raw bytes at the gateway's door: whatever two readers could understand differently is refused. */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { LIMITS } from '#shared/limits.ts';
import { startHarness, type Harness } from './testing/harness.node.ts';
import { functionItems } from './testing/items.ts';

let harness: Harness;
const seen: string[][] = [];

beforeAll(async () => {
  harness = await startHarness(functionItems('hello', { limits: { requestBodyBytes: 1_000 } }));
  await harness.instance((request, response) => {
    seen.push(request.rawHeaders);
    response.writeHead(200, [
      'isoplane-secret',
      'inside',
      'connection',
      'x-hop',
      'x-hop',
      '1',
      'x-kept',
      '2',
    ]);
    request.pipe(response);
  });
});
afterAll(() => harness[Symbol.asyncDispose]());

/** Sends `text` and returns status and code of the answer. */
async function send(text: string): Promise<[number, string | undefined]> {
  const answer = await harness.exchange(text, (received) => {
    const end = received.indexOf('\r\n\r\n');
    if (received.endsWith('0\r\n\r\n')) return true;
    const length = /content-length: (\d+)/i.exec(received)?.[1];
    return end >= 0 && length !== undefined && received.length >= end + 4 + Number(length);
  });
  return [Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]), /"code":"([a-z_]+)"/.exec(answer)?.[1]];
}

const HEAD = 'POST / HTTP/1.1\r\nHost: hello.localhost\r\n';

describe('request hygiene', () => {
  test.for([
    ['two content-lengths', `${HEAD}Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde`],
    ['two equal content-lengths', `${HEAD}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`],
    ['a list of content-lengths', `${HEAD}Content-Length: 3, 3\r\n\r\nabc`],
    [
      'transfer-encoding and content-length',
      `${HEAD}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`,
    ],
    [
      'content-length and transfer-encoding',
      `${HEAD}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ['an obscured transfer-encoding', `${HEAD}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['a folded header', `${HEAD}X-A: one\r\n two\r\n\r\n`],
    ['a space before the colon', `${HEAD}X-A : one\r\n\r\n`],
    ['a control character in a value', `${HEAD}X-A: a\u0001b\r\n\r\n`],
    ['a null byte in a value', `${HEAD}X-A: a\u0000b\r\n\r\n`],
    ['a bare carriage return', `${HEAD}X-A: a\rb\r\n\r\n`],
    ['two hosts', `GET / HTTP/1.1\r\nHost: hello.localhost\r\nHost: other.localhost\r\n\r\n`],
    ['no host', `GET / HTTP/1.1\r\n\r\n`],
    ['another host in the target', `GET http://other.localhost/ HTTP/1.1\r\nHost: hello.localhost\r\n\r\n`],
    ['an unusable host', `GET / HTTP/1.1\r\nHost: hello.localhost/evil\r\n\r\n`],
    [
      'chunked in HTTP/1.0',
      `POST / HTTP/1.0\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      'two authorizations',
      `${HEAD}Authorization: Bearer a\r\nAuthorization: Bearer b\r\nContent-Length: 0\r\n\r\n`,
    ],
    ['chunked twice', `${HEAD}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`],
  ] as const)('refuses %s', async ([, text], { expect }) => {
    const before = seen.length;
    const [status, code] = await send(text);
    expect([status, ['header_invalid', 'bad_request'].includes(code ?? '')]).toEqual([400, true]);
    expect(seen.length).toBe(before);
  });

  test.for([
    [
      'a coding that it does not understand',
      `${HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
      501,
      'not_implemented',
    ],
    [
      'a method that nobody knows',
      'BREW / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n',
      501,
      'not_implemented',
    ],
    ['a method in small letters', 'get / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n', 501, 'not_implemented'],
    [
      'HTTP/2 in the request line',
      'GET / HTTP/2.0\r\nHost: hello.localhost\r\n\r\n',
      505,
      'version_not_supported',
    ],
    [
      'a version that does not exist',
      'GET / HTTP/1.7\r\nHost: hello.localhost\r\n\r\n',
      505,
      'version_not_supported',
    ],
    [
      'bytes that no URL holds',
      'GET /\u00c3\u00bc HTTP/1.1\r\nHost: hello.localhost\r\n\r\n',
      400,
      'target_invalid',
    ],
    ['a fragment', 'GET /admin#x HTTP/1.1\r\nHost: hello.localhost\r\n\r\n', 400, 'target_invalid'],
    ['a form for servers', 'OPTIONS * HTTP/1.1\r\nHost: hello.localhost\r\n\r\n', 400, 'target_invalid'],
  ] as const)('refuses %s with its own code', async ([, text, status, code], { expect }) => {
    expect(await send(text)).toEqual([status, code]);
  });

  test.for([
    ['two hosts', 'GET / HTTP/1.1\r\nHost: hello.localhost\r\nHost: hello.localhost\r\n\r\n'],
    ['a fragment', 'GET /#x HTTP/1.1\r\nHost: hello.localhost\r\n\r\n'],
    [
      'two authorizations',
      'GET / HTTP/1.1\r\nHost: hello.localhost\r\nAuthorization: a\r\nAuthorization: a\r\n\r\n',
    ],
  ] as const)('closes the connection after %s', async ([, text], { expect }) => {
    const before = seen.length;
    // exchange() without a condition ends only when the gateway closes.
    const answer = await harness.exchange(`${text}GET /next HTTP/1.1\r\nHost: hello.localhost\r\n\r\n`);
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400']);
    expect([/^connection: close\r$/im.test(answer), seen.length]).toEqual([true, before]);
  });

  test('strips what only the gateway may say, and what ends at a hop', async ({ expect }) => {
    await send(
      `${HEAD}Isoplane-Principal: owner\r\nISOPLANE-REQUEST-ID: mine\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 1.2.3.4\r\n` +
        'CF-Blob: {}\r\nConnection: x-hop, host\r\nX-Hop: 1\r\nTE: trailers\r\nX-Kept: 2\r\nContent-Length: 1\r\n\r\na',
    );
    const headers = new Map<string, string>();
    const raw = seen.at(-1) ?? [];
    for (let index = 0; index < raw.length; index += 2)
      headers.set(raw[index]!.toLowerCase(), raw[index + 1]!);
    expect(headers.get('isoplane-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    headers.delete('isoplane-request-id');
    expect(Object.fromEntries(headers)).toEqual({
      host: 'hello.localhost',
      'x-kept': '2',
      'content-length': '1',
      'cf-connecting-ip': '127.0.0.1',
      'isoplane-client-address': '127.0.0.1',
      'isoplane-cf': '{}',
    });
  });

  test("strips the instance's own hop-by-hop and isoplane headers", async ({ expect }) => {
    const answer = await harness.request('hello.localhost');
    expect([
      answer.headers.get('isoplane-secret'),
      answer.headers.get('x-hop'),
      answer.headers.get('x-kept'),
    ]).toEqual([null, null, '2']);
    await answer.text();
  });

  test('bounds the URL, at the bound and one past it', async ({ expect }) => {
    const path = (bytes: number): string =>
      `GET /${'a'.repeat(bytes - 1)} HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n`;
    expect((await harness.exchange(path(LIMITS.urlBytesMax))).startsWith('HTTP/1.1 200')).toBe(true);
    expect(await send(path(LIMITS.urlBytesMax + 1))).toEqual([414, 'url_too_long']);
    expect(await send(path(LIMITS.urlBytesMax + LIMITS.headerBytesMax + 100))).toEqual([414, 'url_too_long']);
  });

  test('bounds the headers, at the bound and one past it', async ({ expect }) => {
    const fixed = 'Host: hello.localhost\r\nConnection: close\r\nX: \r\n'.length;
    const text = (bytes: number): string =>
      `GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\nX: ${'a'.repeat(bytes - fixed)}\r\n\r\n`;
    expect((await harness.exchange(text(LIMITS.headerBytesMax))).startsWith('HTTP/1.1 200')).toBe(true);
    expect(await send(text(LIMITS.headerBytesMax + 1))).toEqual([431, 'headers_too_large']);
    expect(await send(text(2 * LIMITS.headerBytesMax))).toEqual([431, 'headers_too_large']);
  });

  test('bounds the body, said or streamed, at the bound and one past it', async ({ expect }) => {
    const said = (bytes: number): Promise<Response> =>
      harness.request('hello.localhost', { method: 'POST', body: 'a'.repeat(bytes) });
    expect((await (await said(1_000)).text()).length).toBe(1_000);
    const refused = await said(1_001);
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([
      413,
      'body_too_large',
    ]);
    const chunked = (bytes: number): string =>
      `${HEAD}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n${bytes.toString(16)}\r\n${'a'.repeat(bytes)}\r\n0\r\n\r\n`;
    expect((await harness.exchange(chunked(1_000))).startsWith('HTTP/1.1 200')).toBe(true);
    expect(await send(chunked(1_001))).toEqual([413, 'body_too_large']);
  });

  test('answers pipelined requests in order, HTTP/1.0 without chunks, and HEAD without a body', async ({
    expect,
  }) => {
    const two = await harness.exchange(
      `${HEAD}Content-Length: 3\r\n\r\none${HEAD}Connection: close\r\nContent-Length: 3\r\n\r\ntwo`,
    );
    expect(two.indexOf('one')).toBeLessThan(two.indexOf('two'));
    expect(two.match(/HTTP\/1\.1 200/g)?.length).toBe(2);
    const old = await harness.exchange(
      'POST / HTTP/1.0\r\nHost: hello.localhost\r\nContent-Length: 3\r\n\r\nabc',
    );
    expect([/transfer-encoding/i.test(old), old.endsWith('abc')]).toEqual([false, true]);
    const head = await harness.exchange(
      'HEAD / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n',
    );
    expect([head.startsWith('HTTP/1.1 200'), head.endsWith('\r\n\r\n')]).toEqual([true, true]);
  });

  test('asks for the body of an Expect: 100-continue only when the request may pass', async ({ expect }) => {
    const passed = await harness.exchange(
      `${HEAD}Connection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc`,
    );
    expect(passed).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200/);
    const refused = await send(
      'POST / HTTP/1.1\r\nHost: nobody.localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n',
    );
    expect(refused).toEqual([404, 'function_not_found']);
  });

  test('refuses CONNECT and garbage with problem documents', async ({ expect }) => {
    expect(await send('CONNECT a:1 HTTP/1.1\r\nHost: hello.localhost\r\n\r\n')).toEqual([
      405,
      'method_not_allowed',
    ]);
    expect(await send('\u0016\u0003\u0001 hello\r\n\r\n')).toEqual([400, 'bad_request']);
  });
});
