/** An upgrade and what an instance may make of it. Real sockets; the instance says what the test writes. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'vitest';
import { addressAt } from '../contracts/address.ts';
import { limitsSchema, type FunctionLimits } from '../contracts/config.ts';
import { systemClock, systemTimers } from '../runtime/clock.ts';
import { waitFor } from '../testing/fakes.ts';
import { busyInstance } from '../testing/instance.node.ts';
import { tempFolder, type TempFolder } from '../testing/temp.node.ts';
import { UsageMeters } from '../usage/meter.ts';
import { versionId } from '../ids.ts';
import { Watch } from './deadlines.ts';
import type { CarryOutcome } from './ports.ts';
import { tunnel } from './tunnel.node.ts';

const ACCEPTED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

let folder: TempFolder;
let servers: Server[];
beforeEach(async () => {
  folder = await tempFolder();
  servers = [];
});
afterEach(async () => {
  for (const server of servers) server.close();
  await folder[Symbol.asyncDispose]();
});

async function listen(name: string, onConnection: (socket: Socket) => void): Promise<string> {
  const path = join(folder.path, name);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return path;
}

const instance = (onRequest: (socket: Socket, head: string) => void): Promise<string> =>
  listen('instance.sock', (socket) =>
    socket.once('data', (head: Buffer) => onRequest(socket, head.toString('latin1'))),
  );

interface Tunnelled {
  /** Of the client, as the server has it. */
  readonly socket: Socket;
  readonly client: Socket;
  readonly received: () => string;
  readonly outcome: Promise<CarryOutcome>;
  readonly broken: () => number;
}

async function upgrade(
  path: string,
  options: { readonly limits?: Partial<FunctionLimits>; readonly subprotocol?: string } = {},
): Promise<Tunnelled> {
  let accepted: ((socket: Socket) => void) | undefined;
  const arriving = new Promise<Socket>((resolve) => (accepted = resolve));
  const client = connect({ path: await listen('client.sock', (s) => accepted?.(s)), allowHalfOpen: true });
  let received = '';
  let broken = 0;
  client.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
  client.on('error', () => undefined);
  const socket = await arriving;
  const outcome = new Promise<CarryOutcome>((resolve) =>
    tunnel(
      {
        address: addressAt(path),
        method: 'GET',
        target: '/chat',
        headers: ['host', 'x', 'sec-websocket-key', 'k'],
        socket,
        head: Buffer.from('early'),
        subprotocol: options.subprotocol,
      },
      {
        limits: limitsSchema.parse({ ...options.limits }),
        meter: new UsageMeters().of(versionId('default', 'chat', 1)),
        responseHeaders: ['x-carried', '1'],
        filter: undefined,
        stalledMsMax: Number.POSITIVE_INFINITY,
        onSlow: () => undefined,
        onBroken: () => (broken += 1),
      },
      new Watch(systemClock, systemTimers),
      resolve,
    ),
  );
  return { socket, client, received: () => received, outcome, broken: () => broken };
}

describe('an upgrade', () => {
  test('that is accepted joins both sides, with what the client said early, until both have ended', async ({
    expect,
  }) => {
    let asked = '';
    const path = await instance((socket, head) => {
      asked = head;
      socket.write(ACCEPTED);
      socket.on('data', (chunk: Buffer) => socket.write(`echo ${chunk.toString()}`));
      socket.on('end', () => socket.end('bye'));
    });
    const { client, received, outcome } = await upgrade(path, { subprotocol: 'chat' });
    await waitFor('the echo', () => received().endsWith('echo early'));
    expect(received()).toMatch(/^HTTP\/1\.1 101 /);
    expect(received()).toContain('x-carried: 1\r\nsec-websocket-protocol: chat\r\n');
    expect(asked).toMatch(/^GET \/chat HTTP\/1\.1\r\n[^]*upgrade: websocket\r\n/i);
    client.end();
    expect(await outcome).toEqual({ kind: 'answered', end: 'complete' });
    await waitFor('the last word', () => received().endsWith('bye'));
  });

  test('that is declined is answered like any request, and the connection ends with it', async ({
    expect,
  }) => {
    const path = await instance((socket) =>
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'),
    );
    const { received, outcome } = await upgrade(path);
    expect(await outcome).toEqual({ kind: 'answered', end: 'complete' });
    await waitFor('the answer', () => received().endsWith('no'));
    expect(received()).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n[^]*connection: close\r\n/);
  });

  test.for([
    ['HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n', 'function_error', 1],
    [
      'HTTP/1.1 500 Oops\r\nisoplane-outcome: function_error\r\nContent-Length: 0\r\n\r\n',
      'function_error',
      0,
    ],
    ['HTTP/1.1 500 Oops\r\nisoplane-outcome: answered\r\nContent-Length: 0\r\n\r\n', 'answered', 0],
    ['nonsense\r\n\r\n', 'response_invalid', 0],
    ['', 'reset', 0],
  ] as const)('that is answered %j is over as %s', async ([bytes, kind, broken], { expect }) => {
    const path = await instance((socket) => socket.end(bytes));
    const tunnelled = await upgrade(path);
    expect([(await tunnelled.outcome).kind, tunnelled.broken()]).toEqual([kind, broken]);
  });

  test('where nobody listens was not sent', async ({ expect }) => {
    const { outcome } = await upgrade(join(folder.path, 'nobody.sock'));
    expect(await outcome).toEqual({ kind: 'unreachable' });
  });

  test('to an instance that takes no more connections was not sent: it is busy', async ({ expect }) => {
    const path = join(folder.path, 'busy.sock');
    using _busy = await busyInstance(path);
    const { outcome } = await upgrade(path);
    expect(await outcome).toEqual({ kind: 'busy' });
  });

  test('without an answer is given up', async ({ expect }) => {
    const { outcome } = await upgrade(await instance(() => undefined), {
      limits: { timeoutMs: 50, cpuMs: 50 },
    });
    expect(await outcome).toMatchObject({ kind: 'timeout' });
  });

  test('that falls silent is cut off', async ({ expect }) => {
    const path = await instance((socket) => void socket.write(ACCEPTED));
    const { client, outcome } = await upgrade(path, { limits: { streamIdleMs: 100 } });
    const closed = new Promise((resolve) => client.once('close', resolve));
    expect(await outcome).toEqual({ kind: 'answered', end: 'cut' });
    client.end();
    await closed;
  });

  test('whose connection closes first is over, and its instance is told', async ({ expect }) => {
    let asked = false;
    let closed = false;
    const path = await instance((connection) => {
      asked = true;
      connection.on('end', () => (closed = true)).on('error', () => (closed = true));
    });
    const { socket, outcome } = await upgrade(path);
    await waitFor('the instance to be asked', () => asked);
    socket.destroy();
    expect(await outcome).toEqual({ kind: 'client_gone' });
    await waitFor('the end at the instance', () => closed);
  });
});
