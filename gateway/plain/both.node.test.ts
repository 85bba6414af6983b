/**
 * Goal: a client cannot tell whether its connection is read by the gateway itself or by Node's server. Method: the same
 * bytes to both, answers compared byte by byte; then what only a connection can do: stay, be given over, end.
 */
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { startHarness, type Harness, type HarnessOptions } from '../testing/harness.node.ts';
import { functionItems } from '../testing/items.ts';

const BIG = 'x'.repeat(300_000);

const instance: RequestListener = (request, response) => {
  switch (request.url) {
    case '/none':
      return void response.writeHead(204).end();
    case '/same':
      return void response.writeHead(304, { etag: '"a"' }).end();
    case '/pieces':
      response.write('one ');
      setTimeout(() => response.write('two '), 20);
      return void setTimeout(() => response.end('three'), 40);
    case '/big':
      return void response.writeHead(200, { 'content-length': BIG.length }).end(BIG);
    case '/big-pieces':
      response.write(BIG);
      return void response.end(BIG);
    case '/odd':
      return void response
        .writeHead(200, 'F\u00fcnf', [
          'X-A',
          '\u00e6\u00a0',
          'x-a',
          '',
          'Set-Cookie',
          'a=b; Domain=localhost',
          'Date',
          'long ago',
          'Connection',
          'x-hop',
          'x-hop',
          '1',
        ])
        .end('x');
    case '/thrown':
      return void response.writeHead(500, { 'isoplane-outcome': 'function_error' }).end('secret');
    case '/own-500':
      return void response.writeHead(500, { 'isoplane-outcome': 'answered' }).end('mine');
    case '/reset':
      return void request.socket.destroy();
    case '/cut':
      response.writeHead(200, { 'content-length': 10 });
      return void response.write('abc', () => request.socket.destroy());
    default:
      return void request.pipe(response);
  }
};

const items = [
  ...functionItems('hello', {
    limits: { requestBodyBytes: 50_000 },
    cors: { origins: ['https://app.example.com'] },
  }),
  ...functionItems('vault', { auth: { mode: 'signed' } }),
];

async function open(options: HarnessOptions = {}): Promise<Harness> {
  const started = await startHarness(items, options);
  await started.instance(instance);
  return started;
}

/** Requests that Node's server has seen. */
function countAtNode({ plane }: Harness): { count: number } {
  const seen = { count: 0 };
  plane.server.prependListener('request', () => void (seen.count += 1));
  return seen;
}

const head = (line: string, lines: readonly string[] = [], body = '', host = 'hello.localhost'): string =>
  [`${line} HTTP/1.1`, `Host: ${host}`, ...lines, '', body].join('\r\n');
const LAST = head('GET /healthz', ['Connection: close'], '', 'localhost');

/** Answers to requests that are sent one after the other on one connection, until the gateway closes it. */
async function talk(gateway: Harness, requests: readonly string[]): Promise<string[]> {
  const socket = gateway.raw();
  const answers: string[] = [];
  let received = '';
  let closed = false;
  socket.on('data', (chunk) => (received += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  socket.on('close', () => (closed = true));
  for (const request of requests) {
    received = '';
    socket.write(request, 'latin1');
    await waitFor('an answer', () => closed || isWhole(received, request));
    answers.push(received);
    if (closed) break;
  }
  socket.destroy();
  return answers;
}

function isWhole(received: string, request: string): boolean {
  const end = received.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const top = received.slice(0, end).toLowerCase();
  if (request.startsWith('HEAD') || / (?:204|304) /.test(top.slice(0, 14))) return true;
  if (top.includes('transfer-encoding: chunked')) return received.endsWith('0\r\n\r\n');
  return received.length >= end + 4 + Number(/content-length: (\d+)/.exec(top)?.[1] ?? 0);
}

/** Without what differs from one answer to the next. Chunks of a body may be cut anywhere. */
function comparable(answer: string): string {
  const text = answer
    .replace(/^Date: (?!long).*\r$/m, 'Date: now\r')
    .replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'ID');
  if (!/^transfer-encoding: chunked\r$/im.test(text)) return text;
  const at = text.indexOf('\r\n\r\n') + 4;
  let body = '';
  for (let rest = text.slice(at); rest !== '';) {
    const size = Number.parseInt(rest, 16);
    const from = rest.indexOf('\r\n') + 2;
    body += rest.slice(from, from + size);
    if (size === 0) break;
    rest = rest.slice(from + size + 2);
  }
  return text.slice(0, at) + body;
}

const BROWSER = 'Origin: https://app.example.com';
const CASES: readonly (readonly [string, string])[] = [
  ['a GET', head('GET /a?b=1', ['Accept: */*'])],
  ['a POST with a body', head('POST /', ['Content-Length: 3'], 'abc')],
  ['a POST without one', head('POST /', ['Content-Length: 0'])],
  ['a PUT with 40,000 bytes', head('PUT /', ['Content-Length: 40000'], 'y'.repeat(40_000))],
  ['a HEAD', head('HEAD /big')],
  ['a HEAD of pieces', head('HEAD /pieces')],
  ['an answer without a body', head('GET /none')],
  ['an answer that nothing has changed', head('GET /same')],
  ['an answer in pieces', head('GET /pieces')],
  ['a large answer', head('GET /big')],
  ['a large answer in pieces', head('GET /big-pieces')],
  ['odd headers', head('GET /odd')],
  ['a handler that threw', head('GET /thrown')],
  ['a status 500 of its own', head('GET /own-500')],
  ['an answer that breaks off', head('GET /cut')],
  ['a body over the bound', head('POST /', ['Content-Length: 50001'], 'z'.repeat(50_001))],
  ['a preflight', head('OPTIONS /', [BROWSER, 'Access-Control-Request-Method: PUT'])],
  ['another origin', head('GET /a', [BROWSER])],
  ['nobody known', head('GET /', [], '', 'vault.localhost')],
  ['no such function', head('GET /', [], '', 'nobody.localhost')],
  ['a function named twice', head('GET //x%2fy')],
  ['the bare domain', head('GET /healthz', [], '', 'localhost')],
  ['a request to close', head('GET /a', ['Connection: close'])],
  ['a refusal and to close', head('GET /', ['Connection: close'], '', 'nobody.localhost')],
];

describe('answers', () => {
  let plain: Harness;
  let node: Harness;
  const atNode = { plain: { count: 0 }, node: { count: 0 } };
  beforeAll(async () => {
    plain = await open({ plain: true });
    node = await open({ plain: false });
    atNode.plain = countAtNode(plain);
    atNode.node = countAtNode(node);
  });
  afterAll(() => Promise.all([plain, node].map((each) => each?.[Symbol.asyncDispose]())));

  test.for(CASES)('%s: the same bytes', async ([, request], { expect }) => {
    const before = [atNode.plain.count, atNode.node.count];
    const [byUs = [], byNode = []] = await Promise.all(
      [plain, node].map((each) => talk(each, [request, LAST])),
    );
    expect(byUs.map(comparable)).toEqual(byNode.map(comparable));
    expect(byUs[0]).toMatch(/^HTTP\/1\.1 \d{3} /);
    // It was the gateway itself that read one of them, and Node the other.
    expect(atNode.plain.count).toBe(before[0]);
    expect(atNode.node.count).toBeGreaterThan(before[1] ?? 0);
  });

  test('an instance that ends without an answer: the same bytes', async ({ expect }) => {
    const answers = await Promise.all([plain, node].map((each) => talk(each, [head('GET /reset'), LAST])));
    expect(answers[0]?.map(comparable)).toEqual(answers[1]?.map(comparable));
  });

  test('an expectation that nobody meets is a problem document', async ({ expect }) => {
    for (const gateway of [plain, node]) {
      const [answer = ''] = await talk(gateway, [head('GET /', ['Expect: a-lot'])]);
      expect(answer).toMatch(/^HTTP\/1\.1 417 [^]*application\/problem\+json[^]*"code":"expectation_failed"/);
    }
  });
});

describe('a connection', () => {
  let gateway: Harness;
  const sockets: Socket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await gateway?.[Symbol.asyncDispose]();
  });

  /** What came back so far, and whether it was closed. */
  function connected(): { readonly socket: Socket; readonly state: { text: string; closed: boolean } } {
    const socket = gateway.raw();
    const state = { text: '', closed: false };
    sockets.push(socket);
    socket.on('data', (chunk) => (state.text += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => (state.closed = true));
    return { socket, state };
  }

  test('stays for many requests, and none of them reaches Node', async ({ expect }) => {
    gateway = await open();
    const atNode = countAtNode(gateway);
    const requests = Array.from({ length: 50 }, (_, at) =>
      head('POST /', ['Content-Length: 2'], String(at + 10)),
    );
    const answers = await talk(gateway, requests);
    expect(answers.map((answer) => answer.slice(-7, -5).replace(/\D/g, '') || answer.slice(-2))).toHaveLength(
      50,
    );
    expect(answers.every((answer, at) => answer.includes(String(at + 10)))).toBe(true);
    expect(atNode.count).toBe(0);
  });

  test('is given over with every byte, at its first request or a later one', async ({ expect }) => {
    gateway = await open();
    const atNode = countAtNode(gateway);
    const chunked = head('POST /', ['Transfer-Encoding: chunked'], '3\r\nabc\r\n0\r\n\r\n');
    const both = head('GET /a') + head('POST /', ['Content-Length: 3'], 'two');
    const answers = await talk(gateway, [
      head('GET /a'),
      chunked,
      head('POST /', ['Content-Length: 3'], 'xyz'),
    ]);
    expect(answers.map((answer) => /abc|xyz/.exec(answer)?.[0])).toEqual([undefined, 'abc', 'xyz']);
    expect(atNode.count).toBe(2);
    const { socket, state } = connected();
    socket.write(both);
    await waitFor('both', () => state.text.includes('two'));
    expect(state.text.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    expect(atNode.count).toBe(4);
  });

  test('is given over when a request comes in two parts, wherever it is cut', async ({ expect }) => {
    gateway = await open();
    const text = head('POST /', ['Content-Length: 3', 'Connection: close'], 'abc');
    for (let at = 1; at < text.length; at += 7) {
      const { socket, state } = connected();
      socket.setNoDelay(true);
      socket.write(text.slice(0, at));
      await new Promise((resolve) => setImmediate(resolve));
      socket.write(text.slice(at));
      await waitFor('the end', () => state.closed);
      expect(state.text, text.slice(0, at)).toMatch(/^HTTP\/1\.1 200 [^]*abc/);
    }
  });

  test('may become a WebSocket after plain requests', async ({ expect }) => {
    gateway = await startHarness(items);
    const server = await gateway.instance((_request, response) => response.end('plain'));
    server.on('upgrade', (_request, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
      socket.pipe(socket);
    });
    const { socket, state } = connected();
    socket.write(head('GET /a'));
    await waitFor('the answer', () => state.text.includes('plain'));
    socket.write(
      head('GET /ws', [
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      ]),
    );
    await waitFor('the handshake', () => state.text.includes('101'));
    socket.write('echo');
    await waitFor('the echo', () => state.text.endsWith('echo'));
    expect(state.closed).toBe(false);
  });

  test('answers in order what comes while it is busy, plain or not', async ({ expect }) => {
    gateway = await startHarness(items);
    const held: (() => void)[] = [];
    await gateway.instance((request, response) => void held.push(() => response.end(request.url)));
    const { socket, state } = connected();
    socket.write(head('GET /first'));
    await waitFor('the first', () => held.length === 1);
    socket.write(head('GET /second'));
    await new Promise((resolve) => setImmediate(resolve));
    socket.write(head('POST /third', ['Transfer-Encoding: chunked', 'Connection: close'], '0\r\n\r\n'));
    for (let at = 0; at < 3; at += 1) {
      await waitFor('the next', () => held.length === at + 1);
      held[at]?.();
    }
    await waitFor('the end', () => state.closed);
    expect(state.text.match(/\/(?:first|second|third)/g)).toEqual(['/first', '/second', '/third']);
  });

  test('of a client that ends its side within its answer ends with it', async ({ expect }) => {
    for (const plain of [true, false]) {
      gateway = await startHarness(items, { plain });
      let finish: (() => void) | undefined;
      await gateway.instance((_request, response) => {
        response.write('one ');
        finish = () => void response.end('two');
      });
      const { socket, state } = connected();
      socket.write(head('GET /a'));
      await waitFor('the first half', () => state.text.includes('one '));
      socket.end();
      await new Promise((resolve) => setTimeout(resolve, 20));
      finish?.();
      await waitFor('the end', () => state.closed);
      expect(state.text).toMatch(/Connection: keep-alive[^]*one [^]*two[^]*0\r\n\r\n$/);
      await gateway[Symbol.asyncDispose]();
    }
  });

  test('of a client that leaves with more behind its request gives the instance up', async () => {
    gateway = await startHarness(items);
    let cancelled = false;
    let started = false;
    await gateway.instance((_request, response) => {
      started = true;
      response.on('close', () => (cancelled = true));
    });
    const { socket } = connected();
    socket.write(head('GET /first'));
    await waitFor('the first', () => started);
    socket.write(head('GET /second'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    socket.destroy();
    await waitFor('the cancellation', () => cancelled);
  });

  test('that says nothing, or half a head, is told that it took too long', async ({ expect }) => {
    gateway = await startHarness(items, { headMsMax: 200 });
    const silent = connected();
    const half = connected();
    half.socket.write('GET / HTTP/1.1\r\n');
    await waitFor('the end of both', () => silent.state.closed && half.state.closed);
    for (const { state } of [silent, half])
      expect(state.text).toMatch(/^HTTP\/1\.1 408 [^]*"code":"request_timeout"/);
  });

  test('that asked before is not told so, and keeps its place', async ({ expect }) => {
    gateway = await open({ headMsMax: 100 });
    const { socket, state } = connected();
    socket.write(head('GET /a'));
    await waitFor('the answer', () => state.text.includes('200 OK'));
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect([state.closed, state.text.includes('408')]).toEqual([false, false]);
    expect(gateway.plane.shares.connections.used).toBe(1);
    socket.destroy();
    await waitFor('the place', () => gateway.plane.shares.connections.used === 0);
  });

  test('ends when the gateway closes: idle ones at once, others with their answer', async ({ expect }) => {
    gateway = await startHarness(items);
    const held: (() => void)[] = [];
    await gateway.instance((request, response) =>
      request.url === '/held' ? void held.push(() => response.end('late')) : void response.end('quick'),
    );
    const idle = connected();
    const silent = connected();
    const busy = connected();
    idle.socket.write(head('GET /a'));
    busy.socket.write(head('GET /held'));
    await waitFor('all', () => idle.state.text.includes('quick') && held.length === 1);
    const closing = gateway.plane.server;
    const closed = new Promise((resolve) => closing.once('close', resolve));
    void gateway.plane.close(5_000);
    await waitFor('the idle ones', () => idle.state.closed && silent.state.closed);
    held[0]?.();
    await waitFor('the busy one', () => busy.state.closed);
    expect(busy.state.text).toMatch(/^HTTP\/1\.1 200 [^]*Connection: close\r\n[^]*late$/);
    await closed;
  });

  test('ends after the grace when its answer does not come', async ({ expect }) => {
    gateway = await startHarness(items);
    let started = false;
    await gateway.instance(() => void (started = true));
    const { socket, state } = connected();
    socket.write(head('GET /a'));
    await waitFor('the request', () => started);
    await gateway.plane.close(20);
    await waitFor('the end', () => state.closed);
    expect(state.text).toBe('');
  });

  test('whose client does not read gets no further answers until it does', async ({ expect }) => {
    gateway = await startHarness(items);
    let served = 0;
    const megabyte = Buffer.alloc(1_048_576, 'a');
    await gateway.instance((_request, response) => {
      served += 1;
      response.writeHead(200, { 'content-length': megabyte.byteLength }).end(megabyte);
    });
    const { socket, state } = connected();
    socket.pause();
    for (let at = 0; at < 60; at += 1) {
      socket.write(head('GET /a'));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await waitFor('some', () => served > 0);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(served).toBeLessThan(40);
    socket.resume();
    await waitFor('all', () => state.text.length > 60 * megabyte.byteLength);
    expect(served).toBe(60);
  });
});
