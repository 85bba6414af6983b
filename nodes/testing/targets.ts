/** Servers that functions of tests reach out to: HTTP, HTTPS, WebSocket, TCP and DNS, all on loopback. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer as createHttp, type RequestListener, type Server } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { createServer as createTcp, type AddressInfo, type Server as TcpServer, type Socket } from 'node:net';
import { WebSocketServer } from 'ws';
import { CA, CERTIFICATE, KEY } from './certificates.ts';

export interface Target extends AsyncDisposable {
  readonly port: number;
  /** Connections that are open now. */
  readonly sockets: ReadonlySet<Socket>;
  /** Connections since the start. */
  readonly accepted: () => number;
}

export { CA };

async function listen(server: TcpServer): Promise<Target> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  server.on('connection', (socket: Socket) => {
    accepted += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    accepted: () => accepted,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

export const httpTarget = (listener: RequestListener): Promise<Target> => listen(createHttp(listener));

/** Its certificate is for api.test, signed by {@link CA}. */
export const httpsTarget = (listener: RequestListener): Promise<Target> =>
  listen(createHttps({ key: KEY, cert: CERTIFICATE }, listener));

export const tcpTarget = (onSocket: (socket: Socket) => void): Promise<Target> =>
  listen(createTcp({ allowHalfOpen: true }, onSocket));

/** Sends back what it hears. */
export function webSocketTarget(): Promise<Target> {
  const server: Server = createHttp((_request, response) => response.writeHead(426).end('upgrade, please'));
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket, request) => {
    socket.send(`hello ${String(request.headers['x-key'])}`);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  return listen(server);
}

export interface DnsTarget extends AsyncDisposable {
  readonly server: string;
  /** Questions asked so far, by name. */
  readonly asked: Map<string, number>;
}

/** Answers A questions with what `answers` says (TTL 1 s); no addresses: the name does not exist. */
export async function dnsTarget(
  answers: (name: string, count: number) => readonly string[],
): Promise<DnsTarget> {
  const socket = createSocket('udp4');
  const asked = new Map<string, number>();
  socket.on('message', (question, peer) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = question[at] ?? 0; length > 0; length = question[at] ?? 0) {
      labels.push(question.subarray(at + 1, at + 1 + length).toString('latin1'));
      at += 1 + length;
    }
    const name = labels.join('.').toLowerCase();
    const isA = question.readUInt16BE(at + 1) === 1;
    const count = (asked.get(name) ?? 0) + (isA ? 1 : 0);
    asked.set(name, count);
    const addresses = isA ? answers(name, count) : [];
    const known = answers(name, count).length > 0;
    const head = Buffer.from(question.subarray(0, at + 5));
    head.writeUInt16BE(known ? 0x8180 : 0x8183, 2);
    head.writeUInt16BE(addresses.length, 6);
    head.writeUInt32BE(0, 8);
    const records = addresses.map((address) =>
      Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, ...address.split('.').map(Number)]),
    );
    socket.send(Buffer.concat([head, ...records]), peer.port, peer.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    server: `127.0.0.1:${socket.address().port}`,
    asked,
    async [Symbol.asyncDispose]() {
      socket.close();
      await once(socket, 'close');
    },
  };
}
