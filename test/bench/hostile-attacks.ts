/**
 * What one hostile account does through its doors. Rates are bounded, each well above what fills the account's
 * share within a second, so that the client's CPU is not what the other account waits for.
 */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { signRequest, type SigningKey } from '#shared/signatures/sign.ts';
import { ControlApi } from '../support/api.ts';
import type { Facts } from './hostile-messages.ts';

const MIB = 1_048_576;
const TICK_MS = 20;
/** Of the attacker: shares of connections are held by address. */
const ADDRESS = '127.0.0.2';

interface Holding {
  /** Connections open at once, and opened anew. */
  readonly most: number;
  readonly perSecond: number;
  readonly url: string;
  /** Head of a request and the part of its body that is sent before silence. */
  readonly text: () => Promise<Buffer> | Buffer;
  /** More of the body, the same bytes for all. */
  readonly part?: Buffer;
}

export class Hostile {
  readonly facts: Facts;
  readonly key: SigningKey;
  readonly #counts: Record<string, number> = { tries: 0 };
  readonly #sockets = new Set<Socket>();
  readonly #timers: NodeJS.Timeout[] = [];
  #stopped = false;

  constructor(facts: Facts, key: SigningKey) {
    this.facts = facts;
    this.key = key;
  }

  stop(): Record<string, number> {
    this.#stopped = true;
    for (const timer of this.#timers) clearInterval(timer);
    for (const socket of this.#sockets) socket.destroy();
    return this.#counts;
  }

  count(what: string): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + 1;
  }

  every(work: () => void): void {
    this.#timers.push(setInterval(work, TICK_MS));
  }

  /** Keeps connections open with what they were given; those that are closed are opened again. */
  hold(holding: Holding): void {
    const { most, perSecond } = holding;
    let due = 0;
    this.every(() => {
      due = Math.min(most, due + (perSecond * TICK_MS) / 1_000);
      for (; due >= 1 && this.#sockets.size < most; due -= 1) this.#holdOne(holding);
    });
  }

  #holdOne({ url, text, part }: Holding): void {
    const socket = this.open(url);
    socket.on('data', (chunk) => {
      this.count(outcomeOf(chunk.toString('latin1')));
      socket.destroy();
    });
    void (async () => {
      socket.write(await text());
      if (part !== undefined) socket.write(part);
    })();
    this.count('tries');
  }

  open(url: string): Socket {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), localAddress: ADDRESS });
    this.#sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    return socket;
  }

  /** `lanes` of work, one piece after the other. @param work - resolves with what came of it. */
  lanes(lanes: number, work: () => Promise<string>): void {
    const lane = async (): Promise<void> => {
      while (!this.#stopped) {
        this.count('tries');
        this.count(await work().catch((thrown: unknown) => String(thrown).slice(0, 60)));
      }
    };
    for (let index = 0; index < lanes; index += 1) void lane();
  }

  /** A signed head; of a POST the signature is right for other bytes, which shows when all of them are here. */
  async signed(base: string, parts: SignedParts): Promise<string> {
    const { method = 'POST', host, path = '/', framing = '' } = parts;
    const headers = await signRequest(
      {
        method,
        url: `http://${host}${path}`,
        ...(method === 'GET' ? {} : { body: randomBytes(16) }),
      },
      this.key,
      { nowMs: Date.now() },
    );
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    return `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n${lines.join('')}${framing}${base}\r\n`;
  }

  hostOf(name: string): string {
    return `${name}.hostile.localhost:${new URL(this.facts.gatewayUrl).port}`;
  }
}

interface SignedParts {
  readonly method?: 'GET' | 'POST';
  readonly host: string;
  readonly path?: string;
  /** Header lines. */
  readonly framing?: string;
}

function outcomeOf(answer: string): string {
  const status = /^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 'no status';
  const code = /"code":"(\w+)"/.exec(answer)?.[1];
  return code === undefined ? status : `${status} ${code}`;
}

function signedFlood(hostile: Hostile): void {
  const { gatewayUrl } = hostile.facts;
  const host = hostile.hostOf('vault');
  const text = async (): Promise<Buffer> => Buffer.from(await hostile.signed('', { method: 'GET', host }));
  hostile.hold({ most: 64, perSecond: 250, url: gatewayUrl, text });
}

function stalledBodies(hostile: Hostile): void {
  const { gatewayUrl } = hostile.facts;
  const part = Buffer.alloc(5 * MIB, 'x');
  const parts = { host: hostile.hostOf('vault'), framing: `content-length: ${8 * MIB - 1}\r\n` };
  const text = async (): Promise<Buffer> =>
    Buffer.concat([Buffer.from(await hostile.signed('', parts)), part]);
  hostile.hold({ most: 40, perSecond: 6, url: gatewayUrl, text });
}

/** Bodies of 6,000 chunks of one byte a second each. @param head - and how the body begins. */
export function tinyChunks(
  hostile: Hostile,
  {
    url,
    bodies,
    head,
  }: { readonly url: string; readonly bodies: number; readonly head: () => Promise<string> },
): void {
  const chunks = Buffer.from('1\r\nx\r\n'.repeat((6_000 * TICK_MS) / 1_000));
  for (let index = 0; index < bodies; index += 1) {
    const begin = async (): Promise<void> => {
      const socket = hostile.open(url);
      socket.on('data', (answer) => hostile.count(outcomeOf(answer.toString('latin1'))));
      socket.write(await head());
      hostile.every(() => {
        hostile.count('tries');
        if (socket.writable) socket.write(chunks);
      });
    };
    void begin();
  }
}

function tinySignedChunks(hostile: Hostile): void {
  const parts = { host: hostile.hostOf('vault'), framing: 'transfer-encoding: chunked\r\n' };
  tinyChunks(hostile, {
    url: hostile.facts.gatewayUrl,
    bodies: 3,
    head: () => hostile.signed('', parts),
  });
}

function slowBodies(hostile: Hostile): void {
  const head = `POST / HTTP/1.1\r\nhost: ${hostile.hostOf('public')}\r\ncontent-length: 2\r\n\r\nx`;
  hostile.hold({ most: 400, perSecond: 300, url: hostile.facts.gatewayUrl, text: () => Buffer.from(head) });
}

function openConnections(hostile: Hostile): void {
  const text = Buffer.from(`GET / HTTP/1.1\r\nhost: ${hostile.hostOf('public')}\r\n`);
  hostile.hold({ most: 4_000, perSecond: 500, url: hostile.facts.gatewayUrl, text: () => text });
}

export function callsOf(name: string, most: number, perSecond: number): (hostile: Hostile) => void {
  return (hostile) => {
    const path = `/?server=${hostile.facts.serverPort}`;
    const text = Buffer.from(`GET ${path} HTTP/1.1\r\nhost: ${hostile.hostOf(name)}\r\n\r\n`);
    hostile.hold({ most, perSecond, url: hostile.facts.gatewayUrl, text: () => text });
  };
}

function apiRequests(hostile: Hostile): void {
  const { controlUrl } = hostile.facts;
  const parts = {
    method: 'GET',
    host: new URL(controlUrl).host,
    path: '/v1/accounts/hostile/functions',
  } as const;
  const text = async (): Promise<Buffer> => Buffer.from(await hostile.signed('', parts));
  hostile.hold({ most: 32, perSecond: 100, url: controlUrl, text });
}

function stalledApiBodies(hostile: Hostile): void {
  const { controlUrl } = hostile.facts;
  const part = `{"name":"${'x'.repeat(100_000)}`;
  const parts = {
    host: new URL(controlUrl).host,
    path: '/v1/accounts/hostile/routes',
    framing: 'content-type: application/json\r\ncontent-length: 200000\r\n',
  };
  const text = async (): Promise<Buffer> => Buffer.from((await hostile.signed('', parts)) + part);
  hostile.hold({ most: 600, perSecond: 200, url: controlUrl, text });
}

/** 24 uploads at once, each of them code that never ends when it is tried. */
function loopingPublishes(hostile: Hostile): void {
  const api = new ControlApi(hostile.facts.controlUrl, hostile.key, 'hostile');
  let uploads = 0;
  hostile.lanes(24, async () => {
    uploads += 1;
    const answer = await api.upload(`loop-${uploads % 24}`, {
      modules: { 'index.js': `for (;;); // ${uploads} ${Math.random()}` },
    });
    return `${answer.status} ${(answer.body as { code?: string }).code ?? ''}`;
  });
}

export const ATTACKS: Readonly<Record<string, (hostile: Hostile) => void>> = {
  'stalled-bodies': stalledBodies,
  'tiny-chunks': tinySignedChunks,
  'signed-flood': signedFlood,
  'slow-bodies': slowBodies,
  'open-connections': openConnections,
  queue: callsOf('queue', 400, 300),
  'kv-puts': callsOf('kv', 1, 4),
  'cold-starts': callsOf('cold', 48, 200),
  'kv-flood': callsOf('kv-flood', 4, 8),
  logs: callsOf('log', 2, 4),
  'egress-connections': callsOf('connections', 3, 4),
  lookups: callsOf('lookups', 3, 4),
  publishes: loopingPublishes,
  'api-requests': apiRequests,
  'api-bodies': stalledApiBodies,
};
