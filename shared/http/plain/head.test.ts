/** Which requests are plain. What is not is left to Node's parser, so nothing here is refused. */
import { describe, test } from 'vitest';
import { LIMITS } from '#shared/limits.ts';
import { readPlain } from './head.ts';

const read = (text: string): ReturnType<typeof readPlain> => readPlain(Buffer.from(text, 'latin1'));
const get = (lines: readonly string[] = [], line = 'GET / HTTP/1.1'): string =>
  [line, 'Host: a', ...lines, '', ''].join('\r\n');

describe('readPlain()', () => {
  test('reads method, target, headers in order and as written, and the body', ({ expect }) => {
    const head = read(
      'POST /a?b=1 HTTP/1.1\r\nHost:a\r\nX-One: \t1 \t\r\nx-one:\r\nContent-Length: 3\r\n\r\nabc',
    );
    expect({ ...head, body: head?.body.toString() }).toEqual({
      method: 'POST',
      target: { path: '/a', query: '?b=1', raw: '/a?b=1', lax: undefined },
      rawHeaders: ['Host', 'a', 'X-One', '1', 'x-one', '', 'Content-Length', '3'],
      body: 'abc',
      keepAlive: true,
    });
  });

  test.for([
    ['Connection: close', false],
    ['connection: Close', false],
    ['Connection: keep-alive', true],
    ['X: 1', true],
  ] as const)('%s: keeps the connection: %j', ([line, keepAlive], { expect }) => {
    expect(read(get([line]))?.keepAlive).toBe(keepAlive);
  });

  test.for(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('knows %s', (method, { expect }) => {
    expect(read(get([], `${method} / HTTP/1.1`))?.method).toBe(method);
  });

  test('keeps bytes beyond ASCII in values, and spaces that are none of HTTP', ({ expect }) => {
    expect(read(get(['X: \u00a0\u00e6\u0085 ']))?.rawHeaders.at(-1)).toBe('\u00a0\u00e6\u0085');
  });

  test.for([
    ['half a head', 'GET / HTTP/1.1\r\nHost: a\r\n'],
    ['nothing', ''],
    ['an empty line first', `\r\n${get()}`],
    ['two requests', get() + get()],
    ['a byte behind the request', `${get()}x`],
    ['half a body', `${get(['Content-Length: 4'])}abc`],
    ['more than the body', `${get(['Content-Length: 2'])}abc`],
    ['no headers', 'GET / HTTP/1.1\r\n\r\n'],
    ['no host', 'GET / HTTP/1.1\r\nX: a\r\n\r\n'],
    ['two hosts', get(['Host: a'])],
    ['a host that is none', get().replace('Host: a', 'Host: a/b')],
    ['another method', get([], 'CONNECT / HTTP/1.1')],
    ['a method in small letters', get([], 'get / HTTP/1.1')],
    ['HTTP/1.0', get([], 'GET / HTTP/1.0')],
    ['HTTP/2.0', get([], 'GET / HTTP/2.0')],
    ['HTTP/0.9', 'GET /\r\n\r\n'],
    ['an absolute target', get([], 'GET http://a/ HTTP/1.1')],
    ['a target for servers', get([], 'OPTIONS * HTTP/1.1')],
    ['a fragment', get([], 'GET /#x HTTP/1.1')],
    ['a space in the target', get([], 'GET /a b HTTP/1.1')],
    ['a target beyond ASCII', get([], 'GET /\u00e6 HTTP/1.1')],
    ['a control character in the target', get([], 'GET /\u007f HTTP/1.1')],
    ['two spaces', get([], 'GET  / HTTP/1.1')],
    ['lines that end in LF alone', get().replaceAll('\r\n', '\n')],
    ['one such line', get(['X: a\nY: b'])],
    ['a bare carriage return', get(['X: a\rb'])],
    ['a null byte in a value', get(['X: a\u0000b'])],
    ['a null byte in a name', get(['X\u0000: a'])],
    ['a space before the colon', get(['X : a'])],
    ['a folded line', get(['X: a', ' b'])],
    ['no colon', get(['X'])],
    ['no name', get([': a'])],
    ['an upgrade', get(['Connection: Upgrade', 'Upgrade: websocket'])],
    ['an upgrade alone', get(['UPGRADE: h2c'])],
    ['other options of the connection', get(['Connection: close, x'])],
    ['two Connection headers', get(['Connection: close', 'Connection: close'])],
    ['a Proxy-Connection', get(['Proxy-Connection: close'])],
    ['an expectation', get(['Expect: 100-continue'])],
    ['a transfer coding', `${get(['Transfer-Encoding: chunked'])}0\r\n\r\n`],
    ['trailers', get(['Trailer: x'])],
    ['two lengths', `${get(['Content-Length: 1', 'Content-Length: 1'])}a`],
    ['a list of lengths', `${get(['Content-Length: 1, 1'])}a`],
    ['a signed length', `${get(['Content-Length: +1'])}a`],
    ['a length with zeros', `${get(['Content-Length: 01'])}a`],
    ['a length in hexadecimal', `${get(['Content-Length: 0x1'])}a`],
    ['an empty length', get(['Content-Length:'])],
    ['two authorizations', get(['Authorization: a', 'Authorization: b'])],
  ] as const)('leaves %s to Node', ([, text], { expect }) => {
    expect(read(text)).toBeUndefined();
  });

  test('takes a head of 16 KiB, and leaves one of a byte more to Node', ({ expect }) => {
    const bytes = (size: number): string => get([`X: ${'a'.repeat(size - get(['X: ']).length + 4)}`]);
    expect(bytes(16_384 + 4).length).toBe(16_384 + 4 + 4);
    expect(read(bytes(16_384))).toBeDefined();
    expect(read(bytes(16_385))).toBeUndefined();
    expect(LIMITS.urlBytesMax).toBeGreaterThanOrEqual(16_384);
  });
});
