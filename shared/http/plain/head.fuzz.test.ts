/**
 * Goal: whatever is read as plain, Node's strict parser reads in exactly the same way, as one request with nothing
 * before or behind it. Method: requests made of awkward pieces, cut and mended at random, are given to both. A run
 * takes a seed of its own, which a failure prints, and those in SEEDS.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Duplex } from 'node:stream';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { readHead } from '../head.ts';
import { createStrictServer, type HttpSide } from '../strict-server.node.ts';
import { seededRandom } from '../../testing/fakes.ts';
import { Shares } from '../../shares.ts';
import { readPlain } from './head.ts';

/** Each has found something once, or stands for those that have not. */
const SEEDS = [1, 2, 3, 20_261_128];
const CASES_PER_SEED = 30_000;

interface Read {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly body: string;
  readonly keepAlive: boolean;
}

/** One connection's bytes, without a network. */
class Wire extends Duplex {
  remoteAddress = '192.0.2.1';
  answered = '';

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.answered += chunk.toString('latin1');
    done();
  }

  setTimeout(): this {
    return this;
  }

  destroySoon(): void {
    this.end();
  }
}

let http: HttpSide;
const seen = new Map<unknown, Read[]>();

beforeAll(() => {
  const onRequest = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    let body = '';
    incoming.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')));
    incoming.on('end', () => {
      seen.get(incoming.socket)?.push({
        method: incoming.method ?? '',
        url: incoming.url ?? '',
        rawHeaders: incoming.rawHeaders,
        body,
        keepAlive: outgoing.shouldKeepAlive,
      });
      outgoing.end();
    });
  };
  createStrictServer({
    onRequest,
    onUpgrade: (_incoming, socket) => void socket.destroy(),
    newRequestId: () => 'r',
    connections: new Shares('gateway.connections'),
    requestMsMax: 0,
    front: (side) => {
      http = side;
      return { accept: () => undefined, close: () => undefined };
    },
  });
});
afterAll(() => seen.clear());

/** What Node makes of the bytes, and whether it answered anything else. */
async function byNode(
  bytes: Buffer,
): Promise<{ readonly reads: readonly Read[]; readonly answered: string }> {
  const wire = new Wire();
  const reads: Read[] = [];
  seen.set(wire, reads);
  http.take(wire as unknown as Parameters<HttpSide['take']>[0]);
  wire.push(bytes);
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  seen.delete(wire);
  wire.destroy();
  return { reads, answered: wire.answered };
}

const METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'get',
  'CONNECT',
  'PRI',
  'TRACE',
  'QUERY',
  'M-SEARCH',
];
const TARGETS = [
  '/',
  '/a?b=1',
  '/%61',
  '//',
  '/a b',
  '*',
  'http://a/',
  '/\u00e6',
  '/#',
  '/\\',
  '/"<>^`{|}',
  '/\t',
  '',
];
const VERSIONS = [
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/1.2',
  'http/1.1',
  'HTTP/1.1 ',
  'HTTP/11',
  'HTTP/2.0',
];
const NAMES = [
  'Host',
  'host',
  'Content-Length',
  'content-length',
  'Transfer-Encoding',
  'TRANSFER-ENCODING',
  'Connection',
  'Proxy-Connection',
  'Keep-Alive',
  'Upgrade',
  'Expect',
  'Trailer',
  'TE',
  'X-A',
  'Cookie',
  'Authorization',
  'X_B',
  "!#$%&'*+-.^_`|~",
  'X A',
  'X:',
  '',
];
const VALUES = [
  'a',
  '',
  '0',
  '3',
  '03',
  '+3',
  '3, 3',
  '0x3',
  '99999999999999999999',
  'chunked',
  'Chunked',
  'gzip, chunked',
  'chunked, chunked',
  'identity',
  'close',
  'Close',
  'keep-alive',
  'KEEP-ALIVE',
  'close, x',
  'upgrade',
  'websocket',
  '100-continue',
  'x',
  'a:b',
  ' a ',
  '\t',
  '\u00e6',
  '\u0085',
  '\u00a0',
  'a\u0000',
  'a\u007f',
  'a\rb',
  'a\nb',
  'a;b=c',
];
const PIECES = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  ' ',
  '\t',
  ':',
  '\u0000',
  '\u0001',
  '\u007f',
  '\u0080',
  '\u00ff',
  '\u000b',
  '\u000c',
  'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Host: b\r\n',
  ' HTTP/1.1\r\n',
  'GET / HTTP/1.1\r\n',
  '0\r\n\r\n',
  ',',
];
const BODIES = [
  '',
  '',
  '',
  'abc',
  'ab',
  'abcd',
  '0\r\n\r\n',
  '3\r\nabc\r\n0\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
];

function makeCase(random: () => number): Buffer {
  const one = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const often = <T>(usual: T, list: readonly T[]): T => (random() < 0.8 ? usual : one(list));
  const lines = [`${often('GET', METHODS)} ${often('/', TARGETS)} ${often('HTTP/1.1', VERSIONS)}`];
  if (random() < 0.95) lines.push('Host: a');
  for (let count = Math.floor(random() * 4); count > 0; count -= 1)
    lines.push(
      `${random() < 0.5 ? 'X-A' : one(NAMES)}${often(': ', [':', ' :', ':  ', ':\t', ''])}${one(VALUES)}`,
    );
  const body = one(BODIES);
  if (random() < 0.5) lines.push(`Content-Length: ${often(body.length, [0, 1, 3, 5])}`);
  let text = `${lines.join(often('\r\n', ['\n', '\r', '\r\n ', '\r\n\t']))}\r\n\r\n${body}`;
  for (let count = random() < 0.6 ? 0 : 1 + Math.floor(random() * 3); count > 0; count -= 1) {
    const at = Math.floor(random() * (text.length + 1));
    const removed = random() < 0.5 ? 0 : Math.floor(random() * 4);
    text = text.slice(0, at) + (random() < 0.7 ? one(PIECES) : '') + text.slice(at + removed);
  }
  return Buffer.from(text, 'latin1');
}

describe('readPlain() beside Node', () => {
  const fresh = Math.floor(Math.random() * 2 ** 31);
  test.for([...SEEDS, fresh])('reads nothing that it reads otherwise, seed %d', async (seed, { expect }) => {
    const random = seededRandom(seed);
    let plain = 0;
    for (let index = 0; index < CASES_PER_SEED; index += 1) {
      const bytes = makeCase(random);
      const head = readPlain(bytes);
      if (head === undefined) continue;
      plain += 1;
      const { reads, answered } = await byNode(bytes);
      const { target, body, method, rawHeaders, keepAlive } = head;
      const context = `seed ${seed}, case ${index}: ${JSON.stringify(bytes.toString('latin1'))}`;
      expect(reads, context).toEqual([
        { method, url: target.raw, rawHeaders, body: body.toString('latin1'), keepAlive },
      ]);
      // One answer, and no refusal of anything behind it.
      expect(answered.match(/HTTP\/1\.1 \d+/g), context).toEqual(['HTTP/1.1 200']);
      expect(readHead({ httpVersion: '1.1', target: target.raw, rawHeaders }), context).toEqual(target);
    }
    // Enough of them are plain, so that this means something; the others are made to look like them.
    expect(plain).toBeGreaterThan(CASES_PER_SEED / 20);
  });
});
