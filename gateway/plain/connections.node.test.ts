/** What only a connection can do, read by the gateway itself or by Node's server: stay, be given over, end. */
import type { Socket } from 'node:net';
import { afterEach, describe, test } from 'vitest';
import { standStill, waitFor } from '#shared/testing/fakes.ts';
import { startHarness, type Harness } from '../testing/harness.node.ts';
import { countAtNode, head, items, open, talk } from '../testing/talk.node.ts';

/** The gateway's side of the next connection. */
function nextAccepted({ plane }: Harness): Promise<Socket> {
  return new Promise((resolve) => plane.server.once('connection', resolve));
}

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
      const accepting = nextAccepted(gateway);
      const { socket, state } = connected();
      const accepted = await accepting;
      socket.write(head('GET /a'));
      await waitFor('the first half', () => state.text.includes('one '));
      socket.end();
      await waitFor('the gateway to see the end of that side', () => accepted.readableEnded);
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
    const accepting = nextAccepted(gateway);
    const { socket } = connected();
    const accepted = await accepting;
    socket.write(head('GET /first'));
    await waitFor('the first', () => started);
    const before = accepted.bytesRead;
    socket.write(head('GET /second'));
    await waitFor('the gateway to have the second', () => accepted.bytesRead > before);
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
    // Who came later and asked nothing has had his time, so this one has had it too.
    const silent = connected();
    await waitFor('the end of a silent one', () => silent.state.closed);
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
    await standStill('the answers', () => served);
    expect(served).toBeLessThan(40);
    socket.resume();
    await waitFor('all', () => state.text.length > 60 * megabyte.byteLength);
    expect(served).toBe(60);
  });
});
