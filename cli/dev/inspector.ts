/**
 * One address for debuggers, whatever instance runs: `/json` lists the functions, and a connection to one of them
 * follows it from version to version. What the debugger had switched on and its breakpoints are told to each new
 * instance.
 *
 * A page in a browser can connect to any port of this machine, so the origin is looked at: who talks to this
 * port can run code in the function and read its variables.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { z } from 'zod';
import { PlatformError } from '#shared/errors.ts';
import { DebugState, ownId, type DebugMessage } from './debug-state.ts';
import type { Inspectable } from './planes/settings.ts';

const HOST = '127.0.0.1';
/** workerd's name of the function's own service. */
const SERVICE = 'main';
const WAITING_MAX = 1_000;
const DEVTOOLS = 'devtools://devtools/bundled/js_app.html?experiments=true&v8only=true&ws=';

interface Target {
  port: number | undefined;
  sourceMap: Uint8Array | undefined;
  readonly sessions: Set<DebugSession>;
}

export class InspectorProxy {
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({ noServer: true });
  readonly #targets = new Map<string, Target>();
  #port = 0;

  private constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on('upgrade', (request, socket, head) => {
      const target = this.#targets.get(decodeURIComponent((request.url ?? '').slice(1)));
      if (target === undefined || !isTrusted(request))
        return void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      this.#sockets.handleUpgrade(request, socket, head, (client) => {
        const session = new DebugSession(client, () => target.sourceMap);
        target.sessions.add(session);
        client.once('close', () => target.sessions.delete(session));
        if (target.port !== undefined) session.attach(target.port);
      });
    });
  }

  /** @throws {PlatformError} `port_in_use`. */
  static async open(port: number): Promise<InspectorProxy> {
    const proxy = new InspectorProxy();
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', (error: NodeJS.ErrnoException) => {
        const detail = `Port ${port} on ${HOST}, for the debugger; choose another with --inspect PORT.`;
        reject(
          error.code === 'EADDRINUSE'
            ? new PlatformError('port_in_use', detail, { cause: error, publicDetail: detail })
            : error,
        );
      });
      proxy.#server.listen(port, HOST, resolve);
    });
    proxy.#port = (proxy.#server.address() as AddressInfo).port;
    return proxy;
  }

  /** What a debugger is told to connect to. */
  get url(): string {
    return `http://${HOST}:${this.#port}`;
  }

  /** A version is served; an instance of it comes. */
  served(functionName: string, sourceMap: Uint8Array | undefined): void {
    this.#targetOf(functionName).sourceMap = sourceMap;
  }

  attach({ functionName, port }: Inspectable): void {
    const target = this.#targetOf(functionName);
    target.port = port;
    for (const session of target.sessions) session.attach(port);
  }

  close(): Promise<void> {
    for (const client of this.#sockets.clients) client.terminate();
    for (const { sessions } of this.#targets.values()) for (const session of sessions) session.close();
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #targetOf(functionName: string): Target {
    let target = this.#targets.get(functionName);
    if (target === undefined) {
      target = { port: undefined, sourceMap: undefined, sessions: new Set() };
      this.#targets.set(functionName, target);
    }
    return target;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '').split('?')[0]?.replace(/\/$/, '');
    if (!isTrusted(request)) return void response.writeHead(403).end();
    if (path === '/json' || path === '/json/list') return sendJson(response, this.#list());
    if (path === '/json/version')
      return sendJson(response, { Browser: 'isoplane', 'Protocol-Version': '1.3' });
    response.writeHead(404).end();
  }

  #list(): unknown {
    return [...this.#targets.keys()].map((name) => {
      const address = `${HOST}:${this.#port}/${encodeURIComponent(name)}`;
      return {
        id: name,
        title: name,
        description: 'isoplane function',
        type: 'node',
        url: `isoplane://${name}`,
        devtoolsFrontendUrl: `${DEVTOOLS}${address}`,
        webSocketDebuggerUrl: `ws://${address}`,
      };
    });
  }
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(value));
}

/** Debuggers send no Origin, or that of the browser's own tools; pages send theirs. A name may be rebound. */
function isTrusted({ headers }: IncomingMessage): boolean {
  const named = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?$/i.test(headers.host ?? '');
  return named && (headers.origin === undefined || headers.origin.startsWith('devtools://'));
}

const listSchema = z.array(z.looseObject({ id: z.string(), webSocketDebuggerUrl: z.string() }));
const messageSchema = z.looseObject({ id: z.number().optional(), method: z.string().optional() });

/** One debugger and the instances that it looks at, one after the other. */
class DebugSession {
  readonly #client: WebSocket;
  readonly #sourceMap: () => Uint8Array | undefined;
  readonly #state = new DebugState();
  readonly #waiting: string[] = [];
  #instance: WebSocket | undefined;
  #port: number | undefined;

  constructor(client: WebSocket, sourceMap: () => Uint8Array | undefined) {
    this.#client = client;
    this.#sourceMap = sourceMap;
    client.on('message', (data) => this.#fromClient(textOf(data)));
    client.on('error', () => client.terminate());
    client.once('close', () => this.close());
  }

  attach(port: number): void {
    const isFirst = this.#port === undefined;
    this.#port = port;
    this.#instance?.terminate();
    this.#instance = undefined;
    if (!isFirst) for (const event of this.#state.gone()) this.#client.send(JSON.stringify(event));
    this.#connect(port).catch(() => {
      // It has ended already; the next instance is announced.
    });
  }

  close(): void {
    this.#instance?.terminate();
    this.#client.terminate();
  }

  async #connect(port: number): Promise<void> {
    const answer = await fetch(`http://${HOST}:${port}/json`);
    const list = listSchema.parse(await answer.json());
    const found = list.find(({ id }) => id === SERVICE) ?? list[0];
    if (found === undefined || port !== this.#port) return;
    const instance = new WebSocket(found.webSocketDebuggerUrl);
    instance.on('error', () => instance.terminate());
    instance.on('message', (data) => this.#fromInstance(textOf(data)));
    instance.once('open', () => {
      if (port !== this.#port) return instance.terminate();
      for (const command of this.#state.replay()) instance.send(JSON.stringify(command));
      for (const text of this.#waiting.splice(0)) instance.send(text);
      this.#instance = instance;
    });
  }

  #fromClient(text: string): void {
    const message = parse(text);
    if (message !== undefined) this.#state.fromClient(message);
    if (this.#instance !== undefined) this.#instance.send(text);
    else if (this.#waiting.length < WAITING_MAX) this.#waiting.push(text);
  }

  #fromInstance(text: string): void {
    const message = parse(text);
    if (message === undefined) return;
    // Answers to what was replayed are for nobody.
    if (message.id !== undefined && ownId(message.id)) return;
    this.#state.fromInstance(message);
    const map = message.method === 'Debugger.scriptParsed' ? this.#sourceMap() : undefined;
    this.#client.send(map === undefined ? text : JSON.stringify(this.#state.withSourceMap(message, map)));
  }
}

function textOf(data: WebSocket.RawData): string {
  return (Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Buffer)).toString('utf8');
}

function parse(text: string): DebugMessage | undefined {
  try {
    return messageSchema.parse(JSON.parse(text)) as DebugMessage;
  } catch {
    return undefined;
  }
}
