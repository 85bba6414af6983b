/** Servers on loopback that attackers aim at: one must never be reached, the other is an accomplice. */
import { createHash } from 'node:crypto';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';

const listening = async (server: Server | HttpServer, host: string, port = 0): Promise<number> => {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, ipv6Only: host === '::1' }, resolve);
  });
  return (server.address() as AddressInfo).port;
};

/** Counts whoever comes, on both families; it must stay alone. */
export class Victim implements AsyncDisposable {
  readonly #servers: readonly Server[];
  readonly port: number;
  readonly #seen: string[];

  private constructor(servers: readonly Server[], port: number, seen: string[]) {
    this.#servers = servers;
    this.port = port;
    this.#seen = seen;
  }

  static async open(): Promise<Victim> {
    const seen: string[] = [];
    const make = (): Server =>
      createServer((socket) => {
        socket.on('error', () => undefined);
        socket.once('data', (chunk) => seen.push(chunk.toString('latin1').slice(0, 200)));
        seen.push(`connection from ${socket.remoteAddress}`);
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nvictim');
        socket.end();
      });
    const first = make();
    const port = await listening(first, '127.0.0.1');
    const second = make();
    // A machine without IPv6 has nothing to attack there.
    const servers = await listening(second, '::1', port).then(
      () => [first, second],
      () => [first],
    );
    return new Victim(servers, port, seen);
  }

  get visits(): readonly string[] {
    return this.#seen;
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) server.close();
    return Promise.resolve();
  }
}

/** What the accomplice's names resolve to. */
const NAMES: Readonly<Record<string, readonly number[]>> = {
  loop: [127, 0, 0, 1],
  meta: [169, 254, 169, 254],
  private: [10, 0, 0, 1],
};
/** ::ffff:127.0.0.1 */
const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
const TYPE = { a: 1, aaaa: 28 } as const;

/** A name server that knows hostile names alone. */
function dnsAnswer(question: Buffer): Buffer {
  const nameEnd = question.indexOf(0, 12);
  const type = question.readUInt16BE(nameEnd + 1);
  const label = question.toString('latin1', 13, 13 + (question[12] ?? 0)).toLowerCase();
  const data = type === TYPE.a ? NAMES[label] : type === TYPE.aaaa && label === 'mapped' ? MAPPED : undefined;
  const head = Buffer.from(question.subarray(0, nameEnd + 5));
  head.writeUInt16BE(0x8180, 2);
  head.writeUInt16BE(data === undefined ? 0 : 1, 6);
  head.writeUInt32BE(0, 8);
  if (data === undefined) return head;
  const record = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length, ...data]);
  return Buffer.concat([head, record]);
}

function nameIn(question: Buffer): string {
  const labels: string[] = [];
  for (let at = 12; (question[at] ?? 0) > 0; at += 1 + (question[at] ?? 0))
    labels.push(question.toString('latin1', at + 1, at + 1 + (question[at] ?? 0)));
  return labels.join('.').toLowerCase();
}

/** RFC 6455 section 4.2.2. */
function handshake(key: string): string {
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  return `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`;
}

/** Functions may reach it: it redirects them, tells what it heard, and resolves names for the node. */
export class Relay implements AsyncDisposable {
  readonly #http: HttpServer;
  readonly #dns: DatagramSocket;
  readonly port: number;
  readonly dnsAddress: string;
  readonly #heard: readonly string[];

  private constructor(http: HttpServer, dns: DatagramSocket, heard: readonly string[]) {
    const { port } = http.address() as AddressInfo;
    this.#heard = heard;
    this.#http = http;
    this.#dns = dns;
    this.port = port;
    this.dnsAddress = `127.0.0.1:${dns.address().port}`;
  }

  static async open(): Promise<Relay> {
    const heard: string[] = [];
    const http = createHttpServer((request, response) => {
      heard.push(`http ${request.method} ${request.url}`);
      const url = new URL(request.url ?? '/', 'http://relay');
      const status = /^\/(30[1278])$/.exec(url.pathname)?.[1];
      if (status !== undefined)
        response.writeHead(Number(status), { location: url.searchParams.get('to') ?? '/' }).end();
      else if (url.pathname === '/headers') response.end(request.rawHeaders.join('\n'));
      else response.end(`relay ${url.pathname.slice(1)}`);
    });
    http.on('upgrade', (request, socket) => {
      heard.push(`upgrade ${request.url}`);
      socket.on('error', () => undefined).end(handshake(request.headers['sec-websocket-key'] ?? ''));
    });
    await listening(http, '127.0.0.1');
    const dns = createSocket('udp4');
    dns.on('message', (question, from) => {
      heard.push(`dns ${nameIn(question)}`);
      dns.send(dnsAnswer(question), from.port, from.address);
    });
    await new Promise<void>((resolve) => dns.bind(0, '127.0.0.1', resolve));
    return new Relay(http, dns, heard);
  }

  /** `http METHOD TARGET`, `upgrade TARGET`, `dns NAME`, in order. */
  get heard(): readonly string[] {
    return this.#heard;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#http.closeAllConnections();
    this.#http.close();
    this.#dns.close();
    return Promise.resolve();
  }
}
