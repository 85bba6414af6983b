/** Requests that no well-behaved client sends, as bytes, and what the gateway must make of them. */

export interface Caller {
  readonly name: string;
  readonly bytes: (host: string) => string;
  readonly must: RegExp;
  readonly mustNot?: RegExp;
}

/** Tells all that reached it. */
export const MIRROR_SOURCE = `
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/wait') await scheduler.wait(1_000);
    const body = pathname === '/body' ? await request.text() : '';
    return Response.json({ method: request.method, url: request.url, cf: request.cf ?? null, headers: Object.fromEntries(request.headers), body });
  },
};`;

const request =
  (line: string, lines: readonly string[] = [], body = '') =>
  (host: string): string =>
    [`${line} HTTP/1.1`, `Host: ${host}`, ...lines, '', body].join('\r\n');
const OK = /^HTTP\/1\.1 200 /;
const REFUSED = /^HTTP\/1\.1 (?:400|404|405|414|421|431|501) /;
const forged = (name: string, lines: readonly string[], mustNot: RegExp): Caller => ({
  name: `forges ${name}`,
  bytes: request('GET /', lines),
  must: OK,
  mustNot,
});

export const CALLERS: readonly Caller[] = [
  forged(
    'what the runtime reads request.cf from',
    ['isoplane-cf: {"clientPid":1,"evil":1}', 'cf-blob: {"evil":1}', 'mf-cf-blob: {"evil":1}'],
    /evil|clientPid/,
  ),
  forged(
    'who calls',
    ['Isoplane-Principal: evil', 'ISOPLANE-CLAIMS: evil', 'isoplane-anything: evil'],
    /evil/,
  ),
  forged(
    'where he comes from',
    ['x-forwarded-for: evil', 'x-real-ip: evil', 'forwarded: for=evil', 'cf-connecting-ip: evil'],
    /evil/,
  ),
  forged('a request id', ['isoplane-request-id: evil', 'x-request-id: kept'], /evil/),
  forged('an outcome', ['isoplane-outcome: function_error'], /function_error/),
  {
    name: 'asks for a tunnel',
    bytes: () => 'CONNECT guess:1 HTTP/1.1\r\nhost: guess:1\r\n\r\n',
    must: /^HTTP\/1\.1 405 .*method_not_allowed/s,
  },
  {
    name: 'speaks HTTP/2',
    bytes: () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    must: /^HTTP\/1\.1 (?:400|405|505) /,
    mustNot: /"method"/,
  },
  {
    name: 'upgrades to HTTP/2',
    bytes: request('GET /', [
      'Connection: Upgrade, HTTP2-Settings',
      'Upgrade: h2c',
      'HTTP2-Settings: AAMAAABkAAQAAP__',
    ]),
    must: OK,
    mustNot: /101 Switching|http2-settings/i,
  },
  { name: 'speaks HTTP/0.9', bytes: () => 'GET /\r\n\r\n', must: /^HTTP\/1\.1 400 / },
  { name: 'names no host', bytes: () => 'GET / HTTP/1.1\r\n\r\n', must: REFUSED },
  {
    name: 'names another host in the target',
    bytes: (host) => `GET http://neighbour.localhost/ HTTP/1.1\r\nhost: ${host}\r\n\r\n`,
    must: /header_invalid/,
  },
  {
    name: 'puts a user into the host',
    bytes: () => 'GET / HTTP/1.1\r\nhost: mirror.localhost@neighbour.localhost\r\n\r\n',
    must: REFUSED,
    mustNot: /fine/,
  },
  {
    name: 'puts a path into the host',
    bytes: () => 'GET / HTTP/1.1\r\nhost: neighbour.localhost/../mirror.localhost\r\n\r\n',
    must: REFUSED,
    mustNot: /fine/,
  },
  {
    name: 'asks for a function of an account that does not exist',
    bytes: () => 'GET / HTTP/1.1\r\nhost: mirror.nobody.localhost\r\n\r\n',
    must: /function_not_found/,
  },
  {
    name: 'asks the bare domain for its secrets',
    bytes: () => 'GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n',
    must: REFUSED,
  },
  {
    name: 'sends ten thousand headers',
    bytes: request(
      'GET /',
      Array.from({ length: 10_000 }, (_, index) => `x-${index}: y`),
    ),
    must: /^HTTP\/1\.1 431 /,
  },
  {
    name: 'sends a header of a hundred kilobytes',
    bytes: request('GET /', [`x-a: ${'a'.repeat(100_000)}`]),
    must: /^HTTP\/1\.1 431 /,
  },
  { name: 'sends a method that is none', bytes: request('GE T /'), must: /^HTTP\/1\.1 400 / },
  {
    name: 'hides headers in a trailer',
    bytes: request(
      'POST /body',
      ['Transfer-Encoding: chunked', 'Trailer: isoplane-principal'],
      '1\r\nx\r\n0\r\nisoplane-principal: evil\r\nx-late: evil\r\n\r\n',
    ),
    must: OK,
    mustNot: /evil/,
  },
  {
    name: 'hides bytes in a chunk extension',
    bytes: request(
      'POST /body',
      ['Transfer-Encoding: chunked'],
      `1;${'e'.repeat(200_000)}\r\nx\r\n0\r\n\r\n`,
    ),
    must: /^HTTP\/1\.1 (?:400|413) /,
  },
  {
    name: 'asks to continue with too large a body',
    bytes: request('POST /body', ['Expect: 100-continue', 'Content-Length: 100000']),
    must: /^HTTP\/1\.1 413 .*body_too_large/s,
    mustNot: /100 Continue/,
  },
  {
    name: 'sends a bomb of zeros, compressed',
    bytes: request('POST /body', ['Content-Encoding: gzip', 'Content-Length: 4'], 'bomb'),
    must: /"body":"bomb"/,
  },
  { name: 'walks up by the path', bytes: request('GET /../../../etc/passwd'), must: OK, mustNot: /root:/ },
  {
    name: 'walks up by an encoded path',
    bytes: request('GET /%2e%2e/%2e%2e/%00/etc/passwd'),
    must: OK,
    mustNot: /root:/,
  },
  {
    name: 'begins with two slashes',
    bytes: request('GET //neighbour.localhost/'),
    must: OK,
    mustNot: /fine/,
  },
  {
    name: 'sends a second request inside a refused upgrade',
    bytes: (host) =>
      `GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\nGET /second HTTP/1.1\r\nhost: ${host}\r\nisoplane-principal: evil\r\n\r\n`,
    must: /^HTTP\/1\.1 \d{3} /,
    mustNot: /second|evil/,
  },
  {
    name: 'writes a path otherwise to get past what guards it',
    bytes: request('GET /%61dmin/../admin#x'),
    must: /^HTTP\/1\.1 400 .*target_invalid/s,
  },
  {
    name: 'hides a host in the target of an upgrade',
    bytes: request('GET //neighbour.localhost/admin', [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ]),
    must: /"url":"http:\/\/mirror\.localhost:\d+\/\/neighbour\.localhost\/admin"/,
    mustNot: /fine/,
  },
  {
    name: 'says that he is somebody else twice',
    bytes: request('GET /', ['Authorization: Bearer a', 'Authorization: Bearer b']),
    must: /^HTTP\/1\.1 400 .*header_invalid/s,
  },
  {
    name: 'claims to be a proxy that nobody named',
    bytes: request('GET /', [
      'X-Forwarded-Host: evil',
      'X-Forwarded-Proto: https',
      'True-Client-IP: evil',
      'CF-Ray: evil',
    ]),
    must: /"url":"http:.*"cf-connecting-ip":"127\.0\.0\.1"/s,
    mustNot: /evil/,
  },
  {
    name: 'speaks a coding that nobody understands',
    bytes: request(
      'POST /body',
      ['Transfer-Encoding: gzip, chunked'],
      '0\r\n\r\nGET /second HTTP/1.1\r\n\r\n',
    ),
    must: /^HTTP\/1\.1 501 /,
    mustNot: /second|HTTP\/1\.1 200/,
  },
  {
    name: 'chunks in HTTP/1.0',
    bytes: (host) => `POST /body HTTP/1.0\r\nhost: ${host}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    must: /^HTTP\/1\.1 400 /,
  },
  {
    name: 'pipelines',
    bytes: (host) =>
      Array.from({ length: 20 }, (_, index) => `GET /${index} HTTP/1.1\r\nhost: ${host}\r\n\r\n`).join(''),
    must: /(?:HTTP\/1\.1 200 .*){20}/s,
  },
];
