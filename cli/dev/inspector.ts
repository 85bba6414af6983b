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
/** Versions whose maps are kept: that which ends, that which comes, and those saved meanwhile. */
const MAPS_MAX = 4;
const DEVTOOLS = 'devtools://devtools/bundled/js_app.html?experiments=true&v8only=true&ws=';

interface Published {
  readonly name: string;
  readonly version: number;
  readonly sourceMap: Uint8Array | undefined;
}

/** A version's instance that debuggers look at. */
interface Inspected {
  readonly port: number;
  readonly sourceMap: Uint8Array | undefined;
}

interface Target {
  /** The newest instance that was announced; it is looked at as soon as its version's map is known. */
  announced: Inspectable | undefined;
  inspected: Inspected | undefined;
  readonly maps: Map<number, Uint8Array | undefined>;
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
      const target = isTrusted(request) ? this.#targets.get(nameIn(request)) : undefined;
      if (target === undefined) return void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      this.#sockets.handleUpgrade(request, socket, head, (client) => {
        const session = new DebugSession(client);
        target.sessions.add(session);
        client.once('close', () => target.sessions.delete(session));
        if (target.inspected !== undefined) session.attach(target.inspected);
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

  /** A version's map. Its first instance may be announced before or after. */
  published({ name, version, sourceMap }: Published): void {
    const target = this.#targetOf(name);
    target.maps.delete(version);
    target.maps.set(version, sourceMap);
    for (const oldest of target.maps.keys()) if (target.maps.size > MAPS_MAX) target.maps.delete(oldest);
    this.#look(target);
  }

  attach(instance: Inspectable): void {
    const target = this.#targetOf(instance.functionName);
    target.announced = instance;
    this.#look(target);
  }

  #look(target: Target): void {
    const { announced, maps } = target;
    if (announced === undefined || !maps.has(announced.version)) return;
    target.announced = undefined;
    target.inspected = { port: announced.port, sourceMap: maps.get(announced.version) };
    for (const session of target.sessions) session.attach(target.inspected);
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
      target = { announced: undefined, inspected: undefined, maps: new Map(), sessions: new Set() };
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

/** Of the function; names need no escapes, so what holds any other names none. */
const nameIn = ({ url }: IncomingMessage): string => (url ?? '').slice(1);

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
  readonly #state = new DebugState();
  readonly #waiting: string[] = [];
  #instance: WebSocket | undefined;
  #inspected: Inspected | undefined;

  constructor(client: WebSocket) {
    this.#client = client;
    client.on('message', (data) => this.#fromClient(textOf(data)));
    client.on('error', () => client.terminate());
    client.once('close', () => this.close());
  }

  attach(inspected: Inspected): void {
    const isFirst = this.#inspected === undefined;
    this.#inspected = inspected;
    this.#instance?.terminate();
    this.#instance = undefined;
    if (!isFirst) for (const event of this.#state.gone()) this.#client.send(JSON.stringify(event));
    this.#connect(inspected).catch(() => {
      // It has ended already; the next instance is announced.
    });
  }

  close(): void {
    this.#instance?.terminate();
    this.#client.terminate();
  }

  async #connect(inspected: Inspected): Promise<void> {
    const { port, sourceMap } = inspected;
    const answer = await fetch(`http://${HOST}:${port}/json`);
    const list = listSchema.parse(await answer.json());
    const found = list.find(({ id }) => id === SERVICE) ?? list[0];
    if (found === undefined || inspected !== this.#inspected) return;
    const instance = new WebSocket(found.webSocketDebuggerUrl);
    instance.on('error', () => instance.terminate());
    instance.on('message', (data) => {
      if (inspected === this.#inspected) this.#fromInstance(textOf(data), sourceMap);
    });
    instance.once('open', () => {
      if (inspected !== this.#inspected) return instance.terminate();
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

  #fromInstance(text: string, sourceMap: Uint8Array | undefined): void {
    const message = parse(text);
    if (message === undefined) return;
    // Answers to what was replayed are for nobody.
    if (message.id !== undefined && ownId(message.id)) return;
    this.#state.fromInstance(message);
    const map = message.method === 'Debugger.scriptParsed' ? sourceMap : undefined;
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
