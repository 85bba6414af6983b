/** Requests as text, sent one after the other on one connection, and an instance that answers in every way. */
import type { RequestListener } from 'node:http';
import { waitFor } from '#shared/testing/fakes.ts';
import { startHarness, type Harness, type HarnessOptions } from './harness.node.ts';
import { functionItems } from './items.ts';

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

export const items = [
  ...functionItems('hello', {
    limits: { requestBodyBytes: 50_000 },
    cors: { origins: ['https://app.example.com'] },
  }),
  ...functionItems('vault', { auth: { mode: 'signed' } }),
];

export async function open(options: HarnessOptions = {}): Promise<Harness> {
  const started = await startHarness(items, options);
  await started.instance(instance);
  return started;
}

/** Requests that Node's server has seen. */
export function countAtNode({ plane }: Harness): { count: number } {
  const seen = { count: 0 };
  plane.server.prependListener('request', () => void (seen.count += 1));
  return seen;
}

export const head = (
  line: string,
  lines: readonly string[] = [],
  body = '',
  host = 'hello.localhost',
): string => [`${line} HTTP/1.1`, `Host: ${host}`, ...lines, '', body].join('\r\n');
export const LAST = head('GET /healthz', ['Connection: close'], '', 'localhost');

/** Answers to requests that are sent one after the other on one connection, until the gateway closes it. */
export async function talk(gateway: Harness, requests: readonly string[]): Promise<string[]> {
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
